"""Whose cancellation was it? By our own deadline it is a failure, by anybody else it is nothing."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from creatormate_resilience.breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.exceptions import OperationTimeoutError
from creatormate_resilience.policies import Timeout
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


def counts(breaker: CircuitBreaker) -> tuple[int, int]:
    """Failures and ignored calls."""
    seen = breaker.statistics()
    return seen.failures, seen.ignored


async def test_our_own_timeout_around_the_breaker_is_a_failure():
    """Otherwise a service that hangs would never trip it; on every loop, however coarse its timers are."""
    breaker = CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=100))
    for _ in range(20):
        with pytest.raises(OperationTimeoutError):
            await Timeout(0.0035).acall(breaker.acall, anyio.sleep, 30)
    assert counts(breaker) == (20, 0)


async def test_our_own_timeout_counts_in_every_form():
    """Decorator, guard and stream judge alike."""
    breaker = CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=100))

    @breaker
    async def decorated() -> None:
        await anyio.sleep(30)

    @breaker
    async def stream():
        yield 1
        await anyio.sleep(30)

    async def read() -> None:
        async for _ in stream():
            pass

    async def guarded() -> None:
        async with breaker.guard():
            await anyio.sleep(30)

    for number, form in enumerate((decorated, read, guarded), start=1):
        with pytest.raises(OperationTimeoutError):
            await Timeout(0.01).acall(form)
        assert counts(breaker) == (number, 0)


async def test_a_received_deadline_that_ran_out_is_nothing():
    """That a caller gave us little time says nothing of the dependency."""
    breaker = CircuitBreaker("x")
    with deadline_scope(0.0, received=True), anyio.move_on_after(0.01):
        await breaker.acall(anyio.sleep, 30)
    assert counts(breaker) == (0, 1)


async def test_a_plain_cancellation_within_a_deadline_is_nothing():
    """The client hung up, with time left."""
    breaker = CircuitBreaker("x")
    with deadline_scope(30.0), anyio.move_on_after(0.01):
        await breaker.acall(anyio.sleep, 30)
    assert counts(breaker) == (0, 1)


@pytest.mark.parametrize(("elapsed", "expected"), [(1.9, (0, 1)), (2.0, (1, 0))])
async def test_a_cancelled_call_that_was_slow_already_is_a_failure(elapsed, expected):
    """Impatient clients must not hide a dependency that hangs."""
    clock = FakeClock()
    breaker = CircuitBreaker("x", CircuitBreakerConfig(slow_call_duration=2.0), clock=clock)
    with anyio.CancelScope() as scope:
        async with breaker.guard():
            clock.advance(elapsed)
            scope.cancel()
            await anyio.sleep(30)
    assert counts(breaker) == expected


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interruption_is_nothing_however_long_it_took(interruption):
    """Ctrl-C and an abandoned stream are no cancellations by time."""
    clock = FakeClock()
    breaker = CircuitBreaker("x", CircuitBreakerConfig(slow_call_duration=2.0), clock=clock)
    permit = breaker.acquire()
    clock.advance(100)
    permit.failure(interruption())
    assert counts(breaker) == (0, 1)


@pytest.mark.parametrize("awaits", range(6))
async def test_a_cancellation_at_any_await_returns_the_probe(awaits):
    """A probe cancelled after its n-th step leaves nothing behind."""
    clock = FakeClock()
    breaker = CircuitBreaker("x", CircuitBreakerConfig(half_open_max_calls=1), clock=clock)
    breaker.trip()
    clock.advance(60)
    steps = 0

    with anyio.CancelScope() as scope:

        async def work() -> None:
            nonlocal steps
            while True:
                if steps == awaits:
                    scope.cancel()
                steps += 1
                await anyio.lowlevel.checkpoint()

        await breaker.acall(work)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.acquire().success()
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"])
async def test_a_cancelled_asyncio_task_is_nothing(anyio_backend):
    """`task.cancel()` goes through, uncounted."""
    breaker = CircuitBreaker("x")
    task = asyncio.ensure_future(breaker.acall(asyncio.sleep, 30))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counts(breaker) == (0, 1)


async def test_the_breakers_own_timeout_and_an_outer_one():
    """Whichever strikes first: one failure, and the outer's error only where the outer struck."""
    breaker = CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=100, timeout=0.01))
    with pytest.raises(OperationTimeoutError, match="breaker 'x'"):
        await Timeout(30).acall(breaker.acall, anyio.sleep, 30)
    assert counts(breaker) == (1, 0)
    breaker = CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=100, timeout=30.0))
    with pytest.raises(OperationTimeoutError) as caught:
        await Timeout(0.01).acall(breaker.acall, anyio.sleep, 30)
    assert "breaker" not in str(caught.value)
    assert counts(breaker) == (1, 0)
