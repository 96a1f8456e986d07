"""A block with a deadline that is left in another context than it was entered in: fixtures, dependencies."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from creatormate_resilience.breaker import CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.deadline import deadline_scope, receive_deadline, remaining_time
from creatormate_resilience.exceptions import ConfigurationError, OperationTimeoutError
from creatormate_resilience.policies import Retry, Timeout, constant
from creatormate_resilience.testing import FakeClock
from creatormate_resilience.time_limit import time_limit

pytestmark = pytest.mark.anyio


def attempts() -> Any:
    """Attempts of a retry that sets a deadline for each."""
    return next(iter(Retry(2, constant(0), deadline=5, clock=FakeClock())))


SCOPES = {
    "deadline_scope": lambda: deadline_scope(5),
    "receive_deadline": lambda: receive_deadline("5000", limit=9),
    "an attempt": attempts,
}


@pytest.mark.parametrize("make", SCOPES.values(), ids=SCOPES)
def test_a_block_may_be_left_in_another_context(make):
    """What it returned or raised stays what it is, and neither context keeps a deadline that is not its own."""

    def dependency() -> Iterator[int]:
        with make():
            yield 1

    for end in (lambda each: next(each, "ended"), lambda each: each.close() or "ended"):
        begun = dependency()
        assert contextvars.copy_context().run(next, begun) == 1
        assert contextvars.copy_context().run(end, begun) == "ended"
    failing = dependency()
    contextvars.copy_context().run(next, failing)
    with pytest.raises(KeyError, match="the user's"):
        contextvars.copy_context().run(failing.throw, KeyError("the user's"))
    assert remaining_time() is None


def test_a_block_that_is_left_where_it_was_entered_gives_the_outer_deadline_back():
    """Also after another one was left elsewhere."""
    with deadline_scope(5):
        inner = deadline_scope(1)
        contextvars.copy_context().run(inner.__enter__)
        inner.__exit__(None, None, None)
        left = remaining_time()
        assert left is not None
        assert 1 < left <= 5


BREAKERS = {
    "breaker": lambda: CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=1)),
    "breaker with a timeout": lambda: CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=1, timeout=5)),
}
BLOCKS = BREAKERS | {"timeout": lambda: Timeout(5)}
on_asyncio = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)


@on_asyncio
@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)
async def test_an_async_block_may_be_left_in_another_task(anyio_backend, make):
    """As fixtures are by some test runners; a breaker counts what the block did, not how it was left."""
    policy = make()

    @contextlib.asynccontextmanager
    async def fixture() -> AsyncIterator[int]:
        async with policy.guard():
            yield 1

    block = fixture()
    assert await asyncio.create_task(block.__aenter__()) == 1
    assert not await asyncio.create_task(block.__aexit__(None, None, None))
    if isinstance(policy, CircuitBreaker):
        assert (policy.statistics().successes, policy.statistics().failures) == (1, 0)
    failing, error = fixture(), KeyError("the user's")
    await asyncio.create_task(failing.__aenter__())
    assert not await asyncio.create_task(failing.__aexit__(KeyError, error, None))
    if isinstance(policy, CircuitBreaker):
        assert policy.statistics().failures == 1
    assert remaining_time() is None


@on_asyncio
async def test_a_probe_that_is_left_in_another_task_closes_the_circuit(anyio_backend):
    """Its place is given back."""
    clock = FakeClock()
    config = CircuitBreakerConfig(failure_threshold=1, timeout=5, half_open_max_calls=1, half_open_max_concurrent=1)
    breaker = CircuitBreaker("x", config, clock=clock)
    breaker.trip()
    clock.advance(99)
    guard = breaker.guard()
    await asyncio.create_task(guard.__aenter__())
    await asyncio.create_task(guard.__aexit__(None, None, None))
    assert breaker.state == "closed"


@on_asyncio
async def test_a_limit_that_is_left_in_another_task_after_it_struck_cancels_nobody(anyio_backend):
    """Whom it would have interrupted has long ended."""
    limit = time_limit(0.001)
    await asyncio.create_task(limit.__aenter__())
    await asyncio.sleep(0.01)
    await asyncio.create_task(limit.__aexit__(None, None, None))
    await asyncio.sleep(0)


async def test_a_limit_in_its_own_task_interrupts_as_ever():
    """And gives the deadline back."""
    with pytest.raises(OperationTimeoutError):
        async with time_limit(0.001):
            await anyio.sleep(30)
    assert remaining_time() is None


@pytest.mark.parametrize(
    "seconds", [1e9 + 1, 1e308, 10**400, float("inf"), float("nan"), "5", True], ids=lambda seconds: str(seconds)[:9]
)
def test_times_beyond_all_sense_are_refused(seconds):
    """With the ordinary error, where they are given, and not later by arithmetic."""
    with pytest.raises(ValueError, match=r"seconds is .*; accepted are finite seconds up to 1e\+09"):
        deadline_scope(seconds)
    with pytest.raises(ValueError, match=r"limit is .*; accepted are finite seconds above 0 to 1e\+09"):
        receive_deadline("100", limit=seconds)
    with pytest.raises(ConfigurationError, match=r"seconds is .*; accepted are finite seconds above 0 to 1e\+09"):
        Timeout(seconds)
