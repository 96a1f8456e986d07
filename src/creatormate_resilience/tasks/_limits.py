"""The limits of one executor, checked where they are given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, get_args

from creatormate_resilience.tasks._admission import WhenFull
from creatormate_resilience.tasks._history import HistoryLimits
from creatormate_resilience.tasks._key_limits import KeyLimits, KeyLimitsFor
from creatormate_resilience.tasks._options import Kind, check_count, check_seconds

__all__ = ("DEFAULT_LOOP_LAG", "ExecutorLimits")

DEFAULT_LOOP_LAG: Final = 0.5


@dataclass(frozen=True, slots=True)
class ExecutorLimits:
    """See `TaskExecutor`, whose arguments these are."""

    max_concurrent: int = 32
    max_threads: int = 16
    max_processes: int = field(default_factory=lambda: os.cpu_count() or 1)
    max_queue: int = 1000
    when_full: WhenFull = "raise"
    aging: float = 10.0
    key_limits: KeyLimitsFor = field(default_factory=KeyLimits)
    history: HistoryLimits = field(default_factory=HistoryLimits)

    def __post_init__(self) -> None:
        for parameter in ("max_concurrent", "max_threads", "max_processes", "max_queue"):
            check_count(parameter, getattr(self, parameter))
        if self.when_full not in get_args(WhenFull):
            raise ValueError(f"when_full is {self.when_full!r}; accepted are 'raise', 'wait' and 'drop_lowest'")
        check_seconds("aging", self.aging, zero=False)
        if not isinstance(self.key_limits, KeyLimits) and not callable(self.key_limits):
            raise TypeError(
                f"key_limits is a {type(self.key_limits).__name__}; accepted are KeyLimits, or a function of a key"
            )
        if not isinstance(self.history, HistoryLimits):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"history is a {type(self.history).__name__}; accepted is HistoryLimits, or None")

    @property
    def by_kind(self) -> Mapping[Kind, int]:
        """Most runs at once of each kind."""
        return {"async": self.max_concurrent, "thread": self.max_threads, "process": self.max_processes}
