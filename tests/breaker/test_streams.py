"""Generators and async generators: the outcome is known at the end, once."""

from __future__ import annotations

import contextlib
import gc
import inspect
from collections.abc import AsyncGenerator, Generator

import anyio
import pytest

from creatormate_resilience.breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.exceptions import CircuitOpenError, OperationTimeoutError
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def breaker() -> CircuitBreaker:
    """A breaker that one failure opens."""
    return CircuitBreaker("stream", CircuitBreakerConfig(failure_threshold=1))


def counts(breaker: CircuitBreaker) -> tuple[int, int, int]:
    """Successes, failures and ignored calls."""
    seen = breaker.statistics()
    return seen.successes, seen.failures, seen.ignored


def numbers(end: int, error: Exception | None = None) -> Generator[int, str | None, str]:
    """Yields numbers, notes what is sent, and returns or raises."""
    heard = ""
    for number in range(end):
        heard += (yield number) or "."
    if error is not None:
        raise error
    return heard


async def anumbers(end: int, error: Exception | None = None) -> AsyncGenerator[str, str | None]:
    """The async form; yields what was sent to it."""
    heard: str | None = "start"
    for _ in range(end):
        await anyio.lowlevel.checkpoint()
        heard = yield heard or "."
    if error is not None:
        raise error


async def test_a_stream_that_ends_is_a_success(breaker):
    """Not before its end, and with its return value."""
    stream = breaker(numbers)(2)
    assert breaker.statistics().calls == 0
    assert [next(stream), stream.send("a")] == [0, 1]
    assert breaker.statistics().calls == 0
    with pytest.raises(StopIteration) as caught:
        stream.send("b")
    assert caught.value.value == "ab"
    assert counts(breaker) == (1, 0, 0)
    assert [item async for item in breaker(anumbers)(3)] == ["start", ".", "."]
    assert counts(breaker) == (2, 0, 0)


async def test_the_decorated_kinds_are_kept(breaker):
    """Frameworks ask what a function is."""
    assert inspect.isgeneratorfunction(breaker(numbers))
    assert inspect.isasyncgenfunction(breaker(anumbers))


async def test_a_stream_that_dies_midway_is_a_failure(breaker):
    """Although its first items came."""
    with pytest.raises(ConnectionError):
        list(breaker(numbers)(2, ConnectionError("x")))
    assert counts(breaker) == (0, 1, 0)
    with pytest.raises(CircuitOpenError):
        next(breaker(numbers)(2))
    breaker.reset()
    with pytest.raises(ConnectionError):
        async for _ in breaker(anumbers)(2, ConnectionError("x")):
            pass
    assert counts(breaker) == (0, 2, 0)


async def test_a_stream_closed_early_is_nothing(breaker):
    """By the consumer, by `aclose`, or by being forgotten; once each, and it releases what it holds."""
    stream = breaker(numbers)(5)
    next(stream)
    stream.close()
    assert counts(breaker) == (0, 0, 1)
    forgotten = breaker(numbers)(5)
    next(forgotten)
    del forgotten
    gc.collect()
    assert counts(breaker) == (0, 0, 2)
    closed: list[str] = []

    @breaker
    async def resource() -> AsyncGenerator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append("closed")

    async with contextlib.aclosing(resource()) as items:
        async for _ in items:
            break
    assert counts(breaker) == (0, 0, 3)
    assert closed == ["closed"]


async def test_a_consumer_that_is_cancelled_is_nothing(breaker):
    """While the stream waits for its next item."""

    @breaker
    async def stalled() -> AsyncGenerator[int]:
        yield 1
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with contextlib.aclosing(stalled()) as items:
            async for _ in items:
                scope.cancel()
    assert counts(breaker) == (0, 0, 1)


async def test_an_async_stream_hears_what_is_sent_to_it(breaker):
    """A conversation works through the breaker."""
    stream = breaker(anumbers)(3)
    assert [await anext(stream), await stream.asend("a"), await stream.asend("b")] == ["start", "a", "b"]
    with pytest.raises(StopAsyncIteration):
        await stream.asend("c")
    assert counts(breaker) == (1, 0, 0)


@pytest.mark.parametrize("error", [ConnectionError("x"), KeyError("x")])
async def test_an_error_of_the_consumer_reaches_the_stream(breaker, error):
    """So `@asynccontextmanager` over a protected stream rolls back what it should."""
    log: list[str] = []

    @contextlib.asynccontextmanager
    @breaker
    async def transaction() -> AsyncGenerator[str]:
        try:
            yield "session"
        except Exception as caught:
            log.append(f"rolled back by {type(caught).__name__}")
            raise
        else:
            log.append("committed")

    with pytest.raises(type(error)):
        async with transaction():
            raise error
    breaker.reset()
    async with transaction() as session:
        assert session == "session"
    assert log == [f"rolled back by {type(error).__name__}", "committed"]


async def test_a_stream_may_handle_the_consumers_error(breaker):
    """What it yields or ends with after that is passed on."""

    @breaker
    async def patient() -> AsyncGenerator[str]:
        while True:
            try:
                yield "item"
            except KeyError:
                yield "handled"
                return

    stream = patient()
    assert await anext(stream) == "item"
    assert await stream.athrow(KeyError("x")) == "handled"
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert counts(breaker) == (1, 0, 0)


async def test_the_timeout_bounds_the_wait_for_each_item():
    """A stream that stalls is interrupted and a failure; one that is only long, or whose consumer is slow, is not."""
    breaker = CircuitBreaker("stream", CircuitBreakerConfig(failure_threshold=1, timeout=0.05))

    @breaker
    async def stream(stall: float) -> AsyncGenerator[int]:
        for number in range(3):
            yield number
        await anyio.sleep(stall)

    async for _ in stream(0):
        await anyio.sleep(0.06)
    assert counts(breaker) == (1, 0, 0)
    with pytest.raises(OperationTimeoutError):
        async for _ in stream(30):
            pass
    assert counts(breaker) == (1, 1, 0)


async def test_a_stream_as_a_probe_holds_its_place_until_it_ends():
    """Half open, one probe: a second stream is refused until the first is done."""
    clock = FakeClock()
    breaker = CircuitBreaker("stream", CircuitBreakerConfig(half_open_max_calls=1), clock=clock)
    breaker.trip()
    clock.advance(60)
    first = breaker(anumbers)(2)
    await anext(first)
    with pytest.raises(CircuitOpenError):
        await anext(breaker(anumbers)(2))
    assert [item async for item in first] == ["."]
    assert breaker.state is BreakerState.CLOSED
