"""The whole breaker against a model that keeps every call and counts by hand, after every step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from creatormate_resilience.breaker import (
    BreakerState,
    CircuitBreaker,
    CircuitBreakerConfig,
    CountWindow,
    Permit,
    TimeWindow,
)
from creatormate_resilience.exceptions import CircuitOpenError, NotFoundError
from creatormate_resilience.testing import FakeClock

CONFIGS = {
    "count": CircuitBreakerConfig(minimum_calls=4, window=CountWindow(6), recovery_jitter=0.0),
    "time": CircuitBreakerConfig(minimum_calls=3, window=TimeWindow(10.0), half_open_max_calls=1, recovery_jitter=0.0),
    "streak": CircuitBreakerConfig(failure_threshold=3, minimum_calls=100, recovery_jitter=0.0, recovery_backoff=3.0),
    "slow": CircuitBreakerConfig(
        minimum_calls=2, window=CountWindow(5), slow_call_duration=2.0, slow_call_rate_threshold=0.6,
        failure_rate_threshold=0.75, half_open_max_calls=5, half_open_max_concurrent=2,
        half_open_max_wait=7.0, recovery_jitter=0.0,
    ),
    "watch": CircuitBreakerConfig(minimum_calls=3, slow_call_duration=1.0, recovery_jitter=0.0),
}  # fmt: skip


@dataclass
class Call:
    """A call that counted: when it ended, and how."""

    at: float
    failed: bool
    slow: bool


@dataclass
class Probe:
    """A permit and what the model knows of it."""

    permit: Permit
    started: float
    era: int


class BreakerModel(RuleBasedStateMachine):
    """Keeps every call of the era and every probe, and decides anew each time."""

    config: CircuitBreakerConfig
    permits = Bundle("permits")

    @initialize()
    def start(self) -> None:
        """A closed breaker at an odd time."""
        self.clock = FakeClock(1234.5)
        self.breaker = CircuitBreaker("model", self.config, clock=self.clock)
        self.state, self.era, self.until = BreakerState.CLOSED, 0, 0.0
        self.calls: list[Call] = []
        self.probes: list[Probe] = []
        self.passed = self.streak = self.failed_recoveries = 0
        self.settled = self.rejected = self.late = 0
        self.wait = self.config.recovery_timeout

    def begin(self, state: BreakerState) -> None:
        self.state, self.era, self.calls, self.probes = state, self.era + 1, [], []
        self.passed = self.streak = 0

    def open(self) -> None:
        config = self.config
        self.wait = min(
            config.recovery_timeout_max, config.recovery_timeout * config.recovery_backoff**self.failed_recoveries
        )
        self.begin(BreakerState.OPEN)
        self.until = self.clock.monotonic() + self.wait

    def reopen(self) -> None:
        self.failed_recoveries += 1
        self.open()

    @rule(target=permits)
    def acquire(self) -> Any:
        """Ask for a permit; refused exactly when the model says so."""
        now, config = self.clock.monotonic(), self.config
        if self.state is BreakerState.OPEN and now >= self.until:
            self.begin(BreakerState.HALF_OPEN)
        longest = self.wait if config.half_open_max_wait is None else config.half_open_max_wait
        if self.state is BreakerState.HALF_OPEN and any(now - probe.started >= longest for probe in self.probes):
            self.reopen()
        room = len(self.probes) < config.half_open_max_concurrent
        room = room and len(self.probes) + self.passed < config.half_open_max_calls
        admitted = self.state in {BreakerState.CLOSED, BreakerState.DISABLED, BreakerState.METRICS_ONLY}
        if admitted or (self.state is BreakerState.HALF_OPEN and room):
            probe = Probe(self.breaker.acquire(), now, self.era)
            if self.state is BreakerState.HALF_OPEN:
                self.probes.append(probe)
            return probe
        self.rejected += 1
        with pytest.raises(CircuitOpenError) as caught:
            self.breaker.acquire()
        assert caught.value.retry_after is not None
        if self.state is BreakerState.OPEN:
            assert caught.value.retry_after == pytest.approx(self.until - now)
        return Probe(Permit(self.breaker, object(), 0, now), now, -1)  # type: ignore[arg-type]

    def settle(self, probe: Probe, act: Callable[[Permit], None], *, counts: bool, failed: bool) -> None:
        if probe.era == -1:  # was refused: there is nothing to settle
            return
        now, config = self.clock.monotonic(), self.config
        act(probe.permit)
        act(probe.permit)  # a second time is nothing
        self.settled += 1
        if probe.era != self.era:
            self.late += 1
            return
        self.probes = [other for other in self.probes if other is not probe]
        if not counts:
            return
        slow = config.slow_call_duration is not None and now - probe.started >= config.slow_call_duration
        slow_counts = slow and config.slow_call_rate_threshold is not None
        self.calls.append(Call(now, failed, slow))
        self.streak = self.streak + 1 if failed else 0
        if self.state is BreakerState.HALF_OPEN:
            self.passed += 1
            if failed or slow_counts:
                self.reopen()
            elif self.passed == config.half_open_max_calls:
                self.failed_recoveries = 0
                self.begin(BreakerState.CLOSED)
        elif self.state is BreakerState.CLOSED and (failed or slow_counts) and self.must_open():
            self.open()

    def must_open(self) -> bool:
        config, calls = self.config, self.in_window()
        enough = len(calls) >= config.minimum_calls
        if config.failure_threshold is not None and self.streak >= config.failure_threshold:
            return True
        if config.failure_threshold is None and not enough and self.streak >= 5:
            return True
        failures, slow = sum(call.failed for call in calls), sum(call.slow for call in calls)
        slow_limit = math.inf if config.slow_call_rate_threshold is None else config.slow_call_rate_threshold
        return enough and (failures >= config.failure_rate_threshold * len(calls) or slow / len(calls) >= slow_limit)

    def in_window(self) -> list[Call]:
        window = self.config.window
        if isinstance(window, CountWindow):
            return self.calls[-window.size :]
        length = window.seconds / 10
        oldest = self.clock.monotonic() // length - 9
        return [call for call in self.calls if call.at // length >= oldest]

    @rule(probe=consumes(permits))
    def succeed(self, probe: Probe) -> None:
        """The call returned."""
        closed = self.breaker.state is BreakerState.CLOSED
        fast = self.config.slow_call_rate_threshold is None
        self.settle(probe, lambda permit: permit.success(1), counts=True, failed=False)
        assert not (closed and fast) or self.breaker.state is BreakerState.CLOSED

    @rule(probe=consumes(permits))
    def fail(self, probe: Probe) -> None:
        """The dependency failed."""
        self.settle(probe, lambda permit: permit.failure(TimeoutError()), counts=True, failed=True)

    @rule(probe=consumes(permits))
    def fail_by_the_callers_fault(self, probe: Probe) -> None:
        """Counts as nothing, and gives a probe's place back."""
        self.settle(probe, lambda permit: permit.failure(NotFoundError()), counts=False, failed=False)

    @rule(probe=consumes(permits))
    def release(self, probe: Probe) -> None:
        """The call was not made."""
        self.settle(probe, lambda permit: permit.release(), counts=False, failed=False)

    @rule(seconds=st.sampled_from([0.1, 0.9, 1.0, 2.5, 6.0, 9.9, 31.0, 61.0]))
    def wait_a_little(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    @rule(state=st.sampled_from(["force_open", "disable", "metrics_only", "reset", "trip"]), rare=st.integers(0, 5))
    def move_by_hand(self, state: str, rare: int) -> None:
        """An operator acts, now and then."""
        if rare:
            return
        getattr(self.breaker, state)()
        self.failed_recoveries = 0
        if state == "trip":
            self.open()
            return
        self.begin(
            {
                "force_open": BreakerState.FORCED_OPEN,
                "disable": BreakerState.DISABLED,
                "metrics_only": BreakerState.METRICS_ONLY,
                "reset": BreakerState.CLOSED,
            }[state]
        )

    @invariant()
    def agrees(self) -> None:
        """State, window, rates and all counters are the model's."""
        seen, calls = self.breaker.statistics(), self.in_window()
        assert seen.state is self.breaker.state is self.state
        assert (seen.transitions, seen.rejected, seen.late) == (self.era, self.rejected, self.late)
        assert seen.calls == self.settled
        assert seen.window_calls == len(calls)
        assert seen.consecutive_failures == self.streak
        assert seen.failure_rate == pytest.approx(sum(c.failed for c in calls) / len(calls) if calls else 0)
        assert seen.slow_rate == pytest.approx(sum(c.slow for c in calls) / len(calls) if calls else 0)


def _case(name: str) -> type:
    model = type(f"BreakerModel_{name}", (BreakerModel,), {"config": CONFIGS[name]})
    case = model.TestCase
    case.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
    return case


TestCountWindow = _case("count")
TestTimeWindow = _case("time")
TestStreak = _case("streak")
TestSlowCalls = _case("slow")
TestWatchedSlowCalls = _case("watch")
