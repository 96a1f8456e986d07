"""What each policy adds to a call that succeeds, beside a decorator that only passes on, and beside tenacity.

Run with `nox -s benchmarks -- -s` to see the tables. Figures are ratios within one run; nothing here asserts a time.
tenacity is measured where it is installed.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import anyio
from tests.benchmarks.bench_calls import aloop, apass_through, awork, loop, pass_through, work
from tests.benchmarks.interleaved import measure, table

from creatormate_resilience.breaker import CircuitBreaker
from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.policies import (
    Bulkhead,
    Fallback,
    Hedge,
    Pipeline,
    RateLimiter,
    Retry,
    RetryBudget,
    Timeout,
)

if find_spec("tenacity") is not None:
    import tenacity

    PEER: Callable[..., Any] | None = tenacity.retry(stop=tenacity.stop_after_attempt(3))
else:
    PEER = None


def test_sync_policies(capsys):
    """Each alone around an empty function."""
    variants = {
        "bare": loop(work),
        "pass-through decorator": loop(pass_through(work)),
        "Retry": loop(Retry(3)(work)),
        "Retry with a budget": loop(Retry(3, budget=RetryBudget())(work)),
        "Retry.call": loop(functools.partial(Retry(3).call, work)),
        "Bulkhead": loop(Bulkhead(10)(work)),
        "RateLimiter": loop(RateLimiter(1e9)(work)),
        "RateLimiter, keyed": loop(RateLimiter(1e9, key=lambda: "tenant")(work)),
        "Fallback": loop(Fallback(None)(work)),
        "Retry, breaker, Bulkhead": loop(Pipeline("x", Retry(3), CircuitBreaker("x"), Bulkhead(10))(work)),
    }
    if PEER is not None:
        variants["tenacity"] = loop(PEER(work))
    costs = measure(variants, calls=5_000)
    with capsys.disabled():
        print(f"\n\nSync policies\n{table(costs, to='pass-through decorator')}")
    assert len(costs) == len(variants)


def test_async_policies(capsys):
    """Each alone, and the pipeline of four beside `asyncio.timeout`."""

    async def asyncio_timeout() -> int:
        async with asyncio.timeout(10):
            return await awork()

    async def anyio_timeout() -> int:
        with anyio.fail_after(10):
            return await awork()

    async def scope() -> int:
        with deadline_scope(10):
            return await awork()

    four = Pipeline("x", Timeout(10), Retry(3), CircuitBreaker("x"), Bulkhead(10))
    with asyncio.Runner() as runner:
        variants = {
            "bare": aloop(runner, awork),
            "pass-through decorator": aloop(runner, apass_through(awork)),
            "asyncio.timeout": aloop(runner, asyncio_timeout),
            "anyio.fail_after": aloop(runner, anyio_timeout),
            "deadline_scope": aloop(runner, scope),
            "Timeout": aloop(runner, Timeout(10)(awork)),
            "Retry": aloop(runner, Retry(3)(awork)),
            "Retry with a budget": aloop(runner, Retry(3, budget=RetryBudget())(awork)),
            "Bulkhead": aloop(runner, Bulkhead(10)(awork)),
            "RateLimiter": aloop(runner, RateLimiter(1e9)(awork)),
            "Fallback": aloop(runner, Fallback(None)(awork)),
            "Hedge": aloop(runner, Hedge(10)(awork)),
            "Timeout, Retry, breaker, Bulkhead": aloop(runner, four(awork)),
            "the same, by acall": aloop(runner, functools.partial(four.acall, awork)),
        }
        if PEER is not None:
            variants["tenacity"] = aloop(runner, PEER(awork))
        costs = measure(variants, calls=2_000)
    with capsys.disabled():
        print(f"\n\nAsync policies\n{table(costs, to='pass-through decorator')}")
        print(f"\nAsync policies beside asyncio.timeout\n{table(costs, to='asyncio.timeout')}")
    assert len(costs) == len(variants)
