"""The limits of one executor, checked where they are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from creatormate_resilience.tasks._history import HistoryLimits
from creatormate_resilience.tasks._kinds import Kind
from creatormate_resilience.tasks._options import check_count, check_seconds

__all__ = ("ExecutorLimits",)


@dataclass(frozen=True, slots=True)
class ExecutorLimits:
    """See `TaskExecutor`, whose arguments these are."""

    max_concurrent: int
    max_threads: int
    max_processes: int
    max_queue: int
    aging: float
    history: HistoryLimits = field(default_factory=HistoryLimits)

    def __post_init__(self) -> None:
        for parameter in ("max_concurrent", "max_threads", "max_processes", "max_queue"):
            check_count(parameter, getattr(self, parameter))
        check_seconds("aging", self.aging, zero=False)

    @property
    def by_kind(self) -> Mapping[Kind, int]:
        """Most runs at once of each kind."""
        return {"async": self.max_concurrent, "thread": self.max_threads, "process": self.max_processes}
