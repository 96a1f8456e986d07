"""A bound on how much runs at once, so that one slow dependency cannot take everything down with it."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

import anyio

from creatormate_resilience.deadline import Deadline, current_deadline
from creatormate_resilience.events import Event, Listener, notify
from creatormate_resilience.exceptions import ConcurrencyLimitError, ConfigurationError
from creatormate_resilience.options import check_number, check_text, check_whole, listeners_of
from creatormate_resilience.policy import decorate, explain_miscall, is_async, refuse_awaitables

__all__ = ("Bulkhead", "BulkheadFull", "BulkheadGuard", "BulkheadStatistics")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BulkheadFull(Event):
    """A call was turned away.

    Attributes:
        waited: Whether it had waited for a place; else there was none to wait in.
    """

    waited: bool


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
        max_wait: Longest wait, in seconds; None waits as long as the caller does. Nobody waits longer than the current
            deadline.
        name: In errors and events.
        listeners: Told of `BulkheadFull`.

    Raises:
        ConfigurationError: An argument is out of range.

    Threads, tasks and several event loops may share one.
    """

    def __init__(
        self,
        max_concurrent: int,
        max_queue: int = 0,
        max_wait: float | None = None,
        *,
        name: str = "bulkhead",
        listeners: Iterable[Listener] = (),
    ) -> None:
        check_whole("max_concurrent", max_concurrent, 1)
        check_whole("max_queue", max_queue, 0)
        if max_wait is not None:
            check_number("max_wait", max_wait, "seconds", above_zero=False)
            if max_wait and not max_queue:
                raise ConfigurationError(f"max_wait is {max_wait!r} and max_queue is 0: nobody may wait at all")
        check_text("name", name)
        self.name = name
        self._max_concurrent = max_concurrent
        self._max_queue = max_queue
        self._max_wait = max_wait
        self._listeners = listeners_of(listeners)
        self._plain: type = type(None)
        self._lock = threading.Lock()
        self._running = 0
        self._rejected = 0
        self._waiters: deque[_Waiter] = deque()

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Put a function into the bulkhead: `@Bulkhead(10)`; keeps its kind and signature."""
        function: Any = fn
        if isinstance(fn, staticmethod) or not callable(fn) or not is_async(fn):
            return decorate(self, function)
        return cast("Callable[P, T]", self._async(function))

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a sync function when there is a place.

        Raises:
            ConcurrencyLimitError: There is no place, and none to wait in, or the wait was too long.
            ConfigurationError: It would have to wait, and an event loop runs in this thread.
            TypeError: The function returned an awaitable; use `acall`.
        """
        if not self._try_enter():
            self._wait()
        try:
            result = fn(*args, **kwargs)
        finally:
            self.leave()
        if type(result) is not self._plain:  # looked at once for each type that comes along
            self._plain = refuse_awaitables(result, fn)
        return result

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function when there is a place; see `call`."""
        if not self._try_enter():
            await self._await()
        try:
            return await fn(*args, **kwargs)
        except TypeError as error:
            explain_miscall(error, fn)
            raise
        finally:
            self.leave()

    def guard(self) -> BulkheadGuard:
        """A place for a block: `with bulkhead.guard():` or `async with bulkhead.guard():`.

        Returns:
            A context manager. Entering it waits, or raises `ConcurrencyLimitError`.
        """
        return BulkheadGuard(self)

    def enter(self) -> None:
        """Take a place, or wait for one; for where `guard` does not fit. What it took, `leave` gives back.

        Raises:
            ConcurrencyLimitError: There is no place, and none to wait in, or the wait was too long.
        """
        if not self._try_enter():
            self._wait()

    async def aenter(self) -> None:
        """Like `enter`, in async code."""
        if not self._try_enter():
            await self._await()

    def statistics(self) -> BulkheadStatistics:
        """One consistent snapshot."""
        with self._lock:
            return BulkheadStatistics(
                self._running, len(self._waiters), self._rejected, self._max_concurrent, self._max_queue
            )

    def _async(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(fn)
        async def protected(*args: P.args, **kwargs: P.kwargs) -> T:
            if not self._try_enter():
                await self._await()
            try:
                return await fn(*args, **kwargs)
            finally:
                self.leave()

        return protected

    def _wait(self) -> None:
        event = threading.Event()
        waiter = self._queue_up(event.set)
        if waiter is None:
            return
        try:
            longest = self._longest_wait(current_deadline())
            if longest != 0:
                _check_may_block(self)
            event.wait(longest)
        except BaseException:
            self._give_up(waiter)
            raise
        self._stop_waiting(waiter)

    async def _await(self) -> None:
        event = anyio.Event()
        waiter = self._queue_up(_waker(event.set))
        if waiter is None:
            return
        deadline = current_deadline()
        interrupted = deadline is not None and deadline.struck is not None  # then by what keeps that deadline
        try:
            with anyio.move_on_after(self._longest_wait(None if interrupted else deadline)):
                await event.wait()
        except BaseException:
            self._give_up(waiter)
            raise
        self._stop_waiting(waiter)

    def _longest_wait(self, deadline: Deadline | None) -> float | None:
        if deadline is None:
            return self._max_wait
        left = max(0.0, deadline.remaining())
        return left if self._max_wait is None else min(left, self._max_wait)

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
        notify(self._listeners, BulkheadFull(self.name, waited=False))
        raise ConcurrencyLimitError(f"{self!r} is full")

    def _stop_waiting(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter.admitted:
                return
            self._waiters.remove(waiter)
            self._rejected += 1
        notify(self._listeners, BulkheadFull(self.name, waited=True))
        limit = "the deadline" if self._max_wait is None else f"{self._max_wait:g} s"
        raise ConcurrencyLimitError(f"{self!r} gave no place within {limit}")

    def _give_up(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter.gone:
                return
            if not waiter.admitted:
                self._waiters.remove(waiter)
                return
        self.leave()  # admitted and cancelled at the same moment: the place goes on to the next

    def leave(self) -> None:
        """Give back a place that was taken; to whoever waits first, if anybody does.

        Raises:
            RuntimeError: No place is taken.
        """
        while True:
            with self._lock:
                if not self._waiters:
                    if not self._running:
                        raise RuntimeError(f"{self!r} is left more often than entered")
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


class BulkheadGuard:
    """A place for a block, sync or async. Made by `Bulkhead.guard()`."""

    __slots__ = ("_bulkhead",)

    def __init__(self, bulkhead: Bulkhead) -> None:
        self._bulkhead = bulkhead

    def __enter__(self) -> None:
        self._bulkhead.enter()

    async def __aenter__(self) -> None:
        await self._bulkhead.aenter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._bulkhead.leave()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._bulkhead.leave()


def _waker(wake: Callable[[], None]) -> Callable[[], object]:
    loop = asyncio._get_running_loop()
    if loop is not None:
        return lambda: loop.call_soon_threadsafe(wake)
    token: Any = sys.modules["trio"].lowlevel.current_trio_token()
    return lambda: token.run_sync_soon(wake)


def _check_may_block(bulkhead: Bulkhead) -> None:
    """A loop that stands still would wait for its own tasks."""
    in_trio_run = getattr(sys.modules.get("trio.lowlevel"), "in_trio_run", None)
    if asyncio._get_running_loop() is not None or (in_trio_run is not None and in_trio_run()):
        raise ConfigurationError(
            f"waiting for a place in {bulkhead!r} would block the event loop of this thread, and who holds the place "
            "may be a task of it; use `acall` or `async with`, or call it in another thread (`asyncio.to_thread`)"
        )
