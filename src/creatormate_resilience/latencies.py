"""How long the last calls of something took, as quantiles."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ("Latencies", "LatencyQuantiles")

_KEPT = 512


@dataclass(frozen=True, slots=True)
class LatencyQuantiles:
    """How long the last calls took, 512 at most, in seconds.

    Attributes:
        p50: Half of them took no longer; so do 95 of 100 and 99 of 100 for the next two.
        p95: See `p50`.
        p99: See `p50`.
        longest: The slowest.
    """

    p50: float
    p95: float
    p99: float
    longest: float


class Latencies:
    """The durations of the last calls, 512 at most."""

    __slots__ = ("_seconds", "add")

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_KEPT)
        self.add = self._seconds.append  # of a deque: atomic

    def quantiles(self) -> LatencyQuantiles | None:
        """A picture of them; None before the first call."""
        ordered = sorted(self._seconds.copy())
        if not ordered:
            return None
        last = len(ordered) - 1
        p50, p95, p99 = (ordered[round(last * share)] for share in (0.5, 0.95, 0.99))
        return LatencyQuantiles(p50, p95, p99, ordered[last])
