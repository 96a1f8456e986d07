"""The one clock. What waits or measures takes a `Clock`, so that tests can pass time themselves.

What interrupts async code stands on the event loop's own clock.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Protocol

__all__ = ("Clock", "SystemClock")


class Clock(Protocol):
    """Where durations come from. Wall time is not part of it: it is for display and shared stores only."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going backwards."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Block the calling thread for this many seconds."""
        ...

    async def asleep(self, seconds: float, /) -> None:
        """Suspend the calling task for this many seconds."""
        ...


class SystemClock:
    """The machine's monotonic clock; `asleep` runs under asyncio and under trio."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)

    async def asleep(self, seconds: float, /) -> None:
        """Suspend the calling task for this many seconds."""
        if asyncio._get_running_loop() is not None:
            await asyncio.sleep(seconds)
        else:  # A coroutine is driven by asyncio or by trio, and whoever runs trio has imported it.
            await sys.modules["trio"].sleep(seconds)

    def __repr__(self) -> str:
        return "SystemClock()"
