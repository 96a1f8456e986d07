"""`disabled`: breakers out of the way, and back as they were."""

from __future__ import annotations

import threading

import pytest

from creatormate_resilience.breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig, CircuitBreakerRegistry
from creatormate_resilience.exceptions import CircuitOpenError
from creatormate_resilience.testing import FakeClock, Recorder, assert_transitions, disabled, flaky

CONFIG = CircuitBreakerConfig(failure_threshold=1, half_open_max_calls=2, recovery_timeout=30, recovery_jitter=0)


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ConnectionError):
            breaker.call(flaky(ConnectionError))


def test_a_breaker_lets_everything_through_and_is_closed_again():
    """However much fails, in the block nothing is refused."""
    breaker = CircuitBreaker("shop", CONFIG)
    with disabled(breaker):
        assert breaker.state is BreakerState.DISABLED
        fail(breaker, 10)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.statistics().window_calls == 0


@pytest.mark.parametrize(
    ("move", "state"),
    [
        ("reset", BreakerState.CLOSED),
        ("trip", BreakerState.OPEN),
        ("force_open", BreakerState.FORCED_OPEN),
        ("metrics_only", BreakerState.METRICS_ONLY),
        ("disable", BreakerState.DISABLED),
    ],
)
def test_the_state_is_restored_whatever_happened_in_the_block(move, state):
    """Also where the block moved the breaker by hand, and where it raised."""
    breaker = CircuitBreaker("shop", CONFIG, clock=FakeClock())
    getattr(breaker, move)()
    with pytest.raises(KeyError), disabled(breaker):
        fail(breaker)
        breaker.force_open()
        raise KeyError
    assert breaker.state is state


def test_an_open_circuit_has_as_much_time_left_as_before():
    """What was left when the block began, not a new full time."""
    clock = FakeClock()
    breaker = CircuitBreaker("shop", CONFIG, clock=clock)
    fail(breaker)
    clock.advance(20)
    with disabled(breaker):
        breaker.call(flaky("through"))
        clock.advance(1000)
    assert breaker.statistics().retry_after == pytest.approx(10)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()


@pytest.mark.parametrize("probing", [True, False], ids=["half open", "open and due"])
def test_a_circuit_that_would_probe_probes_next(probing):
    """Half open comes back as open and due: the next call is a probe, and all probes are asked for anew."""
    clock = FakeClock(1e6)
    breaker = CircuitBreaker("shop", CONFIG, clock=clock)
    fail(breaker)
    clock.advance(30)
    if probing:
        breaker.call(flaky("first of two probes"))
        assert breaker.state is BreakerState.HALF_OPEN
    with disabled(breaker):
        breaker.call(flaky("through"))
    assert breaker.state is BreakerState.OPEN
    clock.advance(0.001)
    breaker.call(flaky("probe"))
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.call(flaky("probe"))
    assert breaker.state is BreakerState.CLOSED


def test_a_registry_is_off_as_a_whole():
    """Breakers that were there, keyed ones, and those made in the block, each back in its own state."""
    registry = CircuitBreakerRegistry(default=CONFIG)
    shop = registry.get("shop")
    shop.force_open()
    with disabled(registry):
        bank, keyed = registry.get("bank"), registry.get("bank", key="eu")
        for breaker in (shop, bank, keyed):
            fail(breaker, 3)
        assert {breaker.state for breaker in registry} == {BreakerState.DISABLED}
    assert registry.get("bank") is bank
    states = [breaker.state for breaker in (shop, bank, keyed, registry.get("new"))]
    assert states == [BreakerState.FORCED_OPEN, *[BreakerState.CLOSED] * 3]


def test_a_registry_is_itself_again_afterwards():
    """Nothing is left on it, after nested blocks and after an error."""
    registry = CircuitBreakerRegistry()
    before = dict(vars(registry))
    with pytest.raises(KeyError), disabled(registry):
        with disabled(registry):
            inner = registry.get("inner")
        assert inner.state is BreakerState.DISABLED  # as it was when the inner block began to know it
        assert registry.get("outer").state is BreakerState.DISABLED
        raise KeyError
    assert vars(registry) == before


def test_what_was_kept_of_the_block_switches_nothing_off_later():
    """Code under test may hold on to the registry's `get` that it saw in the block."""
    registry = CircuitBreakerRegistry()
    with disabled(registry):
        kept = registry.get
    assert kept("late").state is BreakerState.CLOSED


def test_a_breaker_in_nested_blocks_comes_back_once():
    """The inner block finds it disabled and leaves it so."""
    recorder = Recorder()
    breaker = CircuitBreaker("shop", CONFIG, listeners=[recorder])
    with disabled(breaker, breaker):
        with disabled(breaker):
            fail(breaker)
        assert breaker.state is BreakerState.DISABLED
        fail(breaker)
    assert breaker.state is BreakerState.CLOSED
    assert_transitions(recorder, ["disabled", "closed"])


def test_it_holds_for_other_threads():
    """A server under test answers in threads of its own."""
    registry = CircuitBreakerRegistry(default=CONFIG)
    with disabled(registry):
        threads = [threading.Thread(target=lambda: fail(registry.get("shop"), 5)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seen = registry.get("shop").statistics()
    assert (seen.failures, seen.rejected) == (40, 0)


def test_anything_else_is_refused_before_anything_is_switched_off():
    """Nothing at all is a mistake too: a registry's empty iteration would else look like success."""
    breaker = CircuitBreaker("shop")
    with pytest.raises(TypeError, match="target is 'shop'"), disabled(breaker, "shop"):  # type: ignore[arg-type]
        pytest.fail("entered")
    with pytest.raises(TypeError, match="has no target"), disabled():
        pytest.fail("entered")
    assert breaker.statistics().transitions == 0


def test_it_decorates_nothing():
    """Around an async test it would be over before that begins."""
    with pytest.raises(TypeError, match="not callable"):
        disabled(CircuitBreaker("shop"))(lambda: None)  # type: ignore[operator]
