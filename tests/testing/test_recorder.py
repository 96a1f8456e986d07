"""`Recorder` and `assert_transitions`: what happened, and a readable difference from what should have."""

from __future__ import annotations

import threading

import pytest

from creatormate_resilience.breaker import (
    BreakerState,
    BreakerStateChanged,
    CallRejected,
    CircuitBreaker,
    CircuitBreakerConfig,
)
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import CircuitOpenError
from creatormate_resilience.testing import FakeClock, Recorder, assert_transitions, flaky

CONFIG = CircuitBreakerConfig(failure_threshold=1, half_open_max_calls=1, recovery_timeout=30, recovery_jitter=0)


def outage(recorder: Recorder, name: str = "shop") -> CircuitBreaker:
    """Fails, refuses, and recovers."""
    clock = FakeClock()
    breaker = CircuitBreaker(name, CONFIG, clock=clock, listeners=[recorder])
    fetch = flaky(ConnectionError("secret=1"), "ok")
    with pytest.raises(ConnectionError):
        breaker.call(fetch)
    with pytest.raises(CircuitOpenError):
        breaker.call(fetch)
    clock.advance(30)
    breaker.call(fetch)
    return breaker


def test_it_keeps_events_in_order_and_sorts_them_out():
    """All of them, those of a type, those of a source."""
    recorder = Recorder()
    outage(recorder)
    assert [type(event) for event in recorder.events] == [
        BreakerStateChanged, CallRejected, BreakerStateChanged, BreakerStateChanged
    ]  # fmt: skip
    assert recorder.of(CallRejected) == (CallRejected("shop", 30.0),)
    assert recorder.of(CallRejected, source="other") == ()
    recorder.clear()
    assert recorder.events == ()


def test_it_is_bounded_and_says_what_it_forgot():
    """The latest are kept; the rest is a number."""
    recorder = Recorder(max_events=3)
    for number in range(10):
        recorder(Event(str(number)))
    assert [event.source for event in recorder.events] == ["7", "8", "9"]
    assert recorder.dropped == 7
    assert repr(recorder) == "<Recorder: 3 events, 7 dropped>"


@pytest.mark.parametrize("max_events", [0, -1, True, 1.5, "9"])
def test_a_bound_that_is_none_is_refused(max_events):
    """The error names the parameter."""
    with pytest.raises(ValueError, match=r"max_events is .*; accepted are whole numbers from 1"):
        Recorder(max_events)


def test_threads_lose_no_event():
    """Eight threads tell at once."""
    recorder = Recorder(max_events=100)
    threads = [threading.Thread(target=lambda: [recorder(Event("x")) for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(recorder.events), recorder.dropped) == (100, 3900)


def test_the_right_transitions_pass():
    """As members or as texts; nothing at all is an expectation too."""
    recorder = Recorder()
    assert_transitions(recorder, [])
    outage(recorder)
    assert_transitions(recorder, [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED])
    assert_transitions(recorder, ["open", "half_open", "closed"], source="shop")
    assert_transitions(recorder, [], source="another")


@pytest.mark.parametrize(
    ("states", "rows"),
    [
        (
            ["open", "half_open", "open"],
            ["  open          open", "  half_open     half_open", "! open          closed"],
        ),
        (["open"], ["  open          open", "! -             half_open", "! -             closed"]),
        (["open", "half_open", "closed", "open"], ["  closed        closed", "! open          -"]),
        ([], ["! -             open"]),
    ],
)
def test_wrong_transitions_show_where_they_part(states, rows):
    """Row by row, with marks where they differ, and why the circuit moved."""
    recorder = Recorder()
    outage(recorder)
    with pytest.raises(AssertionError) as caught:
        assert_transitions(recorder, states)
    shown = str(caught.value)
    assert shown.startswith("circuit 'shop' did not go through the states expected\n  expected      seen\n")
    assert [row for row in rows if row not in shown] == []
    assert "(last failure: ConnectionError" in shown


def test_transitions_announced_out_of_order_are_put_in_order():
    """Threads announce outside of the lock; the numbers tell what came first."""
    recorder, kept = Recorder(), Recorder()
    outage(kept)
    for event in reversed(kept.events):
        recorder(event)
    assert_transitions(recorder, ["open", "half_open", "closed"])


def test_what_was_forgotten_is_not_passed_over():
    """With the beginning dropped, no answer would be right."""
    recorder = Recorder(max_events=1)
    outage(recorder)
    with pytest.raises(AssertionError, match="has forgotten how it began"):
        assert_transitions(recorder, ["closed"])


def test_two_breakers_in_one_recorder_need_a_name():
    """Else it would compare a mixture."""
    recorder = Recorder()
    outage(recorder)
    outage(recorder, "bank")
    with pytest.raises(ValueError, match="heard of 'bank', 'shop'"):
        assert_transitions(recorder, ["open"])
    assert_transitions(recorder, ["open", "half_open", "closed"], source="bank")


def test_a_breaker_in_place_of_a_recorder_is_told_apart():
    """A breaker keeps no history, and the error says where to get one; an unknown state is named."""
    recorder = Recorder()
    with pytest.raises(TypeError, match=r"accepted is a Recorder, given to the breaker as `listeners="):
        assert_transitions(outage(recorder), ["open"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ajar"):
        assert_transitions(recorder, ["ajar"])
    with pytest.raises(TypeError, match="states is 'open'; accepted is a list of states"):
        assert_transitions(recorder, "open")
