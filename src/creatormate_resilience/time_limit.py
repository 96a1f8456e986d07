"""Interrupting a block of async code after a time, on asyncio and on trio, with the deadline visible inside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any

import anyio

from creatormate_resilience.deadline import Deadline, DeadlineScope
from creatormate_resilience.exceptions import OperationTimeoutError

__all__ = ("TimeLimit", "time_limit")


class TimeLimit(DeadlineScope):
    """A block of async code with a time limit; made by `time_limit`. For one use.

    `with` does the same as `async with`, for less; both belong into async code.
    """

    __slots__ = ("_cancelled", "_on_strike", "_scope", "_struck", "_task", "_timer", "_what")

    def __init__(self, seconds: float, what: str, on_strike: Callable[[], object] | None = None) -> None:
        super().__init__(seconds)
        self._what = what
        self._on_strike = on_strike
        self._scope: anyio.CancelScope | None = None
        self._struck = False

    def struck(self) -> bool:
        """Whether the limit has interrupted the block."""
        return self._struck if self._scope is None else self._scope.cancel_called

    def __enter__(self) -> Deadline:
        self._check_unused()
        self._start()  # before there is a deadline, or the timer would keep it alive in its copy of the context
        return self._begin(self.struck)

    async def __aenter__(self) -> Deadline:
        return self.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._scope is None:
            interrupted = self._stop(error)
        else:
            self._scope.__exit__(kind, error, trace)
            interrupted = self._scope.cancelled_caught
        if interrupted:
            if self._on_strike is not None:
                self._on_strike()
            raise OperationTimeoutError(f"{self._what} took longer than {self._seconds:g} s") from error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.__exit__(kind, error, trace)

    # On asyncio this is the protocol of `asyncio.timeout`, which is meant for all: cancel the task, and take the
    # cancellation back where no other came. It costs less than that, and a quarter of an anyio scope.
    def _start(self) -> None:
        loop = asyncio._get_running_loop()
        if loop is None:
            self._scope = anyio.move_on_after(self._seconds)
            self._scope.__enter__()
            return
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a time limit wants to be inside of a task")
        self._task: asyncio.Task[Any] = task
        self._cancelled = task.cancelling()
        self._timer = loop.call_later(self._seconds, self._strike)

    def _strike(self) -> None:
        self._struck = True
        self._task.cancel()

    def _stop(self, error: BaseException | None) -> bool:
        self._timer.cancel()
        if not self._struck:
            return False
        ours = self._task.uncancel() <= self._cancelled
        # A TimeoutError is what others make of a cancellation inside.
        return isinstance(error, TimeoutError) or (ours and isinstance(error, asyncio.CancelledError))


def time_limit(
    seconds: float, *, what: str = "the operation", on_strike: Callable[[], object] | None = None
) -> TimeLimit:
    """Cancel a block that takes longer.

    Used as `async with time_limit(5): ...`. The event loop's own clock decides, so tests of it run in real time or on
    trio's mock clock.

    Args:
        seconds: Longest duration of the block, in seconds.
        what: Named in the error.
        on_strike: Called when the block was interrupted, before the error is raised.

    Returns:
        A context manager for one block; it gives the deadline in force inside.

    Raises:
        OperationTimeoutError: By the block, when it was interrupted.
    """
    return TimeLimit(seconds, what, on_strike)
