"""Deadlines between services: what is sent, and what is believed of what comes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creatormate_resilience.breaker import CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.deadline import (
    DEADLINE_HEADER,
    current_deadline,
    deadline_header,
    deadline_scope,
    receive_deadline,
    remaining_time,
)
from creatormate_resilience.policies import Retry, constant
from creatormate_resilience.testing import FakeClock


def test_without_a_deadline_nothing_is_sent():
    """The other side has its own limits."""
    assert deadline_header() is None


@pytest.mark.parametrize(
    ("left", "value"),
    [(1.5, "1500"), (0.0019, "1"), (0.0009, "0"), (0.0, "0"), (-3.0, "0"), (86400.0, "86400000")],
)
def test_the_milliseconds_left_are_sent(left, value):
    """Rounded down, never below zero, and never a moment of our clock."""
    with deadline_scope(left, clock=FakeClock(123456.0)):
        name, sent = deadline_header() or ("", "")
    assert name == DEADLINE_HEADER
    assert abs(int(sent) - int(value)) <= 1
    assert int(sent) <= max(0, left * 1000)


def test_a_received_deadline_is_kept_and_marked():
    """Inner policies see it, and breakers know that it is not ours."""
    clock = FakeClock()
    with receive_deadline("1500", limit=30.0, clock=clock) as deadline:
        assert deadline is current_deadline()
        assert deadline.received
        assert remaining_time() == 1.5
    assert current_deadline() is None


def test_a_caller_cannot_ask_for_more_than_the_limit():
    """It can only ask for less."""
    clock = FakeClock()
    with receive_deadline("999999999999", limit=30.0, clock=clock):
        assert remaining_time() == 30.0


def test_an_own_deadline_that_comes_sooner_stays_in_force():
    """Whatever the caller says."""
    clock = FakeClock()
    with deadline_scope(1.0, clock=clock) as own, receive_deadline("5000", limit=30.0, clock=clock) as inner:
        assert inner is own


@pytest.mark.parametrize(
    "value",
    [None, "", "-1", "+1", "1.5", "1e3", " 5", "5 ", "0x10", "1_000", "١٢٣", "²", "nan", "inf", "1" * 13, "9" * 5000],
)
def test_what_is_no_number_of_milliseconds_is_ignored(value):
    """No deadline comes of it, and one from outside stays."""
    with receive_deadline(value, limit=30.0) as deadline:
        assert deadline is current_deadline() is None
    with deadline_scope(5.0) as outer, receive_deadline(value, limit=30.0) as deadline:
        assert deadline is outer


def test_what_is_no_text_is_refused():
    """A number might be seconds or milliseconds."""
    with pytest.raises(TypeError, match="value is 5; accepted is the header's text, or None"):
        receive_deadline(5, limit=30.0)  # type: ignore[arg-type]


@given(value=st.text(max_size=40))
def test_whatever_comes_in_the_deadline_is_none_or_within_the_limit(value):
    """Hostile values included."""
    clock = FakeClock()
    with receive_deadline(value, limit=30.0, clock=clock):
        left = remaining_time()
    assert left is None or 0 <= left <= 30.0


@given(left=st.floats(0, 10_000))
def test_what_was_sent_is_what_is_received(left):
    """Less than a millisecond is lost on the way, and none is won."""
    clock = FakeClock()
    with deadline_scope(left, clock=clock):
        _, value = deadline_header() or ("", "")
    with receive_deadline(value, limit=10_000.0, clock=FakeClock(99.0)):
        received = remaining_time() or 0.0
    assert left - 0.0011 <= received <= left + 1e-9


def test_no_time_left_starts_nothing_new():
    """A caller that has given up is not worked for: nothing is retried."""
    clock = FakeClock()
    calls = []

    def work() -> None:
        calls.append(1)
        raise TimeoutError("slow")

    with receive_deadline("0", limit=30.0, clock=clock), pytest.raises(TimeoutError, match="slow"):
        Retry(3, constant(0), clock=clock).call(work)
    assert len(calls) == 1


def test_a_received_deadline_that_runs_out_is_not_held_against_what_we_call():
    """An impatient caller must not open our circuits; our own deadline may."""
    clock = FakeClock()
    breaker = CircuitBreaker("openai", CircuitBreakerConfig(failure_threshold=100), clock=clock)

    class CancelledError(BaseException):
        """What an event loop raises into the work."""

    def work() -> None:
        clock.advance(2.0)
        raise CancelledError

    with receive_deadline("1000", limit=30.0, clock=clock), pytest.raises(CancelledError):
        breaker.call(work)
    assert breaker.statistics().failures == 0
    with deadline_scope(1.0, clock=clock), pytest.raises(CancelledError):
        breaker.call(work)
    assert breaker.statistics().failures == 1


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), "30", None, True])
def test_a_limit_is_needed(limit):
    """The error names it, at the call."""
    with pytest.raises(ValueError, match=r"limit is .*accepted are finite seconds above 0"):
        receive_deadline("1000", limit=limit)
