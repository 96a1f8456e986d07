"""A store that is broken, or tells nonsense: it is logged, and the breaker goes on alone."""

from __future__ import annotations

import logging

import pytest

from creatormate_resilience.breaker import (
    BreakerState,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    Verdict,
)
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.testing import FakeClock

CONFIG = CircuitBreakerConfig(
    failure_threshold=1, recovery_timeout=10, recovery_jitter=0, half_open_max_calls=1, half_open_max_concurrent=1
)


class Store:
    """Does what it is told to."""

    def __init__(self, *, subscribed: object = None, trouble: BaseException | None = None) -> None:
        self.subscribed = subscribed
        self.trouble = trouble
        self.published: list[str] = []

    def subscribe(self, subscriber: object) -> object:
        if isinstance(self.subscribed, BaseException):
            raise self.subscribed
        return self.subscribed

    def publish(self, verdict: Verdict, sender: object) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.published.append(verdict.state)


def answer() -> str:
    """Works."""
    return "answer"


def fail() -> None:
    """Does not."""
    raise TimeoutError("the upstream's")


@pytest.fixture
def clock():
    """Time that passes when it is told to."""
    return FakeClock()


def test_a_store_that_raises_harms_no_caller(clock, caplog):
    """The caller gets its own error and its own answer, and the circuit opens and closes as ever."""
    breaker = CircuitBreaker("x", CONFIG, clock=clock, store=Store(trouble=ConnectionError("redis is down")))
    with caplog.at_level(logging.ERROR, "creatormate_resilience"):
        with pytest.raises(TimeoutError, match="the upstream's"):
            breaker.call(fail)
        assert breaker.state == "open"
        clock.advance(10)
        assert breaker.call(answer) == "answer"
        assert breaker.state == "closed"
    assert "the store raised; the breaker goes on alone" in caplog.text
    assert "redis is down" in caplog.text


def test_each_kind_of_trouble_is_logged_once_until_it_has_passed(clock, caplog):
    """Not a line for each change of state of an outage."""
    store = Store(trouble=ConnectionError("down"))
    breaker = CircuitBreaker("x", CONFIG, clock=clock, store=store)

    def fails_and_recovers() -> int:
        before = len(caplog.records)
        breaker.acquire().failure(TimeoutError())
        clock.advance(10)
        breaker.acquire().success()
        return len(caplog.records) - before

    with caplog.at_level(logging.ERROR, "creatormate_resilience"):
        assert [fails_and_recovers() for _ in range(3)] == [1, 0, 0]
        store.trouble = PermissionError("no")
        assert [fails_and_recovers() for _ in range(2)] == [1, 0]
        store.trouble = None
        assert fails_and_recovers() == 0
        assert store.published == ["open", "closed"]
        store.trouble = ConnectionError("down again")
        assert [fails_and_recovers() for _ in range(2)] == [1, 0]


@pytest.mark.parametrize(
    ("subscribed", "says"),
    [
        (ConnectionError("redis is down"), "redis is down"),
        ("open", "gave 'open' instead of a Verdict, or None"),
        (True, "gave True instead of a Verdict"),
    ],
    ids=["raises", "text", "truth"],
)
def test_a_store_that_cannot_be_subscribed_to_is_done_without(clock, caplog, subscribed, says):
    """The breaker is made all the same, and tells what it can."""
    store = Store(subscribed=subscribed)
    with caplog.at_level(logging.ERROR, "creatormate_resilience"):
        breaker = CircuitBreakerRegistry(default=CONFIG, clock=clock, store=store).get("x")  # type: ignore[arg-type]
    assert says in caplog.text
    assert breaker.call(answer) == "answer"
    breaker.acquire().failure(TimeoutError())
    assert store.published == ["open"]


def test_an_interruption_passes(clock):
    """It is not the store's."""
    breaker = CircuitBreaker("x", CONFIG, clock=clock, store=Store(trouble=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        breaker.call(fail)
    assert breaker.state == "open"


class Deaf:
    """Tells nobody."""

    def subscribe(self, subscriber: object) -> None: ...


class Later(Deaf):
    """Would have to be awaited."""

    async def publish(self, verdict: Verdict, sender: object) -> None: ...


@pytest.mark.parametrize(
    "make", [lambda store: CircuitBreaker("x", store=store), lambda store: CircuitBreakerRegistry(store=store)]
)
@pytest.mark.parametrize(
    ("store", "says"),
    [
        (Deaf(), "accepted is a BreakerStore, which has subscribe and publish, or None"),
        (Store, "accepted is a BreakerStore"),
        ("redis://", "store is 'redis://'; accepted is a BreakerStore"),
        (Later(), "whose methods are async and would not be awaited"),
    ],
    ids=["no publish", "class", "text", "async"],
)
def test_what_is_no_store_is_refused(make, store, says):
    """Where it is given."""
    with pytest.raises(ConfigurationError, match=says):
        make(store)


@pytest.mark.parametrize(
    ("name", "state", "wait"),
    [
        ("", "open", 1),
        ("x", "half_open", 1),
        ("x", "ajar", 1),
        ("x", ["open"], 1),
        ("x", "open", -1),
        ("x", "open", float("inf")),
        ("x", "open", "1"),
    ],
)
def test_a_verdict_that_makes_no_sense_cannot_be_made(name, state, wait):
    """Whatever a store has read from elsewhere."""
    with pytest.raises(ConfigurationError, match=r"(name|state|wait) is .*; accepted"):
        Verdict(name, state, wait)
    assert Verdict("x", "open", 0.5).state is BreakerState.OPEN  # type: ignore[arg-type]
