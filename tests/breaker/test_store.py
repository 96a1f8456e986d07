"""Breakers that share verdicts: what one decides, the others of its name follow."""

from __future__ import annotations

import gc
import threading

import pytest

from creatormate_resilience.breaker import (
    BreakerState,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    InProcessStore,
    Verdict,
)
from creatormate_resilience.exceptions import CircuitOpenError
from creatormate_resilience.testing import FakeClock

CONFIG = CircuitBreakerConfig(
    failure_threshold=2, recovery_timeout=10.0, recovery_jitter=0.0, half_open_max_calls=1, half_open_max_concurrent=1
)


@pytest.fixture
def clock():
    """Time that passes when it is told to."""
    return FakeClock()


@pytest.fixture
def store(clock):
    """What they share."""
    return InProcessStore(clock)


@pytest.fixture
def make(clock, store):
    """Makes a breaker that shares."""

    def make(name: str = "upstream", **options):
        return CircuitBreaker(name, CONFIG, clock=clock, store=store, **options)

    return make


def fail(breaker: CircuitBreaker, times: int = 2) -> None:
    for _ in range(times):
        breaker.acquire().failure(TimeoutError())


def test_the_others_open_too(make, clock):
    """For what is left of the wait; each then probes for itself."""
    first, second, stranger = make(), make(), make("another")
    fail(first)
    assert [breaker.state for breaker in (first, second, stranger)] == ["open", "open", "closed"]
    clock.advance(4.0)
    with pytest.raises(CircuitOpenError) as refused:
        second.acquire()
    assert refused.value.retry_after == pytest.approx(6.0)
    clock.advance(6.0)
    second.acquire()
    assert (first.state, second.state) == (BreakerState.OPEN, BreakerState.HALF_OPEN)


def test_a_probe_that_passes_closes_all(make, clock):
    """One has found out for everybody."""
    first, second = make(), make()
    fail(first)
    clock.advance(10.0)
    second.acquire().success()
    assert (first.state, second.state) == (BreakerState.CLOSED, BreakerState.CLOSED)


def test_a_probe_that_fails_opens_all_for_longer(make, clock):
    """The others wait as long as the one that tried."""
    first, second = make(), make()
    fail(first)
    clock.advance(10.0)
    first.acquire().failure(TimeoutError())
    assert first.statistics().retry_after == second.statistics().retry_after == 20.0
    with pytest.raises(CircuitOpenError):
        second.acquire()


def test_one_that_comes_later_learns_what_was_decided(make, clock):
    """A second registry, or a worker that starts during an outage."""
    fail(make())
    clock.advance(3.0)
    late = make()
    assert late.statistics().retry_after == pytest.approx(7.0)
    clock.advance(7.0)
    assert make().state is BreakerState.CLOSED


@pytest.mark.parametrize("state", [BreakerState.DISABLED, BreakerState.METRICS_ONLY, BreakerState.FORCED_OPEN])
def test_what_was_set_by_hand_stays(make, state):
    """An operator knows better than another breaker."""
    by_hand = make(initial_state=state)
    fail(make())
    assert by_hand.state is state
    by_hand.adopt(Verdict("upstream", BreakerState.CLOSED))
    assert by_hand.state is state


def test_what_is_set_by_hand_is_not_shared(make):
    """It is this one's."""
    first, second = make(), make()
    first.trip()
    first.force_open()
    assert second.state is BreakerState.CLOSED


def test_a_late_outcome_of_before_the_verdict_moves_nothing(make, clock):
    """A call that was under way when another breaker opened the circuit."""
    first, second = make(), make()
    under_way = second.acquire()
    fail(first)
    under_way.success()
    assert second.state is BreakerState.OPEN
    assert second.statistics().late == 1


def test_listeners_hear_of_followed_verdicts(make):
    """As of their own."""
    told = []
    follower = make(listeners=[told.append])
    fail(make())
    assert follower.state is BreakerState.OPEN
    assert [(event.old, event.new) for event in told] == [("closed", "open")]


def test_a_store_keeps_nobody_alive(make, store):
    """A breaker that nobody needs any more goes."""
    breaker = make()
    fail(breaker)
    del breaker
    gc.collect()
    assert len(store._subscribers["upstream"]) == 0
    assert repr(store) == "<InProcessStore of 1 names, 1 with an open circuit>"


def test_registries_share_by_name(clock, store):
    """Keyed breakers share by their key too."""
    one, two = (CircuitBreakerRegistry(default=CONFIG, clock=clock, store=store) for _ in range(2))
    ours, theirs, others = one.get("api", key="a"), two.get("api", key="a"), two.get("api", key="b")
    fail(ours)
    assert (theirs.state, others.state) == (BreakerState.OPEN, BreakerState.CLOSED)


def test_breakers_that_open_each_other_do_not_lock_each_other(make):
    """Verdicts are told outside of all locks."""
    breakers = [make() for _ in range(4)]
    start = threading.Barrier(4)

    def work(breaker: CircuitBreaker) -> None:
        start.wait()
        for _ in range(300):
            try:
                breaker.acquire().failure(TimeoutError())
            except CircuitOpenError:
                breaker.reset()

    threads = [threading.Thread(target=work, args=(breaker,)) for breaker in breakers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
