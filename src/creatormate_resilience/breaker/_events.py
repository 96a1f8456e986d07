"""What a circuit breaker tells its listeners."""

from __future__ import annotations

from dataclasses import dataclass

from creatormate_resilience.breaker._machine import BreakerState
from creatormate_resilience.events import Event

__all__ = ("BreakerStateChanged", "CallRejected")


@dataclass(frozen=True, slots=True)
class BreakerStateChanged(Event):
    """A circuit changed its state.

    Attributes:
        old: The state before.
        new: The state since.
        number: Counts the transitions of this breaker from 1, so that a listener can check their order.
        last_failure: What failed last, redacted.
    """

    old: BreakerState
    new: BreakerState
    number: int
    last_failure: str | None


@dataclass(frozen=True, slots=True)
class CallRejected(Event):
    """A call was not let through.

    Attributes:
        retry_after: Seconds until it may be tried again.
    """

    retry_after: float
