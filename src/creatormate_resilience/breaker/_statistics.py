"""One consistent picture of a circuit breaker."""

from __future__ import annotations

from dataclasses import dataclass

from creatormate_resilience.breaker._machine import BreakerState
from creatormate_resilience.counter import make_counter
from creatormate_resilience.exceptions._chain import printed
from creatormate_resilience.latencies import LatencyQuantiles
from creatormate_resilience.outcome import OutcomeKind
from creatormate_resilience.redaction import redact_text

__all__ = ("BreakerStatistics", "LastFailure", "Totals")


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
        late: Outcomes that arrived after the state had changed; they moved nothing and are counted nowhere else.
        window_calls: Calls in the window now.
        failure_rate: Share of failures in the window, 0 to 1.
        slow_rate: Share of slow calls in the window, 0 to 1.
        consecutive_failures: Failures in a row.
        transitions: Changes of state since the breaker was made.
        last_failure: What failed last, redacted.
        latency: How long calls took; None where `slow_call_duration` asks nobody to watch.
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
    latency: LatencyQuantiles | None

    @property
    def calls(self) -> int:
        """Calls that were let through and have ended."""
        return self.successes + self.failures + self.ignored + self.throttled + self.late


class LastFailure:
    """What failed last, as text that is redacted when somebody reads it; the exception itself is not kept."""

    __slots__ = ("_kind", "_text", "_told")

    def __init__(self, kind: str | None, text: str) -> None:
        self._kind = kind
        self._text = text
        self._told: str | None = None

    @classmethod
    def of(cls, exception: BaseException | None) -> LastFailure:
        """Of an exception, or of a result that counts as a failure."""
        if exception is None:
            return cls(None, "a result that counts as a failure")
        return cls(type(exception).__name__, printed(exception)[:1024])

    @property
    def text(self) -> str:
        """The type's name and a short redacted message."""
        if self._told is None:
            self._told = self._text if self._kind is None else f"{self._kind}: {redact_text(self._text, 200)}"
        return self._told


class Totals:
    """Running numbers of one breaker; guarded by its lock, but for the rejected."""

    __slots__ = ("ignored", "last_failure", "rejected", "slow", "throttled")

    def __init__(self) -> None:
        self.ignored = self.throttled = self.slow = 0
        self.rejected = make_counter()
        self.last_failure: LastFailure | None = None

    def count(self, kind: OutcomeKind, failure: LastFailure | None, *, slow: bool) -> None:
        """Add what no era counts."""
        self.ignored += kind is OutcomeKind.IGNORED
        self.throttled += kind is OutcomeKind.THROTTLED
        self.slow += slow
        if failure is not None:
            self.last_failure = failure
