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

    __slots__ = ("_below", "_limits", "_total", "_used", "open_kinds", "used")

    def __init__(self, total: int, limits: Mapping[Kind, int]) -> None:
        self._total = total
        self._limits = {kind: min(limit, total) for kind, limit in limits.items()}
        self._used = dict.fromkeys(limits, 0)
        self._below: tuple[Kind, ...] = tuple(limits)
        self.used = 0
        """Runs there are now."""
        self.open_kinds: Sequence[Kind] = self._below
        """The kinds of which a run could start now."""

    def free(self, kind: Kind) -> int:
        """Runs of this kind that could start now."""
        return min(self._total - self.used, self._limits[kind] - self._used[kind])

    def most(self, kind: Kind) -> int:
        """Most runs of this kind."""
        return self._limits[kind]

    def take(self, kind: Kind) -> None:
        """Count a run that starts."""
        self.used += 1
        self._used[kind] += 1
        if self._used[kind] == self._limits[kind] < self._total:
            self._below = tuple(other for other in self._below if other != kind)
            self.open_kinds = self._below
        if self.used == self._total:
            self.open_kinds = ()

    def give_back(self, kind: Kind) -> None:
        """Count a run that has ended."""
        if self._used[kind] == self._limits[kind] < self._total:
            self._below = (*self._below, kind)
        self.used -= 1
        self._used[kind] -= 1
        self.open_kinds = self._below
