"""Listeners are told outside the lock, and can harm nobody."""

from __future__ import annotations

import itertools
import logging
import threading

import pytest

from creatormate_resilience.breaker import BreakerState, BreakerStateChanged, CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import CircuitOpenError
from creatormate_resilience.testing import FakeClock

ONE_FAILURE = CircuitBreakerConfig(failure_threshold=1, recovery_timeout=10.0, recovery_jitter=0.0)


def test_a_listener_that_raises_changes_nothing(caplog):
    """Neither the call's error nor the next listener's turn."""
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise ZeroDivisionError("boom")

    breaker = CircuitBreaker("x", ONE_FAILURE, listeners=[broken, seen.append])
    with caplog.at_level(logging.ERROR, "creatormate_resilience"):
        with pytest.raises(KeyError):
            breaker.call(lambda: {}["k"])
        with pytest.raises(CircuitOpenError):
            breaker.call(int)
    assert [type(event).__name__ for event in seen] == ["BreakerStateChanged", "CallRejected"]
    assert caplog.text.count("boom") >= 2


def test_a_listener_may_use_the_breaker():
    """It asks, calls and moves; nothing is locked while it runs."""
    seen: list[object] = []

    def listener(event: Event) -> None:
        seen.append((breaker.state, breaker.statistics().failures, repr(breaker)))
        if isinstance(event, BreakerStateChanged) and event.new is BreakerState.OPEN:
            breaker.reset()
            breaker.call(int)

    breaker = CircuitBreaker("x", ONE_FAILURE, listeners=[listener])
    worker = threading.Thread(target=lambda: breaker.acquire().failure(TimeoutError()))
    worker.start()
    worker.join(30)
    assert not worker.is_alive()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.statistics().successes == 1
    assert len(seen) == 2


def test_numbers_put_events_of_many_threads_in_order():
    """Whatever order listeners are reached in, the numbers are complete and chain the states."""
    events: list[BreakerStateChanged] = []

    def listener(event: Event) -> None:
        if isinstance(event, BreakerStateChanged):
            events.append(event)

    breaker = CircuitBreaker("x", ONE_FAILURE, clock=FakeClock(), listeners=[listener])
    acts = (breaker.trip, breaker.reset, breaker.force_open, breaker.disable)
    threads = [threading.Thread(target=lambda: [act() for _ in range(100) for act in acts]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events.sort(key=lambda event: event.number)
    assert [event.number for event in events] == list(range(1, 1601))
    assert all(before.new is after.old for before, after in itertools.pairwise(events))
    assert breaker.statistics().transitions == 1600


def test_the_last_failure_is_told_redacted():
    """An event may go to a chat room."""
    events: list[Event] = []
    breaker = CircuitBreaker("x", ONE_FAILURE, listeners=[events.append])
    breaker.acquire().failure(ConnectionError("redis://:hunter2@h/0 refused"))
    assert isinstance(events[0], BreakerStateChanged)
    assert events[0].last_failure == "ConnectionError: redis://[REDACTED]@h/0 refused"


def test_a_failure_that_cannot_be_printed_is_told_by_type():
    """It opens the circuit all the same."""

    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    breaker = CircuitBreaker("x", ONE_FAILURE)
    breaker.acquire().failure(UnprintableError())
    assert breaker.statistics().last_failure == "UnprintableError: [__str__ raised RuntimeError]"
    assert breaker.state is BreakerState.OPEN
