"""Interrupting a block of async code after a time, on asyncio and on trio, with the deadline visible inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from creatormate_resilience.deadline import Deadline, deadline_scope
from creatormate_resilience.exceptions import OperationTimeoutError

__all__ = ("time_limit",)


@asynccontextmanager
async def time_limit(seconds: float, *, what: str = "the operation") -> AsyncGenerator[Deadline]:
    """Cancel the block when it takes longer.

    The event loop's own clock decides, so tests of it run in real time or on trio's mock clock. On asyncio this is
    `asyncio.timeout`, which costs a third of an anyio cancel scope and means the same here.

    Args:
        seconds: Longest duration of the block, in seconds.
        what: Named in the error.

    Yields:
        The deadline in force inside the block.

    Raises:
        OperationTimeoutError: The block was interrupted.
    """
    if asyncio._get_running_loop() is None:
        scope = anyio.move_on_after(seconds)
        with deadline_scope(seconds, struck=lambda: scope.cancel_called) as deadline, scope:
            yield deadline
        if scope.cancelled_caught:
            raise _timed_out(what, seconds)
        return
    timeout = asyncio.timeout(seconds)
    try:
        with deadline_scope(seconds, struck=timeout.expired) as deadline:
            async with timeout:
                yield deadline
    except TimeoutError as error:
        if timeout.expired():
            raise _timed_out(what, seconds) from error
        raise


def _timed_out(what: str, seconds: float) -> OperationTimeoutError:
    return OperationTimeoutError(f"{what} took longer than {seconds:g} s")
