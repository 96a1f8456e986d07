"""What happened lately: failures and slow calls over the last calls or the last seconds. Pure; `now` is a parameter."""

from __future__ import annotations

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

    def count(self, *, failed: bool, slow: bool) -> None:
        """Add one call."""
        self.calls += 1
        self.failures += failed
        self.slow += slow

    def take_away(self, other: Tally) -> None:
        """Forget the calls of another tally."""
        self.calls -= other.calls
        self.failures -= other.failures
        self.slow -= other.slow

    @property
    def failure_rate(self) -> float:
        """Share of failures, 0 to 1; 0 where nothing was called."""
        return self.failures / self.calls if self.calls else 0.0

    @property
    def slow_rate(self) -> float:
        """Share of slow calls, 0 to 1; 0 where nothing was called."""
        return self.slow / self.calls if self.calls else 0.0


class Window(Protocol):
    """Counts calls and forgets old ones."""

    def record(self, now: float, *, failed: bool, slow: bool) -> None:
        """Count one call that ended at `now`."""
        ...

    def tally(self, now: float) -> Tally:
        """The numbers inside the window at `now`."""
        ...


class _LastCalls:
    __slots__ = ("_calls", "_sum")

    def __init__(self, size: int) -> None:
        self._calls: deque[tuple[bool, bool]] = deque(maxlen=size)
        self._sum = Tally()

    def record(self, now: float, *, failed: bool, slow: bool) -> None:  # noqa: ARG002 - part of the protocol
        if len(self._calls) == self._calls.maxlen:
            self._sum.take_away(Tally(1, *self._calls[0]))
        self._calls.append((failed, slow))
        self._sum.count(failed=failed, slow=slow)

    def tally(self, now: float) -> Tally:  # noqa: ARG002 - part of the protocol
        return Tally(self._sum.calls, self._sum.failures, self._sum.slow)


class _LastSeconds:
    __slots__ = ("_slice_length", "_slices", "_sum")

    def __init__(self, seconds: float) -> None:
        self._slice_length = seconds / _SLICES
        self._slices: deque[tuple[int, Tally]] = deque()
        self._sum = Tally()

    def record(self, now: float, *, failed: bool, slow: bool) -> None:
        index = self._forget(now)
        if not self._slices or self._slices[-1][0] != index:
            self._slices.append((index, Tally()))
        self._slices[-1][1].count(failed=failed, slow=slow)
        self._sum.count(failed=failed, slow=slow)

    def tally(self, now: float) -> Tally:
        self._forget(now)
        return Tally(self._sum.calls, self._sum.failures, self._sum.slow)

    def _forget(self, now: float) -> int:
        index = int(now // self._slice_length)
        if self._slices:  # threads may read the clock in one order and get here in another
            index = max(index, self._slices[-1][0])
        while self._slices and self._slices[0][0] <= index - _SLICES:
            self._sum.take_away(self._slices.popleft()[1])
        return index


def make_window(config: TimeWindow | CountWindow) -> Window:
    """The window that a configuration describes."""
    return _LastCalls(config.size) if isinstance(config, CountWindow) else _LastSeconds(config.seconds)
