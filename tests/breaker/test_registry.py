"""Breakers by name: made once, configured by operators first, bounded by key."""

from __future__ import annotations

import logging
import threading

import pytest

from creatormate_resilience.breaker import BreakerState, CircuitBreakerConfig, CircuitBreakerRegistry
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.testing import FakeClock

THREE = CircuitBreakerConfig(failure_threshold=3)
SEVEN = CircuitBreakerConfig(failure_threshold=7)


def test_a_name_gives_the_same_breaker_each_time():
    """Also to many threads that ask at once."""
    registry = CircuitBreakerRegistry()
    barrier = threading.Barrier(8)
    got: list[object] = []

    def ask() -> None:
        barrier.wait(30)
        got.append(registry.get("openai"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, got))) == 1
    assert len(registry) == 1
    assert "openai" in registry
    assert "other" not in registry


def test_configurations_win_over_declarations():
    """Operators decide; what nobody configured has its declaration, and else the default."""
    registry = CircuitBreakerRegistry({"openai": {"failure_threshold": 3}}, default=CircuitBreakerConfig(timeout=9.0))
    registry.declare("openai", SEVEN)
    registry.declare("payments", SEVEN)
    registry.declare("search", None)
    assert registry.get("openai").config == THREE
    assert registry.get("payments").config == SEVEN
    assert registry.get("search").config.timeout == 9.0


def test_declarations_that_agree_are_one():
    """The same decorator on many functions."""
    registry = CircuitBreakerRegistry()
    registry.declare("openai", THREE)
    registry.get("openai")
    registry.declare("openai", CircuitBreakerConfig(failure_threshold=3))
    registry.declare("openai", None)


def test_declarations_that_disagree_are_refused():
    """Two decorators of one name, and a decorator that comes after the breaker was made otherwise."""
    registry = CircuitBreakerRegistry()
    registry.declare("openai", THREE)
    with pytest.raises(ConfigurationError, match="'openai' is declared twice with different configurations"):
        registry.declare("openai", SEVEN)
    registry.get("payments")
    with pytest.raises(ConfigurationError, match="'payments' is declared twice"):
        registry.declare("payments", THREE)
    registry.get("tenants", key="a")
    with pytest.raises(ConfigurationError, match="'tenants' is declared twice"):
        registry.declare("tenants", THREE)


@pytest.mark.parametrize("config", [7, "x", [("failure_threshold", 3)]])
def test_a_configuration_that_is_none_is_refused(config):
    """The error names the breaker."""
    with pytest.raises(ConfigurationError, match=r"circuit breaker 'openai' is .*accepted is a mapping"):
        CircuitBreakerRegistry({"openai": config})
    with pytest.raises(ConfigurationError, match="circuit breaker 'openai': failure_threshold is 0"):
        CircuitBreakerRegistry({"openai": {"failure_threshold": 0}})


@pytest.mark.parametrize("bound", [0, -1, 1.5, None, "3", True])
def test_a_bound_that_is_none_is_refused(bound):
    """The error names the parameter and the range."""
    with pytest.raises(ConfigurationError, match=r"max_keyed is .*accepted are whole numbers from 1"):
        CircuitBreakerRegistry(max_keyed=bound)


def test_a_key_whose_circuit_is_not_closed_is_kept_longer():
    """To forget it would be to forget that somebody opened it; where all are open the oldest goes after all."""
    registry = CircuitBreakerRegistry(max_keyed=2)
    registry.get("tenants", key="a").force_open()
    registry.get("tenants", key="b")
    registry.get("tenants", key="c")
    assert sorted(registry.statistics()) == ["tenants[a]", "tenants[c]"]
    registry.get("tenants", key="c").force_open()
    registry.get("tenants", key="d")
    assert sorted(registry.statistics()) == ["tenants[c]", "tenants[d]"]


def test_keyed_breakers_are_apart_and_bounded():
    """Each tenant has its own; the one unused longest goes first."""
    registry = CircuitBreakerRegistry({"tenants": THREE}, max_keyed=2)
    first = registry.get("tenants", key="a")
    registry.get("tenants", key="b")
    assert registry.get("tenants", key="a") is first
    registry.get("tenants", key="c")
    assert registry.get("tenants", key="a") is first
    assert sorted(registry.statistics()) == ["tenants[a]", "tenants[c]"]
    assert len(registry) == 2
    assert first.config == THREE
    first.trip()
    assert registry.get("tenants", key="c").state is BreakerState.CLOSED


