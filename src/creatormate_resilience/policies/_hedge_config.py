"""What a hedge is set up with, checked when it is made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

from creatormate_resilience.clock import Clock
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.options import check_number, check_text, check_whole, clock_of, listeners_of
from creatormate_resilience.policies._budget import RetryBudget

__all__ = ("HedgeConfig", "HedgeOptions")


class HedgeOptions(TypedDict, total=False):
    """The fields of `HedgeConfig` as keywords of `Hedge`, beside its parameter."""

    percentile: float | None
    max_hedges: int
    budget: RetryBudget | None
    name: str
    clock: Clock | None
    listeners: Iterable[Listener]


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeConfig:
    """What a `Hedge` is set up with: `delay`, `percentile`, or both.

    Attributes:
        delay: Seconds without an answer after which another attempt starts, and the next after as many again.
        percentile: Share of recent calls, above 0 and below 1, that are answered sooner than another attempt starts:
            with 0.95 about one call in twenty is hedged. Until twenty calls are known, `delay` counts, and without one
            there is no hedging.
        max_hedges: Attempts beside the first, 1 to 10.
        budget: Bounds further attempts to a share of the traffic; share it with the retries of the same dependency.
        name: In events.
        clock: Where waiting is done and durations come from.
        listeners: Told of `HedgeStarted` and `RetryBudgetExhausted`.

    Raises:
        ConfigurationError: A value is not accepted.
    """

    delay: float | None = None
    percentile: float | None = None
    max_hedges: int = 1
    budget: RetryBudget | None = None
    name: str = "hedge"
    clock: Clock | None = None
    listeners: Iterable[Listener] = ()

    def __post_init__(self) -> None:
        if self.delay is None and self.percentile is None:
            raise ConfigurationError("delay and percentile are both left out; give one of them, or both")
        if self.delay is not None:
            check_number("delay", self.delay, "seconds", above_zero=False)
        if self.percentile is not None:
            check_number("percentile", self.percentile, "shares")
            if self.percentile >= 1:
                raise ConfigurationError(
                    f"percentile is {self.percentile!r}; accepted is a share above 0 and below 1, such as 0.95"
                )
        check_whole("max_hedges", self.max_hedges, 1, 10)
        if self.budget is not None and not isinstance(self.budget, RetryBudget):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"budget is {self.budget!r}; accepted is a RetryBudget, or None")
        check_text("name", self.name)
        clock_of(self.clock)
        object.__setattr__(self, "listeners", listeners_of(self.listeners))
