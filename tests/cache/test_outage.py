"""Redis killed, frozen, refusing, coming back: what callers see meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from creatormate_resilience.cache import CacheCategory, CacheState, CacheStateChanged, DistributedCache
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import CacheUnavailableError
from creatormate_resilience.testing import FakeClock, FaultProxy
from servers import RedisServer

pytestmark = pytest.mark.anyio


async def test_redis_killed_in_the_middle_is_nothing_callers_notice(own_redis_server: RedisServer) -> None:
    """Reads, writes and loads go on in memory, `add` and `incr` say that they cannot, until Redis is back."""
    clock, events = FakeClock(), list[Event]()
    async with DistributedCache(own_redis_server.url, clock=clock, listeners=[events.append]) as cache:
        await cache.set("before", [1], ttl=600)
        own_redis_server.kill()

        clock.advance(60)  # past the time in which memory trusts itself
        assert await cache.get("before") == [1]
        assert cache.state is CacheState.DEGRADED
        await cache.set("during", 2)
        assert await cache.get("during") == 2
        assert await cache.get_or_set("loaded", lambda: 3) == 3
        assert await cache.get_many(["before", "during", "loaded", "none"]) == {"before": [1], "during": 2, "loaded": 3}
        assert await cache.touch("during", 100)
        assert await cache.delete("before")
        assert await cache.get("before") is None
        assert (await cache.lookup("during")).found
        with pytest.raises(CacheUnavailableError):
            await cache.add("k", 1)
        with pytest.raises(CacheUnavailableError):
            await cache.incr("n")
        health = await cache.health()
        assert (health.healthy, health.latency) == (False, None)
        assert health.last_error is not None

        own_redis_server.start()
        clock.advance(60)  # past the breaker's pause
        assert await cache.add("after", 1)
        assert cache.state is CacheState.CONNECTED
        assert (await cache.health()).healthy
        assert await cache.incr("n") == 1
        async with DistributedCache(own_redis_server.url) as other:
            assert await other.get("after") == 1
    changes = [(event.old.value, event.new.value) for event in events if isinstance(event, CacheStateChanged)]
    assert changes == [("degraded", "connected"), ("connected", "degraded"), ("degraded", "connected")]


async def test_a_frozen_redis_costs_one_timeout_and_then_nothing(own_redis_server: RedisServer) -> None:
    """Each call is bounded by the timeout; after three the breaker spares callers even that."""
    async with DistributedCache(own_redis_server.url, timeout=0.1) as cache:
        await cache.set("k", 1)
        own_redis_server.freeze()
        started = time.monotonic()
        for number in range(3):
            assert await cache.get(f"cold{number}") is None
        refused = [cache.get(f"cold{number}") for number in range(300)]
        assert await asyncio.gather(*refused) == [None] * 300
        assert (
            time.monotonic() - started < 2.0
        )  # three timeouts and up to a few probes, generously; unbounded would hang
        assert cache.statistics().redis_errors >= 3
        assert await cache.get_or_set("loaded", lambda: 3) == 3
        own_redis_server.resume()


async def test_a_given_client_with_long_timeouts_is_bounded_all_the_same(own_redis_server: RedisServer) -> None:
    """The deadline is the cache's own: a client that would wait five seconds and retry ten times does not."""
    async with Redis.from_url(own_redis_server.url) as client, DistributedCache(client=client, timeout=0.1) as cache:
        await cache.set("k", 1)
        own_redis_server.freeze()
        started = time.monotonic()
        assert await cache.get("cold", "miss") == "miss"
        assert time.monotonic() - started < 3.0
        own_redis_server.resume()


async def test_a_thousand_callers_of_a_frozen_redis_are_bounded_together(own_redis_server: RedisServer) -> None:
    """The wait for a connection and for the answer share one deadline, however many wait."""
    async with DistributedCache(own_redis_server.url, timeout=0.2) as cache:
        own_redis_server.freeze()
        slowest = 0.0

        async def call(number: int) -> None:
            nonlocal slowest
            started = time.monotonic()
            assert await cache.get(f"k{number}", "miss") == "miss"
            slowest = max(slowest, time.monotonic() - started)

        await asyncio.gather(*(call(number) for number in range(1000)))
        assert slowest < 2.0  # one timeout of 0.2 s; ten waves of 50 connections would take four seconds
        own_redis_server.resume()


async def test_a_cache_starts_while_redis_is_away(own_redis_server: RedisServer) -> None:
    """A service must be able to start; the cache joins when Redis comes."""
    own_redis_server.kill()
    clock = FakeClock()
    async with DistributedCache(own_redis_server.url, clock=clock) as cache:
        assert cache.state is CacheState.DEGRADED
        await cache.set("k", 1)
        own_redis_server.start()
        clock.advance(60)
        assert (await cache.health()).healthy
        assert cache.state is CacheState.CONNECTED


async def test_redis_back_with_its_old_data_never_beats_what_memory_knows_is_newer(
    own_redis_server: RedisServer,
) -> None:
    """This process's own writes and deletes of the outage win over Redis' older values while memory remembers them."""
    clock = FakeClock()
    async with DistributedCache(own_redis_server.url, clock=clock) as cache:
        await cache.set_many({"deleted": 1, "changed": 1}, ttl=1000)
        own_redis_server.kill()
        await cache.delete("deleted")
        await cache.set("changed", 2, ttl=1000)
        own_redis_server.start()
        clock.advance(35)  # Redis is asked again for both
        assert await cache.get_many(["deleted", "changed"]) == {"changed": 2}
        assert cache.state is CacheState.CONNECTED


async def test_a_stale_value_is_served_while_redis_is_away(own_redis_server: RedisServer) -> None:
    """Within grace `get` bridges the outage; a failing loader's old value stands in whatever failed."""
    clock = FakeClock()

    async def bug() -> Any:
        raise ValueError("the loader needs Redis too")

    categories = {"c": CacheCategory(ttl=10, grace=50, jitter=0)}
    async with DistributedCache(own_redis_server.url, clock=clock, categories=categories) as cache:
        await cache.set("k", "old", category="c")
        own_redis_server.kill()
        clock.advance(20)
        assert await cache.get("k") == "old"
        assert (await cache.lookup("k")).stale
        assert await cache.get_or_set("k", bug, category="c") == "old"
        clock.advance(50)
        assert await cache.get("k") is None


@pytest.mark.parametrize("setting", ["maxmemory", "replica"])
async def test_a_redis_that_refuses_writes_is_nothing_callers_notice(
    own_redis_server: RedisServer, setting: str
) -> None:
    """Out of memory, or a read-only replica after a failover: values live in memory."""
    async with Redis.from_url(own_redis_server.url) as admin, DistributedCache(own_redis_server.url) as cache:
        if setting == "maxmemory":
            await admin.config_set("maxmemory", "1")
        else:
            await admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        await cache.set("k", 1)
        assert await cache.get("k") == 1
        assert cache.state is CacheState.DEGRADED
        with pytest.raises(CacheUnavailableError):
            await cache.add("l", 1)


async def test_a_slow_redis_is_cut_off_at_the_timeout(redis_url: str, redis_proxy: FaultProxy) -> None:
    """An answer that comes too late counts as none, and does not reach a later caller."""
    async with DistributedCache(redis_proxy.url_for(redis_url), timeout=0.15) as cache:
        await cache.set_many({"a": "A", "b": "B"})
        async with DistributedCache(redis_proxy.url_for(redis_url), timeout=0.15) as other:
            redis_proxy.latency(0.5)
            assert await other.get("a") is None
            redis_proxy.heal()
            assert await other.get("b") == "B"
            assert await other.get("a") == "A"
