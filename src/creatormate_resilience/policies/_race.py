"""Attempts of one call that run at the same time, of which the first success counts."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio
import anyio.abc

__all__ = ("Ends", "Latencies", "Race")

T = TypeVar("T")

_KEPT = 200
_ENOUGH = 20


class Ends(Generic[T]):
    """How the attempts of one call ended, and what comes of that."""

    def __init__(self) -> None:
        self.running = 0
        self._answers: list[tuple[T, int]] = []
        self._failures: list[BaseException] = []

    @property
    def decided(self) -> bool:
        """Whether there is an answer, or none to be waited for: an error is an answer, and no attempt follows it."""
        return bool(self._answers) or not self.running

    def answered(self, answer: T, number: int) -> None:
        """An attempt has succeeded."""
        self.running -= 1
        self._answers.append((answer, number))

    def failed(self, error: BaseException) -> None:
        """An attempt has failed. Its own cancellation is a failure too: of what it waited for and others cancelled."""
        self.running -= 1
        self._failures.append(error)

    def outcome(self) -> tuple[T, int]:
        """The first answer, and the number of its attempt, from 0.

        Raises:
            Exception: The first failure, when no attempt succeeded; its notes name the others. A cancellation comes out
                where nothing else does.
        """
        failures, self._failures = self._failures, []
        if self._answers:
            return self._answers[0]
        first = next((error for error in failures if isinstance(error, Exception)), failures[0])
        for kind in [type(other).__name__ for other in failures if other is not first]:
            first.add_note(f"another attempt of this hedged call failed too: {kind}")
        try:
            raise first
        finally:
            del failures, first  # their tracebacks hold this


class Race(Generic[T]):
    """The attempts of one call on any event loop, as trio cancels: from the first to the last await. For one use.

    Args:
        attempt: Makes one attempt.
        next_due: Waits until a further attempt is due, by its number from 1; says whether it may start.
        most: How many further attempts there may be.
    """

    def __init__(
        self, attempt: Callable[[], Awaitable[T]], next_due: Callable[[int], Awaitable[bool]], most: int
    ) -> None:
        self._attempt = attempt
        self._next_due = next_due
        self._most = most
        self._ends = Ends[T]()

    async def run(self) -> tuple[T, int]:
        """Run them; the first in the caller's own task.

        Returns:
            The first answer, and the number of its attempt, from 0.

        Raises:
            Exception: The first failure, when no attempt succeeded; its notes name the others.
        """
        try:
            async with anyio.create_task_group() as tasks:
                self._ends.running += 1
                tasks.start_soon(self._follow, tasks)
                await self._run(tasks, 0)
        except BaseExceptionGroup as group:  # an interruption; it should look as it does without us
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise
        return self._ends.outcome()

    async def _follow(self, tasks: anyio.abc.TaskGroup) -> None:
        for number in range(1, self._most + 1):
            if not await self._next_due(number):
                return
            self._ends.running += 1
            tasks.start_soon(self._run, tasks, number)

    async def _run(self, tasks: anyio.abc.TaskGroup, number: int) -> None:
        try:
            answer = await self._attempt()
        except Exception as error:  # noqa: BLE001 - kept; raised when no attempt succeeds
            self._ends.failed(error)
        else:
            self._ends.answered(answer, number)
        if self._ends.decided:
            tasks.cancel_scope.cancel()


class Latencies:
    """How long recent calls took.

    Args:
        percentile: Share of them that took no longer than `slow()` says.
    """

    def __init__(self, percentile: float) -> None:
        self._percentile = percentile
        self._lock = threading.Lock()
        self._recent: deque[float] = deque()
        self._ordered: list[float] = []

    def add(self, seconds: float) -> None:
        """Keep a duration; the oldest of many goes."""
        with self._lock:
            if len(self._recent) == _KEPT:
                del self._ordered[bisect_left(self._ordered, self._recent.popleft())]
            self._recent.append(seconds)
            insort(self._ordered, seconds)

    def slow(self) -> float | None:
        """The percentile, in seconds, or None where too few are known."""
        with self._lock:
            known = len(self._ordered)
            if known < _ENOUGH:
                return None
            return self._ordered[math.ceil(known * self._percentile) - 1]
