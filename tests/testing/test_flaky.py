"""`flaky` and `aflaky`: outcomes in order, one for each call."""

from __future__ import annotations

import threading
import traceback

import anyio
import pytest

from creatormate_resilience.breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.policies import Retry, constant
from creatormate_resilience.testing import FakeClock, aflaky, flaky

pytestmark = pytest.mark.anyio


def test_outcomes_come_in_order_and_are_counted():
    """Exceptions are raised, types of them too, all else is returned."""
    error = TimeoutError("slow")
    fetch = flaky(ConnectionError, error, "ok", None)
    assert (fetch.calls, fetch.remaining) == (0, 4)
    with pytest.raises(ConnectionError):
        fetch("any", arguments=True)
    with pytest.raises(TimeoutError) as caught:
        fetch()
    assert caught.value is error
    assert fetch() == "ok"
    assert fetch() is None
    assert (fetch.calls, fetch.remaining) == (4, 0)


def test_a_type_is_raised_as_a_new_exception_each_time():
    """So that calls under way at the same time do not share one."""
    fetch = flaky(then=ConnectionError)
    raised = []
    for _ in range(2):
        with pytest.raises(ConnectionError) as caught:
            fetch()
        raised.append(caught.value)
    assert raised[0] is not raised[1]


def test_a_script_that_ran_out_says_so():
    """The message names the call and what to do; the call is counted."""
    fetch = flaky("only")
    fetch()
    with pytest.raises(AssertionError, match="call 2 of <Flaky, 2 calls, 0 outcomes left>: its script has 1 outcomes"):
        fetch()
    assert fetch.calls == 2


def test_then_goes_on_for_ever():
    """After the script `then` answers every call; None is an answer."""
    fetch = flaky(1, then=None)
    assert [fetch(), fetch(), fetch()] == [1, None, None]
    assert fetch.calls == 3


@pytest.mark.parametrize("make", [flaky, aflaky])
def test_an_empty_script_is_refused(make):
    """Nothing to give is a mistake."""
    with pytest.raises(ValueError, match="the script is empty"):
        make()


def test_one_exception_raised_again_and_again_does_not_grow():
    """Its traceback holds the last raise only, so a long test keeps no frames of a thousand calls."""
    error = OSError("down")
    fetch = flaky(then=error)
    for _ in range(50):
        with pytest.raises(OSError, match="down"):
            fetch()
    assert len(traceback.extract_tb(error.__traceback__)) <= 3


def test_threads_get_each_outcome_once():
    """Eight threads share a script of 800 numbers, and none is lost or given twice."""
    fetch = flaky(*range(800))
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: [seen.append(fetch()) for _ in range(100)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(800))
    assert fetch.remaining == 0


async def test_the_async_one_is_taken_for_async_by_policies():
    """A retry and a breaker decorate it as they decorate an `async def`."""
    clock = FakeClock()
    breaker = CircuitBreaker("shop", CircuitBreakerConfig(failure_threshold=2), clock=clock)
    fetch = aflaky(ConnectionError, ConnectionError, "never asked for")
    with pytest.raises(ConnectionError):
        await breaker(fetch)()
    with pytest.raises(ConnectionError):
        await breaker.acall(fetch)
    assert breaker.state is BreakerState.OPEN
    again = aflaky(ConnectionError, "ok")
    assert await Retry(3, constant(5), clock=clock)(again)() == "ok"
    assert (fetch.calls, again.calls, clock.monotonic()) == (2, 2, 5)


def test_the_sync_one_is_decorated_too():
    """A retry keeps it sync."""
    clock = FakeClock()
    fetch = flaky(ConnectionError, "ok")
    assert Retry(3, constant(5), clock=clock)(fetch)() == "ok"
    assert clock.monotonic() == 5


async def test_the_async_one_gives_others_a_turn_and_can_be_cancelled():
    """A cancelled call uses up no outcome."""
    fetch = aflaky("ok")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await fetch()
    assert scope.cancelled_caught
    assert fetch.calls == 0
    assert await fetch() == "ok"
