"""The queue of idle connections: who waits first is served first.

The queue that SQLAlchemy takes by default lets a task that returns a connection take it again before the one that was
woken for it, so that some wait many times longer than others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.util import await_only
from sqlalchemy.util.queue import Empty, Full, QueueCommon

__all__ = ("FairQueue",)

T = TypeVar("T")


class FairQueue(QueueCommon[T]):
    """Idle connections, and those who wait for one. Belongs to one event loop.

    Args:
        maxsize: Most that are kept.
        use_lifo: Hand out the one that was returned last, instead of the one idle longest.

    Attributes:
        before_wait: Called when somebody is about to wait; may raise instead.
    """

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:
        self.maxsize = maxsize
        self.use_lifo = use_lifo
        self.before_wait: Callable[[], None] = _nothing
        self._items: deque[T] = deque()
        self._waiting: deque[asyncio.Future[T]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(not each.done() for each in self._waiting)

    @property
    def items(self) -> tuple[T, ...]:
        """What is idle."""
        return tuple(self._items)

    def empty(self) -> bool:
        """Whether nothing is idle."""
        return not self._items

    def full(self) -> bool:
        """Whether no more is kept."""
        return 0 < self.maxsize <= len(self._items)

    def qsize(self) -> int:
        """How many are idle."""
        return len(self._items)

    def put_nowait(self, item: T) -> None:
        """Give to whoever waits first, or keep."""
        if (first := self._first()) is not None:
            first.set_result(item)
        elif self.full():
            raise Full
        else:
            self._items.append(item)

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002
        """As `put_nowait`; the pool never waits to return something."""
        self.put_nowait(item)

    def get_nowait(self) -> T:
        """An idle one. While somebody waits there is none."""
        if not self._items:
            raise Empty
        return self._items.pop() if self.use_lifo else self._items.popleft()

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """An idle one, or the next that is returned; inside of a greenlet."""
        if self._items or not block:
            return self.get_nowait()
        self.before_wait()
        return await_only(self._next(timeout))

    def wake(self) -> None:
        """Let whoever waits first try to connect: there is room for another connection."""
        if (first := self._first()) is not None:
            first.set_exception(Empty())

    async def _next(self, timeout: float | None) -> T:
        turn: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(timeout):
                return await turn
        except BaseException as error:
            self._give_back(turn)
            if isinstance(error, TimeoutError):
                raise Empty from None
            raise

    def _give_back(self, turn: asyncio.Future[T]) -> None:
        """Pass on what somebody was given who does not take it any more."""
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif turn.done() and not turn.cancelled():
            if turn.exception() is None:
                self.put_nowait(turn.result())
            else:
                self.wake()

    def _first(self) -> asyncio.Future[T] | None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                return turn
        return None


def _nothing() -> None:
    pass
