"""Tasks that are submitted again and again: at an interval, or when a schedule says so."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from creatormate_resilience.exceptions import ConfigurationError, ResilienceError, ShuttingDownError
from creatormate_resilience.log import get_logger
from creatormate_resilience.tasks._engine import Engine
from creatormate_resilience.tasks._handle import TaskHandle
from creatormate_resilience.tasks._options import check_seconds

__all__ = ("PeriodicTask", "PeriodicTasks", "Schedule", "every")

_log = get_logger("tasks")
_LONGEST_SLEEP = 30.0  # then the wall clock is asked again: it may have been set, and a laptop may have slept


class Schedule(Protocol):
    """Says when a periodic task is due, on the wall clock; `cron` makes one."""

    def next(self, after: datetime) -> datetime:
        """The first moment after another one; both know their time zone."""
        ...


@dataclass(frozen=True, slots=True)
class every:  # noqa: N801 - used like a function: every(60)
    """An interval, on the monotonic clock. What is missed while nothing runs is not made up for.

    Attributes:
        seconds: Between two submissions, and before the first.
        jitter: Most seconds that are added to each at random, so that many processes do not come together.

    Raises:
        ValueError: A time is out of its range.
        TypeError: A time is not a number.
    """

    seconds: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        check_seconds("seconds", self.seconds, zero=False)
        check_seconds("jitter", self.jitter, zero=True)


class PeriodicTask:
    """A task that is submitted again and again, until it is cancelled or its executor closes.

    While a run has not ended the next one is left out. What cannot be submitted (a full queue) is left out too, and
    stands in the log.
    """

    def __init__(
        self, name: str, schedule: Schedule | every, submit: Callable[[], Awaitable[TaskHandle[Any]]], engine: Engine
    ) -> None:
        self.name = name
        self.schedule = schedule
        self.submitted = 0
        """How often it was submitted, by this process."""
        self.left_out = 0
        """How often it was not, because the run before had not ended or there was no room."""
        self.last: TaskHandle[Any] | None = None
        """The last run."""
        self.next_at: datetime | None = None
        """When it is due next, for display."""
        self._submit = submit
        self._engine = engine
        self._task = asyncio.create_task(self._run(), name=f"periodic {name}")

    @property
    def cancelled(self) -> bool:
        """Whether it is submitted no more."""
        return self._task.done()

    def cancel(self) -> None:
        """Submit it no more; a run that has begun goes on."""
        self._task.cancel()

    async def _run(self) -> None:
        due = self._intervals(self.schedule) if isinstance(self.schedule, every) else self._moments(self.schedule)
        async for occurrence in due:
            try:
                if not await self._engine.claim(self.name, occurrence):
                    continue  # another process has it
                handle = await self._submit()
            except ShuttingDownError:
                return
            except ResilienceError as error:
                self.left_out += 1
                _log.warning("a periodic task could not be submitted", task=self.name, exc_info=error)
                continue
            if self.last is not None and handle.id == self.last.id:
                self.left_out += 1
            else:
                self.submitted += 1
                self.last = handle

    async def _intervals(self, schedule: every) -> AsyncIterator[str]:
        seconds, loop = schedule.seconds, asyncio.get_running_loop()
        planned = loop.time()
        while True:
            planned += seconds
            if planned <= loop.time():  # we are late by one or more: go on in step, from the next
                planned += (loop.time() - planned) // seconds * seconds + seconds
            wait = planned + random.uniform(0.0, schedule.jitter) - loop.time()  # noqa: S311
            self.next_at = datetime.now(UTC) + timedelta(seconds=wait)
            await asyncio.sleep(wait)
            yield str(int(time.time() / seconds))

    async def _moments(self, schedule: Schedule) -> AsyncIterator[str]:
        last = datetime.now(UTC)
        while True:
            # After the last one too: a clock that was set back must not bring the same moment twice.
            self.next_at = due = schedule.next(max(datetime.now(UTC), last))
            while (wait := (due - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110 - the wall clock tells nobody
                await asyncio.sleep(min(wait, _LONGEST_SLEEP))
            last = due
            yield due.astimezone(UTC).isoformat()

    def __repr__(self) -> str:
        when = (
            "cancelled" if self.cancelled else f"next at {self.next_at:%Y-%m-%d %H:%M:%S %Z}" if self.next_at else "new"
        )
        return f"<PeriodicTask {self.name!r} {when}, submitted {self.submitted}, left out {self.left_out}>"


class PeriodicTasks:
    """The periodic tasks of one executor."""

    def __init__(self) -> None:
        self._tasks: dict[str, PeriodicTask] = {}

    def check(self, name: str) -> None:
        """Refuse a name that is in use.

        Raises:
            ConfigurationError: It is.
        """
        if name in self._tasks and not self._tasks[name].cancelled:
            raise ConfigurationError(f"there is a periodic task {name!r} already; give one of them another name")

    def add(self, task: PeriodicTask) -> None:
        """Own a task until the executor closes."""
        self._tasks[task.name] = task

    def close(self) -> None:
        """Cancel them all."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
