"""A bound on how much runs at once, so that one slow dependency cannot take everything down with it."""

from __future__ import annotations

import asyncio
import inspect
import math
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import anyio

from creatormate_resilience.exceptions import ConcurrencyLimitError, ConfigurationError
from creatormate_resilience.policy import decorate, refuse_awaitable

__all__ = ("Bulkhead", "BulkheadStatistics")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BulkheadStatistics:
    """A snapshot: what runs, what waits, and what was turned away since the start."""

    running: int
    waiting: int
    rejected: int
    max_concurrent: int
    max_queue: int


@dataclass(slots=True, eq=False)
class _Waiter:
    wake: Callable[[], object]
    admitted: bool = False
    gone: bool = False
    """Its event loop is closed: the place it was given went on to the next."""


class Bulkhead:
    """Lets a bounded number of calls run, a bounded number wait, and turns the rest away at once.

    Args:
        max_concurrent: Calls that may run at once.
        max_queue: Calls that may wait for a place, first come first served.
        max_wait: Longest wait, in seconds; None waits as long as the caller does.
        name: In errors.

    Threads, tasks and several event loops may share one.
    """

    def __init__(
        self, max_concurrent: int, max_queue: int = 0, max_wait: float | None = None, *, name: str = "bulkhead"
    ) -> None:
        for field, value, least in (("max_concurrent", max_concurrent, 1), ("max_queue", max_queue, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigurationError(f"{field} is {value!r}; accepted are whole numbers from {least}")
        known = max_wait is None or (isinstance(max_wait, int | float) and not isinstance(max_wait, bool))  # pyright: ignore[reportUnnecessaryIsInstance]
        if not known or (max_wait is not None and not 0 <= max_wait < math.inf):
            raise ConfigurationError(f"max_wait is {max_wait!r}; accepted are finite seconds from 0, or None")
        self.name = name
        self._max_concurrent = max_concurrent
        self._max_queue = max_queue
        self._max_wait = max_wait
        self._lock = threading.Lock()
        self._running = 0
        self._rejected = 0
        self._waiters: deque[_Waiter] = deque()

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Put a function into the bulkhead: `@Bulkhead(10)`; keeps its kind and signature."""
        return decorate(self, fn)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a sync function when there is a place.

        Raises:
            ConcurrencyLimitError: There is no place, and none to wait in, or the wait was too long.
            TypeError: The function returned an awaitable; use `acall`.
        """
        with self.guard():
            result = fn(*args, **kwargs)
        if inspect.isawaitable(result):
            refuse_awaitable(result, fn)
        return result

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function when there is a place; see `call`."""
        async with self.aguard():
            return await fn(*args, **kwargs)

    @contextmanager
    def guard(self) -> Generator[None]:
        """A place for a sync block: `with bulkhead.guard():`."""
        if not self._try_enter():
            self._wait()
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def aguard(self) -> AsyncGenerator[None]:
        """A place for an async block: `async with bulkhead.aguard():`."""
        if not self._try_enter():
            await self._await()
        try:
            yield
        finally:
            self._leave()

    def statistics(self) -> BulkheadStatistics:
        """One consistent snapshot."""
        with self._lock:
            return BulkheadStatistics(
                self._running, len(self._waiters), self._rejected, self._max_concurrent, self._max_queue
            )

    def _wait(self) -> None:
        event = threading.Event()
        waiter = self._queue_up(event.set)
        if waiter is None:
            return
        try:
            event.wait(self._max_wait)
        except BaseException:
            self._give_up(waiter)
            raise
        self._stop_waiting(waiter)

    async def _await(self) -> None:
        event = anyio.Event()
        waiter = self._queue_up(_waker(event.set))
        if waiter is None:
            return
        try:
            with anyio.move_on_after(self._max_wait):
                await event.wait()
        except BaseException:
            self._give_up(waiter)
            raise
        self._stop_waiting(waiter)

    def _try_enter(self) -> bool:
        with self._lock:
            if self._running >= self._max_concurrent:
                return False
            self._running += 1
            return True

    def _queue_up(self, wake: Callable[[], object]) -> _Waiter | None:
        with self._lock:
            if self._running < self._max_concurrent:  # somebody left since `_try_enter`
                self._running += 1
                return None
            if len(self._waiters) < self._max_queue:
                waiter = _Waiter(wake)
                self._waiters.append(waiter)
                return waiter
            self._rejected += 1
        raise ConcurrencyLimitError(f"{self!r} is full")

    def _stop_waiting(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter.admitted:
                return
            self._waiters.remove(waiter)
            self._rejected += 1
        raise ConcurrencyLimitError(f"{self!r} gave no place within {self._max_wait:g} s")

    def _give_up(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter.gone:
                return
            if not waiter.admitted:
                self._waiters.remove(waiter)
                return
        self._leave()  # admitted and cancelled at the same moment: the place goes on to the next

    def _leave(self) -> None:
        while True:
            with self._lock:
                if not self._waiters:
                    self._running -= 1
                    return
                waiter = self._waiters.popleft()
                waiter.admitted = True
            try:
                waiter.wake()
            except RuntimeError:  # its event loop has been closed and nobody is left to take the place
                waiter.gone = True
                continue
            return

    def __repr__(self) -> str:
        return f"<Bulkhead {self.name!r} {self._running}/{self._max_concurrent} running, {len(self._waiters)} waiting>"


def _waker(wake: Callable[[], None]) -> Callable[[], object]:
    loop = asyncio._get_running_loop()
    if loop is not None:
        return lambda: loop.call_soon_threadsafe(wake)
    token: Any = sys.modules["trio"].lowlevel.current_trio_token()
    return lambda: token.run_sync_soon(wake)
