"""Many callers and many keys, with and without a server that answers: one load, no errors, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from creatormate_resilience.cache import DistributedCache
from servers import RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.server)])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[DistributedCache]:
    """A cache in memory, and one in Redis."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    async with DistributedCache(url, timeout=5.0) as made:
        yield made


async def test_a_thousand_callers_cause_one_load_whoever_gives_up(cache: DistributedCache) -> None:
    """The first caller is cancelled, 999 get the value, and no task is left."""
    started, go, loads = asyncio.Event(), asyncio.Event(), 0

    async def load() -> dict[str, Any]:
        nonlocal loads
        loads += 1
        started.set()
        await go.wait()
        return {"rows": [1, 2, 3]}

    tasks_before = len(asyncio.all_tasks())
    callers = [asyncio.create_task(cache.get_or_set("cold", load)) for _ in range(1000)]
    await started.wait()
    callers[0].cancel()
    await asyncio.sleep(0)
    go.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [{"rows": [1, 2, 3]}] * 999
    assert loads == 1
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= tasks_before
    assert cache.statistics().loads_under_way == 0


async def test_many_keys_leave_nothing_behind() -> None:
    """Memory, locks, tags, loads and timers are bounded, however many keys have come and gone."""
    tasks_before = len(asyncio.all_tasks())
    async with DistributedCache(max_items=500) as cache:

        async def use(number: int) -> None:
            await cache.get_or_set(f"k{number}", lambda: number, tags=[f"t{number}"])
            async with cache.lock(f"l{number}"):
                await cache.incr(f"n{number}")
            await cache.delete(f"k{number}")

        for first in range(0, 4000, 1000):
            await asyncio.gather(*(use(number) for number in range(first, first + 1000)))
        gc.collect()
        assert len(cache._parts.memory) <= 500
        assert len(cache._parts.memory._deleted) <= 500
        assert len(cache._parts.marks._known) <= 10_000
        assert cache._locks.here._held == {}
        assert (cache._loading.flights._flights, cache._loading.flights._refreshes) == ({}, {})
        assert len(asyncio.all_tasks()) == tasks_before


async def verbs(cache: DistributedCache, number: int) -> None:
    """What must never raise because of Redis."""
    key = f"k{number % 50}"
    await cache.get(key)
    await cache.set(key, {"n": number}, tags=["t"])
    assert await cache.get_or_set(f"cold{number}", lambda: number) == number
    await cache.get_many([key, "other"])
    await cache.lookup(key)
    await cache.touch(key)
    await cache.delete(key)
    await cache.invalidate_tag("t")


@pytest.mark.server
@pytest.mark.parametrize("fault", ["freeze", "kill"])
async def test_whatever_happens_to_redis_no_caller_sees_it(own_redis_server: RedisServer, fault: str) -> None:
    """A hundred callers of every verb while the server freezes or dies: no exception, and nobody waits for long."""
    async with DistributedCache(own_redis_server.url, timeout=0.2) as cache:
        await asyncio.gather(*(verbs(cache, number) for number in range(50)))
        getattr(own_redis_server, fault)()
        waits: list[float] = []

        async def one(number: int) -> None:
            began = time.monotonic()
            await cache.get(f"unknown{number}")
            waits.append(time.monotonic() - began)
            await verbs(cache, number)

        await asyncio.gather(*(one(number) for number in range(100)))
        assert cache.state.value == "degraded"
        assert max(waits) < 2.0  # the timeout is 0.2; a machine may stall
