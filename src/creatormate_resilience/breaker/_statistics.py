"""One consistent picture of a circuit breaker."""

from __future__ import annotations

from dataclasses import dataclass, field

from creatormate_resilience.breaker._machine import BreakerState
from creatormate_resilience.outcome import OutcomeKind

__all__ = ("BreakerStatistics",)


@dataclass(frozen=True, slots=True)
class BreakerStatistics:
    """A snapshot.

    Attributes:
        name: Name of the breaker.
        state: Its state.
        time_in_state: Seconds since it got there.
        retry_after: Seconds until a refused call may be tried again; None while calls pass.
        successes: Calls that succeeded, since the breaker was made; so are the next five.
        failures: Calls that failed.
        ignored: Calls that count as nothing: cancelled, ignored exceptions, our own refusals.
        throttled: Calls that the dependency put off.
        slow: Calls that were slow.
        rejected: Calls that were not let through.
        late: Outcomes that arrived after the state had changed and moved nothing.
        window_calls: Calls in the window now.
        failure_rate: Share of failures in the window, 0 to 1.
        slow_rate: Share of slow calls in the window, 0 to 1.
        consecutive_failures: Failures in a row.
        transitions: Changes of state since the breaker was made.
        last_failure: What failed last, redacted.
    """

    name: str
    state: BreakerState
    time_in_state: float
    retry_after: float | None
    successes: int
    failures: int
    ignored: int
    throttled: int
    slow: int
    rejected: int
    late: int
    window_calls: int
    failure_rate: float
    slow_rate: float
    consecutive_failures: int
    transitions: int
    last_failure: str | None

    @property
    def calls(self) -> int:
        """Calls that were let through and have ended."""
        return self.successes + self.failures + self.ignored + self.throttled


@dataclass(slots=True)
class Totals:
    """Running numbers of one breaker; guarded by its lock."""

    kinds: dict[OutcomeKind, int] = field(default_factory=lambda: dict.fromkeys(OutcomeKind, 0))
    slow: int = 0
    rejected: int = 0
    late: int = 0
    last_failure: str | None = None
