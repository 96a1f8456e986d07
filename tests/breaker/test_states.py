"""The states one by one, in fake time: when it opens, how it recovers, what operators can do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creatormate_resilience.breaker import (
    BreakerState,
    BreakerStateChanged,
    CallRejected,
    CircuitBreaker,
    CircuitBreakerConfig,
    CountWindow,
    TimeWindow,
)
from creatormate_resilience.breaker._machine import Machine
from creatormate_resilience.exceptions import CircuitOpenError, ExternalAPIRateLimitedError
from creatormate_resilience.testing import FakeClock

QUICK = CircuitBreakerConfig(failure_threshold=3, recovery_timeout=10.0, recovery_jitter=0.0)


def make(config: CircuitBreakerConfig = QUICK, **options: object) -> tuple[CircuitBreaker, FakeClock]:
    """A breaker and its clock."""
    clock = FakeClock()
    return CircuitBreaker("openai", config, clock=clock, **options), clock  # type: ignore[arg-type]


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    """So many failing calls."""
    for _ in range(times):
        breaker.acquire().failure(TimeoutError("slow"))


def succeed(breaker: CircuitBreaker, times: int = 1) -> None:
    """So many good calls."""
    for _ in range(times):
        breaker.acquire().success()


def refused(breaker: CircuitBreaker) -> CircuitOpenError:
    """The refusal of the next call."""
    with pytest.raises(CircuitOpenError) as caught:
        breaker.acquire()
    return caught.value


def test_failures_in_a_row_open_it():
    """A given threshold is literal; a success in between starts again."""
    breaker, _ = make()
    fail(breaker, 2)
    succeed(breaker)
    fail(breaker, 2)
    assert breaker.state is BreakerState.CLOSED
    fail(breaker)
    assert breaker.state is BreakerState.OPEN
    error = refused(breaker)
    assert (error.breaker, error.retry_after) == ("openai", 10.0)
    assert error.last_failure == "TimeoutError: slow"


def test_by_default_chance_does_not_open_it():
    """A service failing one call in ten stays usable, also when it fails five times in a row in a full window."""
    breaker, _ = make(CircuitBreakerConfig())
    for _ in range(20):
        succeed(breaker, 9)
        fail(breaker)
    succeed(breaker, 20)
    fail(breaker, 5)
    assert breaker.state is BreakerState.CLOSED


def test_by_default_five_in_a_row_open_an_almost_idle_one():
    """Where rates say nothing yet, a streak does."""
    breaker, _ = make(CircuitBreakerConfig())
    fail(breaker, 5)
    assert breaker.state is BreakerState.OPEN


def test_by_default_four_failures_out_of_five_open_it():
    """A success now and then does not hide a dependency that is mostly down."""
    breaker, _ = make(CircuitBreakerConfig())
    calls = 0
    while breaker.state is BreakerState.CLOSED:
        calls += 1
        succeed(breaker) if calls % 5 == 0 else fail(breaker)
        assert calls < 400
    assert calls <= 21


def test_the_rate_counts_at_the_threshold_exactly():
    """Half of the calls is half, and one failure fewer is not."""
    config = CircuitBreakerConfig(minimum_calls=10, window=CountWindow(10))
    breaker, _ = make(config)
    succeed(breaker, 6)
    fail(breaker, 4)
    assert breaker.state is BreakerState.CLOSED
    fail(breaker)  # the window is now five good, five bad
    assert breaker.state is BreakerState.OPEN


def test_slow_calls_open_it_when_asked_to():
    """A slow success is a warning like a failure."""
    config = CircuitBreakerConfig(
        minimum_calls=4, window=CountWindow(4), slow_call_duration=2.0, slow_call_rate_threshold=0.5
    )
    breaker, clock = make(config)
    succeed(breaker, 2)
    for state in (BreakerState.CLOSED, BreakerState.OPEN):
        permit = breaker.acquire()
        clock.advance(2.0)
        permit.success()
        assert breaker.state is state
    assert breaker.statistics().slow == 2


def test_a_success_opens_nothing_where_slow_calls_are_only_watched():
    """Durations without a threshold are for the statistics; a good call stays a good call."""
    breaker, clock = make(CircuitBreakerConfig(minimum_calls=3, window=CountWindow(10), slow_call_duration=1.0))
    fail(breaker, 2)
    permit = breaker.acquire()
    clock.advance(5)
    permit.success()
    assert breaker.state is BreakerState.CLOSED


def test_a_time_window_forgets():
    """Failures of an hour ago are history."""
    breaker, clock = make(CircuitBreakerConfig(minimum_calls=4, window=TimeWindow(60.0)))
    fail(breaker, 3)
    clock.advance(3600)
    fail(breaker)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.statistics().window_calls == 1


def test_it_stays_open_for_its_time_and_not_longer():
    """Nothing that arrives late extends it, and no timer is needed to end it."""
    breaker, clock = make()
    late = [breaker.acquire() for _ in range(3)]
    fail(breaker, 3)
    clock.advance(9.999)
    for permit in late:
        permit.failure(TimeoutError())
    assert refused(breaker).retry_after == pytest.approx(0.001)
    clock.advance(0.001)
    assert breaker.state is BreakerState.OPEN
    breaker.acquire()
    assert breaker.state is BreakerState.HALF_OPEN


def test_probes_that_pass_close_it():
    """As many as configured, and the window begins anew."""
    breaker, clock = make()
    fail(breaker, 3)
    clock.advance(10)
    succeed(breaker, 2)
    assert breaker.state is BreakerState.HALF_OPEN
    succeed(breaker)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.statistics().window_calls == 0


def test_one_probe_that_fails_opens_it_again_for_longer():
    """Closing has become impossible, so nobody waits for the others; each failed recovery doubles the wait."""
    breaker, clock = make()
    fail(breaker, 3)
    waits = []
    for _ in range(5):
        clock.advance(refused(breaker).retry_after or 0)
        other = breaker.acquire()
        fail(breaker)
        other.success()
        assert breaker.state is BreakerState.OPEN
        waits.append(refused(breaker).retry_after)
    assert waits == [20.0, 40.0, 60.0, 60.0, 60.0]
    clock.advance(60)
    succeed(breaker, 3)
    fail(breaker, 3)
    assert refused(breaker).retry_after == 10.0


def test_a_slow_probe_fails_only_where_slow_calls_count():
    """Watching durations is not judging by them."""
    for threshold, state in ((None, BreakerState.CLOSED), (0.5, BreakerState.OPEN)):
        config = CircuitBreakerConfig(
            failure_threshold=1, slow_call_duration=2.0, slow_call_rate_threshold=threshold, half_open_max_calls=1
        )
        breaker, clock = make(config)
        fail(breaker)
        clock.advance(60)
        probe = breaker.acquire()
        clock.advance(5)
        probe.success()
        assert breaker.state is state


def test_a_throttled_probe_is_neither_good_nor_bad():
    """429 says: alive, not now. The place is given back."""
    breaker, clock = make()
    fail(breaker, 3)
    clock.advance(10)
    for _ in range(10):
        breaker.acquire().failure(ExternalAPIRateLimitedError("OpenAI"))
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.statistics().throttled == 10
    succeed(breaker, 3)
    assert breaker.state is BreakerState.CLOSED


def test_jitter_only_lengthens():
    """Instances return at different times, none before its time."""
    waits = set()
    for _ in range(50):
        breaker, _ = make(CircuitBreakerConfig(failure_threshold=1, recovery_timeout=10.0, recovery_jitter=0.5))
        fail(breaker)
        waits.add(refused(breaker).retry_after)
    assert len(waits) > 40
    assert all(10.0 <= wait <= 15.0 for wait in waits)


@given(st.floats(1e-3, 1e9), st.floats(1.0, 100.0), st.floats(1e-3, 1e9), st.floats(0.0, 1.0), st.integers(1, 200))
def test_the_wait_stays_within_its_bounds(timeout, backoff, longest, jitter, rounds):
    """However often a recovery failed: it is finite, grows to the maximum, and is jittered upward only."""
    config = CircuitBreakerConfig(
        failure_threshold=1, recovery_timeout=timeout, recovery_backoff=backoff, recovery_timeout_max=longest,
        recovery_jitter=jitter,
    )  # fmt: skip
    machine = Machine(config, initial=BreakerState.HALF_OPEN, now=0.0, jitter=lambda: 1.0)
    most = max(timeout, longest)
    before = 0.0
    for _ in range(rounds):
        machine._reopen(0.0)
        assert timeout <= machine.wait <= most * (1 + jitter) * 1.0001
        assert machine.wait >= before
        before = machine.wait


def test_states_set_by_hand():
    """FORCED_OPEN refuses, DISABLED and METRICS_ONLY pass everything and count, reset forgets."""
    breaker, clock = make()
    breaker.force_open()
    clock.advance(1e6)
    assert (refused(breaker).retry_after, breaker.state) == (10.0, BreakerState.FORCED_OPEN)
    for act in (breaker.disable, breaker.metrics_only):
        act()
        fail(breaker, 30)
        assert breaker.statistics().failure_rate == 1.0
        succeed(breaker)
    breaker.reset()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.statistics().window_calls == 0
    assert breaker.statistics().failures == 60


def test_tripping_by_hand():
    """Open now, for the configured time or a given one; then it recovers as always."""
    breaker, clock = make()
    breaker.trip()
    assert refused(breaker).retry_after == 10.0
    breaker.trip(retry_after=3.0)
    assert refused(breaker).retry_after == 3.0
    clock.advance(3.0)
    succeed(breaker, 3)
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("state", list(BreakerState))
def test_every_initial_state_has_a_way_on(state):
    """A breaker that starts open recovers like one that was tripped; none is stuck by how it began."""
    breaker, clock = make(initial_state=state)
    assert breaker.state is state
    clock.advance(10)
    if state is BreakerState.FORCED_OPEN:
        refused(breaker)
        breaker.reset()
    succeed(breaker, 3)
    assert breaker.state in {BreakerState.CLOSED, BreakerState.DISABLED, BreakerState.METRICS_ONLY}


def test_events_tell_the_whole_story_in_order():
    """Each transition once, numbered; each refusal with its wait."""
    seen: list[object] = []
    breaker, clock = make(listeners=[seen.append])
    fail(breaker, 3)
    refused(breaker)
    clock.advance(10)
    succeed(breaker, 3)
    states = [(event.old, event.new, event.number) for event in seen if isinstance(event, BreakerStateChanged)]
    assert states == [
        (BreakerState.CLOSED, BreakerState.OPEN, 1),
        (BreakerState.OPEN, BreakerState.HALF_OPEN, 2),
        (BreakerState.HALF_OPEN, BreakerState.CLOSED, 3),
    ]
    assert [event for event in seen if isinstance(event, CallRejected)] == [CallRejected("openai", 10.0)]


def test_the_repr_tells_an_operator_the_state():
    """Name, state, rate and, when open, the wait; never a secret."""
    breaker, _ = make()
    assert repr(breaker) == "<CircuitBreaker 'openai' closed: 0% of 0 failed>"
    for _ in range(3):
        breaker.acquire().failure(ConnectionError("redis://:hunter2@h/0"))
    assert repr(breaker) == "<CircuitBreaker 'openai' open: 0% of 0 failed, retry after 10 s>"
    assert "hunter2" not in str(breaker.statistics())