def test_what_breakers_share_comes_from_the_registry():
    """Clock, listeners and initial state; so breakers can be switched off in one place."""
    events: list[Event] = []
    clock = FakeClock()
    registry = CircuitBreakerRegistry(
        {"x": THREE}, clock=clock, listeners=[events.append], initial_state=BreakerState.DISABLED
    )
    breaker = registry.get("x")
    for _ in range(10):
        breaker.acquire().failure(TimeoutError())
    assert breaker.state is BreakerState.DISABLED
    assert breaker.statistics().failures == 10
    breaker.trip(retry_after=4.0)
    clock.advance(1.0)
    assert registry.statistics()["x"].retry_after == 3.0
    assert len(events) == 1
    assert repr(registry) == "<CircuitBreakerRegistry x=open>"
    assert [each.name for each in registry] == ["x"]


def test_a_timeout_from_settings_is_lenient_and_a_decorators_is_not(caplog):
    """Settings must not break a sync function; a decorator's own mistake is told at once."""
    registry = CircuitBreakerRegistry({"a": {"timeout": 5}}, default=CircuitBreakerConfig(timeout=5.0))
    registry.declare("b", CircuitBreakerConfig(timeout=5.0))
    with caplog.at_level(logging.WARNING, "creatormate_resilience"):
        assert registry.get("a")(lambda: 1)() == 1
        assert registry.get("c")(lambda: 2)() == 2
    assert len(caplog.records) == 2
    for breaker in (registry.get("b"), registry.get("b", key="k")):
        with pytest.raises(ConfigurationError, match="cannot interrupt"):
            breaker(lambda: 1)


def test_a_registry_is_read_while_it_grows():
    """Statistics and lengths are safe beside threads that add breakers."""
    registry = CircuitBreakerRegistry()
    stop = threading.Event()

    def grow() -> None:
        number = 0
        while not stop.is_set() and number < 5000:
            registry.get(f"b{number}", key="k")
            number += 1

    threads = [threading.Thread(target=grow) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            assert len(registry) >= 0
            len(list(registry))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("name", ["", None, 7, b"openai", ("openai",)], ids=repr)
@pytest.mark.parametrize("key", [None, "eu"])
def test_a_name_is_a_text(name, key):
    """In each call that takes one; nothing is kept of the others."""
    registry = CircuitBreakerRegistry()
    with pytest.raises(ConfigurationError, match=r"name is .*; accepted is a text that is not empty"):
        registry.get(name, key=key)
    assert list(registry) == []
    with pytest.raises(ConfigurationError, match=r"name is .*; accepted is a text that is not empty"):
        registry.declare(name, THREE)


@pytest.mark.parametrize("key", ["", 5, ("a",), b"eu", False], ids=repr)
def test_a_key_is_a_text(key):
    """Five and '5' would be two breakers of one name."""
    registry = CircuitBreakerRegistry()
    with pytest.raises(ConfigurationError, match=r"key is .*; accepted is a text that is not empty"):
        registry.get("openai", key=key)
    assert registry.statistics() == {}


def test_no_two_breakers_look_the_same():
    """A name has no bracket, so what stands before the first one is the name; a key has what it likes."""
    registry = CircuitBreakerRegistry()
    for name in ("a[b]", "a[", "[::1]"):
        for wrong in (
            lambda name=name: registry.get(name),
            lambda name=name: registry.get(name, key="b"),
            lambda name=name: registry.declare(name, THREE),
            lambda name=name: CircuitBreakerRegistry({name: THREE}),
        ):
            with pytest.raises(ConfigurationError, match=r"name is .*; accepted is a text without '\['.*`key=`"):
                wrong()
    pairs = [("a", None), ("a", "b"), ("a", "b]["), ("a]", "b"), ("a", "]"), ("a", "[b]"), ("a]", None)]
    names = [registry.get(name, key=key).name for name, key in pairs]
    assert len(set(names)) == len(pairs) == len(registry.statistics())
    assert registry.get("http", key="http://[::1]:8080").name == "http[http://[::1]:8080]"
