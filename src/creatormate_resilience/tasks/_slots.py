"""How many runs there may be at once, in total and of each kind. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from creatormate_resilience.tasks._options import Kind

__all__ = ("Slots",)


class Slots:
    """Counts the runs. A slot is taken when a run starts and given back when it has really ended, not before.

    Args:
        total: Most runs at once.
        limits: Most runs at once of each kind.
    """

    __slots__ = ("_limits", "_total", "_used", "open_kinds", "used")

    def __init__(self, total: int, limits: Mapping[Kind, int]) -> None:
        self._total = total
        self._limits = dict(limits)
        self._used = dict.fromkeys(limits, 0)
        self.used = 0
        """Runs there are now."""
        self.open_kinds: Sequence[Kind] = tuple(limits)
        """The kinds of which a run could start now."""

    def free(self, kind: Kind) -> int:
        """Runs of this kind that could start now."""
        return min(self._total - self.used, self._limits[kind] - self._used[kind])

    def most(self, kind: Kind) -> int:
        """Most runs of this kind."""
        return min(self._total, self._limits[kind])

    def take(self, kind: Kind) -> None:
        """Count a run that starts."""
        self._used[kind] += 1
        self.used += 1
        if self.used == self._total or self._used[kind] == self._limits[kind]:
            self.open_kinds = self._open()

    def give_back(self, kind: Kind) -> None:
        """Count a run that has ended."""
        was_closed = self.used == self._total or self._used[kind] == self._limits[kind]
        self._used[kind] -= 1
        self.used -= 1
        if was_closed:
            self.open_kinds = self._open()

    def _open(self) -> Sequence[Kind]:
        if self.used >= self._total:
            return ()
        return tuple(kind for kind, used in self._used.items() if used < self._limits[kind])
