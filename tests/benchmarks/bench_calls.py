"""What one call costs that goes through a policy and succeeds, beside a decorator that only passes its arguments on.

Run with `nox -s benchmarks -- -s` to see the tables. Figures are ratios within one run; nothing here asserts a time.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from tests.benchmarks.interleaved import measure, table

from creatormate_resilience.breaker import CircuitBreaker, CircuitBreakerConfig, CountWindow
from creatormate_resilience.cache import CacheCategory, DistributedCache
from creatormate_resilience.policies import Bulkhead, Pipeline, Retry, Timeout


def pass_through(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def apass_through(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await fn(*args, **kwargs)

    return wrapper


def work() -> int:
    return 1


async def awork() -> int:
    return 1


def loop(fn: Callable[[], object]) -> Callable[[int], None]:
    def run(calls: int) -> None:
        for _ in range(calls):
            fn()

    return run


def aloop(runner: asyncio.Runner, fn: Callable[[], Any]) -> Callable[[int], None]:
    async def run(calls: int) -> None:
        for _ in range(calls):
            await fn()

    return lambda calls: runner.run(run(calls))


def breaker(window: Any = None) -> CircuitBreaker:
    config = CircuitBreakerConfig() if window is None else CircuitBreakerConfig(window=window)
    return CircuitBreaker("benchmark", config)


def test_sync_calls():
    """Sync: breaker with both windows, retry."""
    costs = measure(
        {
            "bare": loop(work),
            "pass-through decorator": loop(pass_through(work)),
            "breaker, count window": loop(breaker(CountWindow(100))(work)),
            "breaker, time window (default)": loop(breaker()(work)),
            "retry": loop(Retry(3)(work)),
        }
    )
    print("\n" + table(costs, to="pass-through decorator"))


def test_async_calls():
    """Async: breaker, retry, a whole pipeline, a hit in the cache's memory."""

    async def asyncio_timeout() -> int:
        async with asyncio.timeout(10):
            return await awork()

    pipeline = Pipeline("benchmark", Timeout(10), Retry(3), breaker(), Bulkhead(10))
    cache = DistributedCache(categories={"plain": CacheCategory(ttl=3600)})
    with asyncio.Runner() as runner:
        runner.run(cache.start())
        runner.run(cache.set("key", "value", category="plain"))
        costs = measure(
            {
                "bare": aloop(runner, awork),
                "pass-through decorator": aloop(runner, apass_through(awork)),
                "asyncio.timeout": aloop(runner, asyncio_timeout),
                "breaker, count window": aloop(runner, breaker(CountWindow(100))(awork)),
                "breaker, time window (default)": aloop(runner, breaker()(awork)),
                "retry": aloop(runner, Retry(3)(awork)),
                "timeout, retry, breaker, bulkhead": aloop(runner, pipeline(awork)),
                "cache.get, in memory": aloop(runner, functools.partial(cache.get, "key")),
            },
            calls=5_000,
        )
        runner.run(cache.aclose())
    print("\n" + table(costs, to="pass-through decorator"))
