"""What happened lately: failures and slow calls over the last calls or the last seconds. Pure; `now` is a parameter.

Calls have numbers, drawn when they end. A success only draws one; what a window keeps are the numbers of the few calls
that were not fast successes, so the rate over the last N calls costs nothing where all goes well.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from creatormate_resilience.breaker._config import CountWindow, TimeWindow

__all__ = ("Tally", "Window", "make_window")

_SLICES = 10


@dataclass(slots=True)
class Tally:
    """Numbers of calls."""

    calls: int = 0
    failures: int = 0
    slow: int = 0

    @property
    def failure_rate(self) -> float:
        """Share of failures, 0 to 1; 0 where nothing was called."""
        return self.failures / self.calls if self.calls else 0.0

    @property
    def slow_rate(self) -> float:
        """Share of slow calls, 0 to 1; 0 where nothing was called."""
        return self.slow / self.calls if self.calls else 0.0


class Window(Protocol):
    """Keeps what was not a fast success, and forgets what is old."""

    @property
    def turns_at(self) -> float:
        """Monotonic seconds from which `turn` must be called before the next call is counted."""
        ...

    def turn(self, now: float, number: int) -> None:
        """Time has passed `turns_at`; `number` calls were counted so far."""
        ...

    def record(self, number: int, *, failed: bool, slow: bool) -> None:
        """Keep the call that was counted with this number."""
        ...

    def tally(self, now: float, number: int) -> Tally:
        """The numbers inside the window at `now`, when `number` calls were counted."""
        ...


class _LastCalls:
    __slots__ = ("_failures", "_size", "_slow", "turns_at")

    def __init__(self, size: int) -> None:
        self._size = size
        self._failures: deque[int] = deque()
        self._slow: deque[int] = deque()
        self.turns_at = math.inf

    def turn(self, now: float, number: int) -> None:
        """Nothing here depends on time."""

    def record(self, number: int, *, failed: bool, slow: bool) -> None:
        if failed:
            self._failures.append(number)
        if slow:
            self._slow.append(number)
        self._forget(number)

    def tally(self, now: float, number: int) -> Tally:  # noqa: ARG002 - part of the protocol
        self._forget(number)
        return Tally(min(number, self._size), len(self._failures), len(self._slow))

    def _forget(self, number: int) -> None:
        oldest = number - self._size
        for kept in (self._failures, self._slow):
            while kept and kept[0] <= oldest:
                kept.popleft()


@dataclass(slots=True)
class _Slice:
    index: int
    before: int
    """Calls that were counted before it began."""
    failures: int = 0
    slow: int = 0


class _LastSeconds:
    __slots__ = ("_length", "_slices", "turns_at")

    def __init__(self, seconds: float, now: float) -> None:
        self._length = seconds / _SLICES
        self._slices: deque[_Slice] = deque()
        self.turns_at = -math.inf
        self.turn(now, 0)

    def turn(self, now: float, number: int) -> None:
        index = math.floor(now / self._length)
        if self._slices:  # threads may read the clock in one order and get here in another
            index = max(index, self._slices[-1].index)
        if not self._slices or self._slices[-1].index != index:
            self._slices.append(_Slice(index, number))
        while self._slices[0].index <= index - _SLICES:
            self._slices.popleft()
        self.turns_at = (index + 1) * self._length

    def record(self, number: int, *, failed: bool, slow: bool) -> None:  # noqa: ARG002 - part of the protocol
        self._slices[-1].failures += failed
        self._slices[-1].slow += slow

    def tally(self, now: float, number: int) -> Tally:
        self.turn(now, number)
        failures = sum(each.failures for each in self._slices)
        return Tally(number - self._slices[0].before, failures, sum(each.slow for each in self._slices))


def make_window(config: TimeWindow | CountWindow, now: float) -> Window:
    """The window that a configuration describes, empty at `now`."""
    return _LastCalls(config.size) if isinstance(config, CountWindow) else _LastSeconds(config.seconds, now)
