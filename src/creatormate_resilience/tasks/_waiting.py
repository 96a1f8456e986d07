"""Waiting for an event in bounded time, also in a task that is being cancelled."""

from __future__ import annotations

import asyncio

__all__ = ("set_within",)


async def set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until an event is set.

    `asyncio.timeout` would not do: before Python 3.11.3 it ends in a `CancelledError` where the task was cancelled
    before, which is when executors are closed.

    Args:
        event: It.
        seconds: Longest wait; None waits for ever.

    Returns:
        Whether it is set.
    """
    if event.is_set():
        return True
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((waiting,), timeout=seconds)
    finally:
        waiting.cancel()
    return event.is_set()
