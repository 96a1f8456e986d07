"""Time that passes when a test says so."""

from __future__ import annotations

import math
import threading

import anyio.lowlevel

__all__ = ("FakeClock",)


class FakeClock:
    """A `Clock` for tests: sleeping returns at once and moves the time forward.

    Args:
        start: First reading, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
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
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"seconds is {seconds!r}; accepted are finite seconds from 0")
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
