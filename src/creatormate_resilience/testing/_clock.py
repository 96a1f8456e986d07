"""Time that passes when a test says so."""

from __future__ import annotations

import sys
import threading
from typing import Any

import anyio.lowlevel

__all__ = ("FakeClock",)


class FakeClock:
    """A `Clock` for tests: sleeping returns at once and moves the time forward.

    Args:
        start: First reading, in seconds.

    Raises:
        ValueError: `start` is no finite number.
    """

    def __init__(self, start: float = 0.0) -> None:
        if not _is_finite(start):
            raise ValueError(f"start is {start!r:.200}; accepted are finite seconds")
        self._now = float(start)
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        """The time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: How much, in seconds.

        Raises:
            ValueError: `seconds` is negative or not finite; this clock never goes backwards.
        """
        if not _is_finite(seconds) or seconds < 0:
            raise ValueError(f"seconds is {seconds!r:.200}; accepted are finite seconds from 0")
        with self._lock:
            self._now += seconds

    def sleep(self, seconds: float, /) -> None:
        """Return at once, later."""
        self.advance(max(0.0, seconds))

    async def asleep(self, seconds: float, /) -> None:
        """Return after other tasks had a turn, later."""
        self.advance(max(0.0, seconds))
        await anyio.lowlevel.checkpoint()

    def __repr__(self) -> str:
        return f"FakeClock({self._now:g})"


def _is_finite(seconds: Any) -> bool:
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return number and -sys.float_info.max <= seconds <= sys.float_info.max
