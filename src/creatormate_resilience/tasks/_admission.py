"""Whether new tasks are taken: the bound of the queue, and what happens where it is reached."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from creatormate_resilience.exceptions import TaskQueueFullError
from creatormate_resilience.tasks._statistics import Totals

__all__ = ("Admission", "WhenFull")

WhenFull: TypeAlias = Literal["raise", "wait", "drop_lowest"]


class _Waiter(NamedTuple):
    future: asyncio.Future[None]
    tasks: int
    starting: Callable[[], int]


class Admission:
    """Counts the places of the queue, and lets those who wait for one in, in their order.

    Args:
        name: The executor's.
        max_queue: Most tasks that wait.
        slots: Runs there may be at once, for the estimate of when there is room.
        totals: Says how many wait.
    """

    def __init__(self, name: str, max_queue: int, slots: int, totals: Totals) -> None:
        self._name = name
        self._max_queue = max_queue
        self._slots = slots
        self._totals = totals
        self._waiters: deque[_Waiter] = deque()
        self._promised = 0

    def fits(self, count: int) -> bool:
        """Whether there are places for `count` tasks, even if none of them starts at once."""
        return not self._waiters and self._totals.waiting + self._promised + count <= self._max_queue

    def excess(self, count: int, starting: int) -> int:
        """How many places are missing for `count` tasks, `starting` of which would start at once; 0 when all fit.

        Where others wait nothing fits: they were first.
        """
        if self._waiters:
            return count
        if count <= starting and not self._promised:
            return 0
        return max(0, self._totals.waiting + self._promised + count - starting - self._max_queue)

    async def wait(self, count: int, starting: Callable[[], int]) -> None:
        """Wait until there are places for `count` tasks. They are the caller's until it lets the event loop turn.

        Args:
            count: Tasks.
            starting: Says how many of them would start at once.
        """
        waiter = _Waiter(asyncio.get_running_loop().create_future(), count, starting)
        self._waiters.append(waiter)
        try:
            await waiter.future
        finally:
            if waiter in self._waiters:  # cancelled
                self._waiters.remove(waiter)
            elif not waiter.future.cancelled() and waiter.future.exception() is None:
                self._promised -= count  # taken now, or no longer wanted

    def let_in(self) -> None:
        """Promise places to those who wait, as far as there are any, until they take them."""
        while self._waiters:
            waiter = self._waiters[0]
            taken = self._totals.waiting + self._promised
            if not waiter.future.done():
                # Promised ones count, although they may start.
                if taken + waiter.tasks - waiter.starting() > self._max_queue:
                    return
                self._promised += waiter.tasks
                waiter.future.set_result(None)
            self._waiters.popleft()

    @property
    def crowded(self) -> bool:
        """Whether somebody waits for a place."""
        return bool(self._waiters)

    def refuse_all(self, error: BaseException) -> None:
        """Let nobody in any more."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.future.done():
                waiter.future.set_exception(error)

    def full(self, count: int) -> TaskQueueFullError:
        """The error to refuse `count` tasks with."""
        return TaskQueueFullError(
            f"the queue of {self._name!r} holds {self._totals.waiting} of {self._max_queue} tasks, and {count} more do "
            "not fit",
            retry_after=self._totals.relief(self._slots),
        )

    def full_for(self, key: str, waiting: int, most: float, count: int) -> TaskQueueFullError:
        """The error to refuse `count` tasks of a key with, of which `waiting` wait."""
        return TaskQueueFullError(
            f"key {key!r} has {waiting} of {most:g} tasks waiting in {self._name!r}, and {count} more do not fit",
            retry_after=self._totals.relief(self._slots),
        )
