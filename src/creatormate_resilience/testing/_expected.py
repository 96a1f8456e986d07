"""A circuit breaker as it should be: keeps every call, and decides anew each time. Pure; time is a parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass

from creatormate_resilience.breaker import BreakerState, CircuitBreakerConfig, CountWindow, Permit

__all__ = ("ExpectedBreaker", "Probe")

_SLICES = 10
_STREAK = 5
_PASSING = frozenset({BreakerState.CLOSED, BreakerState.DISABLED, BreakerState.METRICS_ONLY})


@dataclass(slots=True)
class Call:
    """A call that counted: when it ended, in seconds, and how."""

    at: float
    failed: bool
    slow: bool


@dataclass(slots=True, eq=False)
class Probe:
    """A permit, when it was given, in seconds, and in which era."""

    permit: Permit
    started: float
    era: int


class ExpectedBreaker:
    """What a breaker of this configuration must do.

    Attributes:
        state: Its state.
        era: How many transitions there were.
        wait: Seconds that an open circuit stays so.
        until: When it may be probed, in monotonic seconds; None until `learn` was told.
        streak: Failures in a row.
        settled: Calls that ended.
        rejected: Calls that were refused.
        late: Calls that ended in another era than theirs.
    """

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self.config = config
        self.state = BreakerState.CLOSED
        self.era = self.streak = self.settled = self.rejected = self.late = 0
        self.wait = config.recovery_timeout
        self.until: float | None = None
        self._calls: list[Call] = []
        self._probes: list[Probe] = []
        self._passed = self._failed_recoveries = 0

    def admits(self, now: float) -> bool:
        """May a call be made? Goes half open where it is time."""
        if self.state is BreakerState.OPEN and self.until is not None and now >= self.until:
            self._begin(BreakerState.HALF_OPEN)
        if self.state is BreakerState.HALF_OPEN and any(
            now - each.started >= self.longest_probe() for each in self._probes
        ):
            self._reopen(now)
        return self.state in _PASSING or (self.state is BreakerState.HALF_OPEN and self._has_room())

    def admitted(self, probe: Probe) -> None:
        """A call was let through."""
        if self.state is BreakerState.HALF_OPEN:
            self._probes.append(probe)

    def settle(self, probe: Probe, now: float, *, failed: bool | None, hint: float | None = None) -> None:
        """A call ended.

        Args:
            probe: Its permit.
            now: Monotonic seconds.
            failed: Whether it did; None counts as nothing.
            hint: Seconds after which its failure said to come back.
        """
        config = self.config
        self.settled += 1
        if probe.era != self.era:
            self.late += 1
            return
        self._probes = [other for other in self._probes if other is not probe]
        if failed is None:
            return
        slow = config.slow_call_duration is not None and now - probe.started >= config.slow_call_duration
        self._calls.append(Call(now, failed, slow))
        self.streak = self.streak + 1 if failed else 0
        bad = failed or (slow and config.slow_call_rate_threshold is not None)
        if self.state is BreakerState.HALF_OPEN:
            self._settle_probe(now, bad=bad, hint=hint)
        elif self.state is BreakerState.CLOSED and bad and self._must_open(now):
            self._open(now, hint)

    def move(self, state: BreakerState, now: float) -> None:
        """An operator acted."""
        self._failed_recoveries = 0
        if state is BreakerState.OPEN:
            self._open(now)
        else:
            self._begin(state)

    def learn(self, wait: float, now: float) -> bool:
        """Take over how long the breaker, which has just opened, stays so; say whether its jitter allows that."""
        low, high = self.wait, self.wait * (1 + self.config.recovery_jitter)
        self.wait, self.until = wait, now + wait
        return low * (1 - 1e-9) <= wait <= high * (1 + 1e-9)

    def in_window(self, now: float) -> list[Call]:
        """The calls that rates are made of."""
        window = self.config.window
        if isinstance(window, CountWindow):
            return self._calls[-window.size :]
        length = window.seconds / _SLICES
        oldest = math.floor(now / length) - _SLICES
        return [call for call in self._calls if math.floor(call.at / length) > oldest]

    def _must_open(self, now: float) -> bool:
        config, calls = self.config, self.in_window(now)
        if config.failure_threshold is not None and self.streak >= config.failure_threshold:
            return True
        if len(calls) < config.minimum_calls:
            return config.failure_threshold is None and self.streak >= _STREAK
        slow_limit = math.inf if config.slow_call_rate_threshold is None else config.slow_call_rate_threshold
        failed, slow = sum(call.failed for call in calls), sum(call.slow for call in calls)
        return failed / len(calls) >= config.failure_rate_threshold or slow / len(calls) >= slow_limit

    def _settle_probe(self, now: float, *, bad: bool, hint: float | None) -> None:
        self._passed += 1
        if bad:
            self._reopen(now, hint)
        elif self._passed == self.config.half_open_max_calls:
            self._failed_recoveries = 0
            self._begin(BreakerState.CLOSED)

    def longest_probe(self) -> float:
        """Seconds after which a probe without an outcome fails the recovery."""
        config = self.config
        if config.half_open_max_wait is not None:
            return config.half_open_max_wait
        return self.wait if config.timeout is None else max(self.wait, config.timeout + 1)

    def _has_room(self) -> bool:
        config, under_way = self.config, len(self._probes)
        return under_way < min(config.half_open_max_concurrent, config.half_open_max_calls - self._passed)

    def _begin(self, state: BreakerState) -> None:
        self.state, self.era, self.until = state, self.era + 1, None
        self._calls, self._probes = [], []
        self._passed = self.streak = 0

    def _reopen(self, now: float, hint: float | None = None) -> None:
        self._failed_recoveries += 1
        self._open(now, hint)

    def _open(self, now: float, hint: float | None = None) -> None:
        config = self.config
        longest = max(config.recovery_timeout_max, config.recovery_timeout)
        self._begin(BreakerState.OPEN)
        if hint is not None:  # it is obeyed without jitter
            self.wait = min(max(hint, config.recovery_timeout), longest)
            self.until = now + self.wait
            return
        self.wait = min(longest, config.recovery_timeout * config.recovery_backoff ** min(self._failed_recoveries, 64))
        if not config.recovery_jitter:
            self.until = now + self.wait
