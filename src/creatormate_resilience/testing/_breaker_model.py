"""The state machine behind `BreakerModel`; needs hypothesis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from creatormate_resilience.breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig, Permit, TimeWindow
from creatormate_resilience.exceptions import CircuitOpenError, ConfigurationError, NotFoundError, map_exception
from creatormate_resilience.testing._clock import FakeClock
from creatormate_resilience.testing._expected import ExpectedBreaker, Probe

__all__ = ("BreakerModel",)

_MOVES = (
    ("disable", BreakerState.DISABLED),
    ("force_open", BreakerState.FORCED_OPEN),
    ("metrics_only", BreakerState.METRICS_ONLY),
    ("reset", BreakerState.CLOSED),
    ("trip", BreakerState.OPEN),
)
_START = 1000 * math.pi  # no slice of a window ends just there, where rounding would decide
_LONGEST_STEP = 1e6
_SHARES = st.sampled_from([0.1, 0.9, 1.0, 1.1])


class BreakerModel(RuleBasedStateMachine):
    """Lets Hypothesis call, fail, wait and operate a breaker in any order, and compares it with a model at every step.

    Subclass it with a configuration of yours, and collect its test case: `TestShop = ShopModel.TestCase`. Rules and
    invariants of your own use `breaker`, `clock` and the bundle `permits`.

    Attributes:
        config: What is checked.
        breaker: The breaker, from when a run begins.
        clock: Its clock; the rule `wait` moves it by the times that `config` names, and a little more or less.
    """

    config: ClassVar[CircuitBreakerConfig] = CircuitBreakerConfig()
    permits: Bundle[Probe] = Bundle("permits")

    def make_breaker(self, clock: FakeClock) -> CircuitBreaker:
        """The breaker to be checked, closed and new; replace it for one of your own make."""
        return CircuitBreaker("model", self.config, clock=clock)

    def make_result(self) -> Any:
        """What a call returns that succeeds; replace it where your `classify` looks at results."""
        return None

    def make_failure(self) -> Exception:
        """What a call raises that fails; replace it where `record`, `ignore` or `classify` want another."""
        return TimeoutError()

    def make_ignored(self) -> Exception | None:
        """What a call raises that counts as nothing; replace it where `classify` wants another, None for nothing."""
        return NotFoundError()

    @initialize()
    def begin(self) -> None:
        """A closed breaker at an odd time."""
        self.clock = FakeClock(_START)
        self._check_samples()
        self.breaker = self.make_breaker(self.clock)
        self._expected = ExpectedBreaker(self.config)
        self._steps = tuple(_times(self.config))
        # With jitter the model knows a wait only as it is told, rounded; so no step ends exactly there.
        self._slack = 1e-6 if self.config.recovery_jitter else 0.0

    @rule(target=permits)
    def acquire(self) -> Probe | MultipleResults[Probe]:
        """Ask for a permit; refused exactly when the model says so."""
        now, expected = self.clock.monotonic(), self._expected
        admitted = expected.admits(now)
        try:
            permit = self.breaker.acquire()
        except CircuitOpenError as refusal:
            self._learn()
            _same("whether a call is admitted", False, admitted)
            expected.rejected += 1
            if expected.until is not None:
                _same("retry_after of the refusal", refusal.retry_after, expected.until - now)
            return cast("MultipleResults[Probe]", multiple())  # none
        _same("whether a call is admitted", True, admitted)
        probe = Probe(permit, now, expected.era)
        expected.admitted(probe)
        return probe

    @rule(probe=consumes(permits))
    def succeed(self, probe: Probe) -> None:
        """The call returned."""
        result = self.make_result()
        self._settle(probe, lambda permit: permit.success(result), failed=False)

    @rule(probe=consumes(permits))
    def fail(self, probe: Probe) -> None:
        """The dependency failed."""
        error = self.make_failure()
        hint = map_exception(error).stated_retry_after
        self._settle(probe, lambda permit: permit.failure(error), failed=True, hint=hint)

    @rule(probe=consumes(permits))
    def fail_and_be_ignored(self, probe: Probe) -> None:
        """A failure that says nothing about the dependency gives a probe's place back."""
        error = self.make_ignored()
        self._settle(probe, lambda permit: permit.release() if error is None else permit.failure(error), failed=None)

    @rule(probe=consumes(permits))
    def release(self, probe: Probe) -> None:
        """The call was not made."""
        self._settle(probe, lambda permit: permit.release(), failed=None)

    @rule(times=st.integers(1, 5))
    def fail_in_a_row(self, times: int) -> None:
        """An outage: several calls fail at once, where they are admitted."""
        for _ in range(times):
            probe = self.acquire()
            if isinstance(probe, Probe):
                self.fail(probe)

    @rule(times=st.integers(1, 5), share=_SHARES)
    def succeed_in_a_row(self, times: int, share: float) -> None:
        """A dependency that works; about as slowly as calls may be, where durations are watched."""
        for _ in range(times):
            probe = self.acquire()
            self.clock.advance((self.config.slow_call_duration or 0.0) * share)
            if isinstance(probe, Probe):
                self.succeed(probe)

    @rule(target=permits, share=_SHARES)
    def hang(self, share: float) -> Probe | MultipleResults[Probe]:
        """A call does not end for about as long as a probe may take; then another one is tried."""
        self.acquire()
        self.clock.advance(min(self._expected.longest_probe(), _LONGEST_STEP) * share + self._slack)
        return self.acquire()

    @rule(step=st.integers(0, 6), share=_SHARES)
    def wait(self, step: int, share: float) -> None:
        """Time passes."""
        self.clock.advance(self._steps[step % len(self._steps)] * share)

    @rule()
    def wait_until_due(self) -> None:
        """An open circuit may be probed from now on."""
        if self._expected.until is not None:
            self.clock.advance(max(0.0, self._expected.until - self.clock.monotonic()) + self._slack)

    @rule(move=st.sampled_from(_MOVES), rare=st.integers(0, 5))
    def move_by_hand(self, move: tuple[str, BreakerState], rare: int) -> None:
        """An operator acts, now and then."""
        if not rare:
            getattr(self.breaker, move[0])()
            self._expected.move(move[1], self.clock.monotonic())
            self._learn()

    @invariant()
    def agrees(self) -> None:
        """State, window, rates and all counters are the model's."""
        seen, expected, now = self.breaker.statistics(), self._expected, self.clock.monotonic()
        _same("state", seen.state, expected.state)
        _same("transitions", seen.transitions, expected.era)
        _same("rejected", seen.rejected, expected.rejected)
        _same("late", seen.late, expected.late)
        _same("calls", seen.calls, expected.settled)
        _same("consecutive_failures", seen.consecutive_failures, expected.streak)
        calls = expected.in_window(now)
        _same("window_calls", seen.window_calls, len(calls))
        _same("failure_rate", seen.failure_rate, sum(call.failed for call in calls) / (len(calls) or 1))
        _same("slow_rate", seen.slow_rate, sum(call.slow for call in calls) / (len(calls) or 1))

    def _settle(
        self, probe: Probe, act: Callable[[Permit], None], *, failed: bool | None, hint: float | None = None
    ) -> None:
        act(probe.permit)
        act(probe.permit)  # a second time is nothing
        self._expected.settle(probe, self.clock.monotonic(), failed=failed, hint=hint)
        self._learn()

    def _learn(self) -> None:
        """Take over how long a circuit stays open that has just opened; with jitter only the breaker knows."""
        seen, expected = self.breaker.statistics(), self._expected
        _same("state", seen.state, expected.state)
        if expected.state is BreakerState.OPEN and expected.until is None:
            at_least, wait = expected.wait, seen.retry_after or 0.0
            if not expected.learn(wait, self.clock.monotonic()):
                raise AssertionError(f"time open: the breaker says {wait}, the model from {at_least} on")

    def _check_samples(self) -> None:
        """A configuration may count other things as failures than the samples; say so, instead of a wrong model."""
        result, failure, ignored = self.make_result(), self.make_failure(), self.make_ignored()
        if self._counted(lambda permit: permit.success(result)) != (1, 0):
            raise ConfigurationError("make_result() gives what `config` does not count as a success; replace it")
        if self._counted(lambda permit: permit.failure(failure)) != (0, 1):
            raise ConfigurationError(f"make_failure() gives {failure!r}, which `config` counts as none; replace it")
        if ignored is not None and self._counted(lambda permit: permit.failure(ignored)) != (0, 0):
            raise ConfigurationError(f"make_ignored() gives {ignored!r}, which `config` counts; replace it")

    def _counted(self, act: Callable[[Permit], None]) -> tuple[int, int]:
        """Successes and failures of a new breaker after one call."""
        breaker = CircuitBreaker("sample", self.config, clock=self.clock)
        act(breaker.acquire())
        seen = breaker.statistics()
        return seen.successes, seen.failures


def _times(config: CircuitBreakerConfig) -> list[float]:
    """The durations at which a breaker of this configuration changes its mind, in seconds."""
    longest = max(config.recovery_timeout, config.recovery_timeout_max) * (1 + config.recovery_jitter)
    times = [1.0, config.recovery_timeout, longest]
    if isinstance(config.window, TimeWindow):
        times += [config.window.seconds, config.window.seconds / 10]
    times += [seconds for seconds in (config.slow_call_duration, config.half_open_max_wait) if seconds is not None]
    return [min(seconds, _LONGEST_STEP) for seconds in times]


def _same(what: str, seen: object, expected: object) -> None:
    close = isinstance(seen, float) and isinstance(expected, float | int) and math.isclose(seen, expected, abs_tol=1e-6)
    if not close and seen != expected:
        raise AssertionError(f"{what}: the breaker says {seen}, the model {expected}")
