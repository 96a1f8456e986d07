"""Which process and event loop the connections belong to. They work nowhere else."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from creatormate_resilience.exceptions import ConfigurationError, ShuttingDownError

__all__ = ("Owner",)


@dataclass(slots=True)
class Owner:
    """Knows who opened the database first, and refuses everyone else.

    Attributes:
        loop: The event loop that owns it; None while nobody does.
        pid: The process that owns it.
        closed: Whether it was closed and not started again.
    """

    loop: asyncio.AbstractEventLoop | None = None
    pid: int = 0
    closed: bool = False

    def check(self) -> None:
        """Let the owner pass; the first who comes becomes it.

        Raises:
            ConfigurationError: The caller runs in another event loop or in a forked process.
            ShuttingDownError: The database was closed.
        """
        if self.closed:
            raise ShuttingDownError("the Database was closed; start() opens it again")
        loop = asyncio.get_running_loop()
        if self.loop is None:
            self.loop, self.pid = loop, os.getpid()
        if self.pid != os.getpid():
            raise ConfigurationError(
                f"this Database was opened by process {self.pid} and is used by its fork {os.getpid()}:"
                " make one in each process, after the fork"
            )
        if self.loop is not loop:
            raise ConfigurationError(
                "this Database belongs to another event loop: make one for each event loop,"
                " or aclose() it before the next loop starts it"
            )

    @property
    def holds(self) -> bool:
        """Whether this very process has it open."""
        return self.loop is not None and not self.closed and self.pid == os.getpid()

    def release(self) -> None:
        """Belong to nobody, closed."""
        self.loop, self.closed = None, True

    def reopen(self) -> None:
        """Be free for the next owner."""
        self.closed = False
