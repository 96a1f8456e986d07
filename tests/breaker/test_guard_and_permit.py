"""Blocks and two-step permits."""

from __future__ import annotations

import anyio
import pytest

from creatormate_resilience.breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.exceptions import CircuitOpenError, OperationTimeoutError
from creatormate_resilience.outcome import Outcome, OutcomeKind, classify
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio

ONE_FAILURE = CircuitBreakerConfig(failure_threshold=1)


async def test_a_block_is_a_call():
    """Its end is a success, its error a failure, and an open circuit is not entered."""
    for form in ("sync", "async"):
        breaker = CircuitBreaker("x", ONE_FAILURE)

        async def block(error: Exception | None = None, form=form, breaker=breaker) -> None:
            if form == "sync":
                with breaker.guard():
                    if error:
                        raise error
                return
            async with breaker.guard():
                if error:
                    raise error

        await block()
        with pytest.raises(KeyError):
            await block(KeyError("x"))
        with pytest.raises(CircuitOpenError):
            await block(AssertionError("not entered"))
        seen = breaker.statistics()
        assert (seen.successes, seen.failures, seen.rejected) == (1, 1, 1)


async def test_a_block_is_bounded_by_the_timeout():
    """The async form interrupts it and counts a failure."""
    breaker = CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=1, timeout=0.01))
    with pytest.raises(OperationTimeoutError, match="a block under breaker 'x'"):
        async with breaker.guard():
            await anyio.sleep(30)
    assert breaker.state is BreakerState.OPEN


async def test_a_block_in_time_keeps_its_own_error():
    """Also with a timeout around it."""
    breaker = CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=5, timeout=30.0))
    with pytest.raises(KeyError):
        async with breaker.guard():
            raise KeyError("x")
    async with breaker.guard():
        pass
    seen = breaker.statistics()
    assert (seen.successes, seen.failures) == (1, 1)


async def test_a_guard_protects_one_block():
    """A second use is a mistake that would settle nothing."""
    guard = CircuitBreaker("x").guard()
    with guard:
        pass
    with pytest.raises(RuntimeError, match=r"call breaker.guard\(\) again"), guard:
        pass
    with pytest.raises(RuntimeError, match=r"call breaker.guard\(\) again"):
        async with guard:
            pass


async def test_blocks_of_one_breaker_nest():
    """Each has a permit of its own."""
    breaker = CircuitBreaker("x")
    async with breaker.guard():
        with breaker.guard():
            pass
    assert breaker.statistics().successes == 2


def test_a_permit_is_settled_once():
    """What comes after the first is ignored, so a `finally: release()` is safe."""
    breaker = CircuitBreaker("x", ONE_FAILURE)
    permit = breaker.acquire()
    assert repr(permit) == "<Permit of 'x'>"
    permit.success()
    permit.failure(TimeoutError())
    permit.release()
    seen = breaker.statistics()
    assert (seen.successes, seen.failures, seen.ignored) == (1, 0, 0)
    assert repr(permit) == "<Permit of 'x' settled>"


def test_a_forgotten_permit_costs_its_probe_only_for_a_while():
    """Code that loses a permit does not wedge the breaker."""
    clock = FakeClock()
    breaker = CircuitBreaker("x", CircuitBreakerConfig(half_open_max_calls=1, half_open_max_wait=5.0), clock=clock)
    breaker.trip()
    clock.advance(60)
    breaker.acquire()
    clock.advance(5)
    with pytest.raises(CircuitOpenError) as caught:
        breaker.acquire()
    clock.advance(caught.value.retry_after or 0)
    breaker.acquire().success()
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        (CircuitBreakerConfig(recovery_timeout=10.0, recovery_jitter=0.0), 10.0),
        (CircuitBreakerConfig(recovery_timeout=10.0, recovery_jitter=0.0, timeout=60.0), 61.0),
        (CircuitBreakerConfig(recovery_timeout=10.0, recovery_jitter=0.0, half_open_max_wait=3.0), 3.0),
    ],
)
def test_how_long_a_probe_may_take(config, longest):
    """The time it was open, or the timeout and a second where that is longer, or what was given."""
    clock = FakeClock()
    breaker = CircuitBreaker("x", config, clock=clock)
    breaker.trip()
    clock.advance(10)
    breaker.acquire()
    clock.advance(longest - 0.001)
    breaker.acquire().release()
    assert breaker.state is BreakerState.HALF_OPEN
    clock.advance(0.001)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    assert breaker.state is BreakerState.OPEN


@pytest.mark.parametrize("outcome", [None, "timeout", 503, TimeoutError, False], ids=repr)
def test_a_permit_fails_by_an_exception_only(outcome):
    """Anything else is refused at the call, and the permit is still there to be settled."""
    breaker = CircuitBreaker("x", ONE_FAILURE)
    permit = breaker.acquire()
    with pytest.raises(TypeError, match=r"exception is .*; accepted is an instance of an exception"):
        permit.failure(outcome)
    permit.failure(TimeoutError())
    assert breaker.state is BreakerState.OPEN


def test_a_probe_whose_permit_is_dropped_is_given_up_after_its_time():
    """Nothing is counted for it; the next call after that time ends the recovery as failed."""
    clock = FakeClock()
    config = CircuitBreakerConfig(
        recovery_timeout=10, recovery_jitter=0, half_open_max_calls=1, half_open_max_concurrent=1
    )
    breaker = CircuitBreaker("x", config, clock=clock)
    breaker.trip()
    clock.advance(10)
    breaker.acquire()  # and nobody settles it
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    clock.advance(10)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    assert breaker.state is BreakerState.OPEN
    clock.advance(20)
    breaker.acquire().success()
    assert breaker.state is BreakerState.CLOSED
    for _ in range(100):
        breaker.acquire()  # in a closed circuit it costs nothing
    assert breaker.statistics().window_calls == 0


class Interrupt(BaseException):
    """What stops a program."""


@pytest.mark.parametrize("form", ["call", "guard", "permit"])
def test_a_probe_that_is_interrupted_while_it_is_judged_gives_its_place_back(form):
    """The interruption passes, and the next call is a probe."""
    interruptions = [Interrupt()]

    def judge(outcome: Outcome) -> OutcomeKind:
        while interruptions:
            raise interruptions.pop()
        return classify(outcome)

    config = CircuitBreakerConfig(half_open_max_calls=1, half_open_max_concurrent=1, classify=judge)
    breaker = CircuitBreaker("x", config, clock=FakeClock())
    breaker.trip(1e-9)
    breaker.clock.sleep(1)
    with pytest.raises(Interrupt):
        if form == "call":
            breaker.call(int)
        elif form == "guard":
            with breaker.guard():
                pass
        else:
            breaker.acquire().success()
    assert breaker.statistics().ignored == 1
    assert breaker.call(int) == 0
    assert breaker.state is BreakerState.CLOSED


def test_a_probe_whose_error_interrupts_when_it_is_printed_gives_its_place_back():
    """An exception may do anything in its text."""

    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    def fail() -> None:
        raise UnspeakableError

    config = CircuitBreakerConfig(half_open_max_calls=1, half_open_max_concurrent=1, record=(UnspeakableError,))
    breaker = CircuitBreaker("x", config, clock=FakeClock())
    breaker.trip(1e-9)
    breaker.clock.sleep(1)
    with pytest.raises(KeyboardInterrupt):
        breaker.call(fail)
    assert breaker.call(int) == 0
    assert breaker.state is BreakerState.CLOSED
