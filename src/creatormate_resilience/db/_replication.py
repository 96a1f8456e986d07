"""How far replicas are behind, from positions in the write-ahead log. Pure.

Every second the end of the primary's log is written down beside the time. A replica is as far behind as the oldest of
these positions is old that it has not applied. Other than `now() - pg_last_xact_replay_timestamp()`, this is right
while nobody writes, while the replica has lost its primary, and whatever the servers' clocks say.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

__all__ = ("PrimaryLog",)

_SPAN = 600.0
"""Seconds that are remembered at least. Who is further behind than that is behind by that much, as far as one knows."""
_MOST = 600


class _Mark(NamedTuple):
    position: int
    time: float


class PrimaryLog:
    """Where the primary's log ended, and when.

    Args:
        span: Seconds that matter. The longer, the coarser: a position is kept for each 600th of it.
    """

    __slots__ = ("_marks", "_spacing")

    def __init__(self, span: float) -> None:
        self._spacing = max(span, _SPAN) / _MOST
        self._marks: list[_Mark] = []

    def saw(self, position: int, now: float) -> None:
        """The log reached at least to `position` at `now`."""
        marks = self._marks
        if marks and position == marks[-1].position:
            return
        if marks and position < marks[-1].position:  # another server, or a restored one
            marks.clear()
        if len(marks) > 1 and now - marks[-2].time < self._spacing:
            marks.pop()
        marks.append(_Mark(position, now))
        del marks[: -2 * _MOST]

    def lag(self, position: int, now: float) -> float:
        """How far behind is who has applied everything up to `position`, in seconds.

        Args:
            position: What was applied.
            now: The time.

        Returns:
            0 for who has all that is known of; else no more than is certain.
        """
        first = bisect_right(self._marks, position, key=lambda mark: mark.position)
        return now - self._marks[first].time if first < len(self._marks) else 0.0
