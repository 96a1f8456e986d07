"""A cancellation at every step of every async policy: it passes, and leaves no place, timer or attempt behind."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from creatormate_resilience.breaker import BreakerState, CircuitBreaker
from creatormate_resilience.deadline import current_deadline
from creatormate_resilience.exceptions import ConcurrencyLimitError
from creatormate_resilience.policies import (
    Bulkhead,
    Fallback,
    Hedge,
    Pipeline,
    RateLimiter,
    Retry,
    RetryBudget,
    Timeout,
    constant,
)

pytestmark = pytest.mark.anyio

STEPS = range(14)


class SteppingClock:
    """Every wait takes a few turns of the loop."""

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float, /) -> None:
        raise AssertionError("async code only")

    async def asleep(self, seconds: float, /) -> None:
        for _ in range(math.ceil(seconds)):
            await anyio.lowlevel.checkpoint()


class Work:
    """Takes a few turns, then fails or returns; knows how often it is running."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.running = 0

    async def __call__(self) -> str:
        self.running += 1
        try:
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            if self.failures:
                self.failures -= 1
                raise TimeoutError
            return "done"
        finally:
            self.running -= 1


async def cancel_after(steps: int, call: Callable[[], Any]) -> bool:
    """Cancel a call after so many turns of the loop; say whether it came to that."""
    ended: list[object] = []
    scope = anyio.CancelScope()

    async def run() -> None:
        with scope:
            ended.append(await call())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        scope.cancel()
    assert bool(ended) is not scope.cancelled_caught
    assert current_deadline() is None
    return scope.cancelled_caught


@pytest.mark.parametrize("steps", STEPS)
async def test_a_retry(steps):
    """No attempt follows, in any form, between attempts as during one."""
    retry = Retry(4, constant(2), clock=SteppingClock(), deadline=60.0, budget=RetryBudget(1.0))
    for call in (retry.acall, lambda work: retry(work)()):
        work = Work(failures=3)
        cancelled = await cancel_after(steps, lambda call=call, work=work: call(work))
        assert cancelled or not work.failures
        assert work.running == 0

    async def block() -> None:
        async for attempt in retry:
            async with attempt:
                await work()

    work = Work(failures=3)
    await cancel_after(steps, block)
    assert work.running == 0


@pytest.mark.parametrize("steps", STEPS)
async def test_a_bulkhead(steps):
    """The place is free again, or never was taken."""
    bulkhead = Bulkhead(1, max_queue=3)
    others = [Work() for _ in range(2)]
    mine = Work()
    async with anyio.create_task_group() as tasks:
        for other in others:
            tasks.start_soon(bulkhead.acall, other)
        await cancel_after(steps, bulkhead(mine))
    seen = bulkhead.statistics()
    assert (seen.running, seen.waiting, seen.rejected) == (0, 0, 0)


@pytest.mark.parametrize("steps", STEPS)
async def test_a_rate_limiter(steps):
    """What was not used is given back."""
    limiter = RateLimiter(1, per=5.0, burst=1, max_wait=60.0, clock=SteppingClock())
    await limiter.acall(Work())
    cancelled = await cancel_after(steps, lambda: limiter.acall(anyio.lowlevel.checkpoint))
    seen = limiter.statistics()
    assert seen.allowed == seen.waited + 1
    assert (seen.waited == 1) or cancelled
    await limiter.acall(anyio.lowlevel.checkpoint)
    assert limiter.statistics().waited == seen.waited + 1


@pytest.mark.parametrize("steps", STEPS)
async def test_a_hedge(steps):
    """No attempt is left running, and none begins."""
    work = Work()
    hedge = Hedge(1.0, max_hedges=2, clock=SteppingClock())

    async def slow() -> None:
        for _ in range(4):
            await work()

    await cancel_after(steps, lambda: hedge.acall(slow))
    assert work.running == 0
    started = hedge.statistics().started
    await anyio.lowlevel.checkpoint()
    assert (hedge.statistics().started, work.running) == (started, 0)


@pytest.mark.parametrize("steps", STEPS)
async def test_all_of_them(steps):
    """In a pipeline with a breaker, which has nothing to say about it."""
    clock = SteppingClock()
    breaker, bulkhead = CircuitBreaker("x"), Bulkhead(1, max_queue=2)
    work = Work(failures=1)
    pipeline = Pipeline(
        "x",
        Fallback("instead", on=ConcurrencyLimitError),
        RateLimiter(1000, clock=clock),
        Timeout(30),
        Retry(3, constant(1), clock=clock),
        breaker,
        Hedge(1.0, clock=clock),
        bulkhead,
        Timeout(30),
    )
    with contextlib.suppress(ConcurrencyLimitError):
        await cancel_after(steps, lambda: pipeline.acall(work))
    assert work.running == 0
    assert (bulkhead.statistics().running, bulkhead.statistics().waiting) == (0, 0)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.statistics().failures <= 1
