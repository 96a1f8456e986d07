"""An engine's life: made, started on one event loop, draining, closed."""

from __future__ import annotations

import asyncio
import enum

from creatormate_resilience.exceptions import ConfigurationError, ShuttingDownError

__all__ = ("Lifecycle",)


class _Phase(enum.Enum):
    MADE = "not started"
    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"


class Lifecycle:
    """Says what may be done now and here.

    Args:
        name: The executor's, for the errors.
    """

    __slots__ = ("_loop", "_name", "_phase", "open_on")

    def __init__(self, name: str) -> None:
        self._name = name
        self._phase = _Phase.MADE
        self._loop: asyncio.AbstractEventLoop | None = None
        self.open_on: object = self
        """The event loop on which new tasks are taken now."""

    @property
    def phase(self) -> str:
        """In words."""
        return self._phase.value

    @property
    def left_open(self) -> bool:
        """Whether it was started and not closed."""
        return self._phase in {_Phase.OPEN, _Phase.DRAINING}

    @property
    def started(self) -> bool:
        """Whether it ever was."""
        return self._loop is not None

    def start(self) -> asyncio.AbstractEventLoop:
        """Bind to the running event loop.

        Raises:
            ConfigurationError: It was started before, or the event loop is not asyncio's.
        """
        if self._phase is not _Phase.MADE:
            raise ConfigurationError(f"task executor {self._name!r} is {self.phase}; one executor is started once")
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError as error:
            raise ConfigurationError("a task executor runs on asyncio or uvloop, and neither runs here") from error
        self._phase = _Phase.OPEN
        self.open_on = self._loop
        return self._loop

    def check_loop(self) -> None:
        """Refuse a call from another event loop.

        Raises:
            ConfigurationError: It is one, or the executor is not started.
        """
        if asyncio._get_running_loop() is self._loop is not None:
            return
        if self._phase is _Phase.MADE:
            raise ConfigurationError(
                f"task executor {self._name!r} is not started; use `async with`, or await its start() first"
            )
        raise ConfigurationError(
            f"task executor {self._name!r} belongs to another event loop; use it from the one that started it"
        )

    def check_open(self) -> None:
        """Refuse new tasks where they cannot be taken.

        Raises:
            ShuttingDownError: The executor is draining or closed.
            ConfigurationError: It is not started, or belongs to another event loop.
        """
        if self._phase is _Phase.DRAINING or self._phase is _Phase.CLOSED:
            raise self.shutting_down()
        self.check_loop()

    def drain(self) -> None:
        """Take no more."""
        self.open_on = self
        if self._phase is _Phase.OPEN:
            self._phase = _Phase.DRAINING

    def close(self) -> None:
        """The end."""
        self.open_on = self
        self._phase = _Phase.CLOSED

    def shutting_down(self) -> ShuttingDownError:
        """The error to refuse new tasks with."""
        return ShuttingDownError(f"task executor {self._name!r} is {self.phase}")
