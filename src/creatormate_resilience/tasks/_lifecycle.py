"""An executor's life: made, started on one event loop, drained, closed."""

from __future__ import annotations

import asyncio
import enum

from creatormate_resilience.exceptions import ConfigurationError, ShuttingDownError
from creatormate_resilience.log import get_logger
from creatormate_resilience.tasks._scheduler import Scheduler

__all__ = ("Lifecycle",)

_log = get_logger("tasks")


class _Phase(enum.Enum):
    MADE = "not started"
    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"


class Lifecycle:
    """Says what may be done now and here, and ends what was begun.

    Args:
        name: The executor's.
        scheduler: What it starts and ends.
    """

    def __init__(self, name: str, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self._name = name
        self._phase = _Phase.MADE
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def phase(self) -> str:
        """In words."""
        return self._phase.value

    @property
    def left_open(self) -> bool:
        """Whether it was started and not closed."""
        return self._phase in {_Phase.OPEN, _Phase.DRAINING}

    def start(self) -> None:
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

    def check_loop(self) -> None:
        """Refuse a call from another event loop.

        Raises:
            ConfigurationError: It is one, or the executor is not started.
        """
        if self._phase is _Phase.MADE:
            raise ConfigurationError(
                f"task executor {self._name!r} is not started; use `async with`, or await its start() first"
            )
        if asyncio._get_running_loop() is not self._loop:
            raise ConfigurationError(
                f"task executor {self._name!r} belongs to another event loop; use it from the one that started it"
            )

    def check_open(self) -> None:
        """Refuse new tasks where they cannot be taken.

        Raises:
            ShuttingDownError: The executor is draining or closed.
            ConfigurationError: It is not started, or belongs to another event loop.
        """
        if self._phase in {_Phase.DRAINING, _Phase.CLOSED}:
            raise ShuttingDownError(f"task executor {self._name!r} is {self.phase}")
        self.check_loop()

    async def drain(self, timeout: float | None) -> bool:
        """Take no more tasks and wait for those there are; False when `timeout` seconds were not enough."""
        self.check_loop()
        if self._phase is _Phase.OPEN:
            self._phase = _Phase.DRAINING
        return await _within(timeout, self.scheduler.idle)

    async def close(self, grace: float) -> None:
        """Cancel what has not ended, and wait at most `grace` seconds for the functions to stop."""
        if self._loop is not None:
            self.check_loop()
        self._phase = _Phase.CLOSED
        cancelled = sum(self.scheduler.cancel(job) for job in tuple(self.scheduler.jobs.values()))
        if cancelled:
            _log.warning("an executor was closed before its tasks had ended", executor=self._name, cancelled=cancelled)
        if not await _within(grace, self.scheduler.quiet):
            names = sorted({job.name for job in self.scheduler.abandon()})
            _log.error("some functions did not stop and are left behind", executor=self._name, functions=names[:20])


async def _within(seconds: float | None, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
