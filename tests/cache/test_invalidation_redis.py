"""Invalidation as other processes see it: through a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio

from creatormate_resilience.cache import CacheCategory, DistributedCache

pytestmark = [pytest.mark.anyio, pytest.mark.server]

CATEGORIES = {"short": CacheCategory(ttl=600, l1_ttl=0.001), "long": CacheCategory(ttl=600)}


@pytest.fixture
async def caches(redis_url: str) -> AsyncIterator[list[DistributedCache]]:
    """Two nodes that ask Redis for marks with every read."""
    nodes = [DistributedCache(redis_url, categories=CATEGORIES, timeout=2.0, invalidation_lag=0.0) for _ in range(2)]
    for node in nodes:
        await node.start()
    yield nodes
    for node in nodes:
        await node.aclose()


@pytest.fixture
async def server(redis_url: str) -> AsyncIterator[Any]:
    """The server as it is."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield client


@pytest.mark.parametrize("what", ["tag", "category", "everything"])
async def test_the_others_see_it_when_they_ask(caches: list[DistributedCache], what: str) -> None:
    """At their next read from Redis, and for what they never held at once."""
    one, other = caches
    await one.set_many({"a": 1, "b": 2}, category="short", tags=["t"])
    assert await other.get("a") == 1
    await asyncio.sleep(0.002)  # its time in memory is over
    await {
        "tag": lambda: one.invalidate_tag("t"),
        "category": lambda: one.invalidate_category("short"),
        "everything": one.clear,
    }[what]()
    assert await other.get_many(["a", "b"]) == {}
    await other.set("a", 3, category="short", tags=["t"])
    await asyncio.sleep(0.002)
    assert await one.get("a") == 3


async def test_what_memory_may_answer_alone_is_not_asked_for(caches: list[DistributedCache]) -> None:
    """As with a delete elsewhere: until `l1_ttl` is over memory does not know."""
    one, other = caches
    await one.set("a", 1, category="long", tags=["t"])
    assert await other.get("a") == 1
    await one.invalidate_tag("t")
    assert await other.get("a") == 1


async def test_numbers_and_additions_of_the_others_notice_it(caches: list[DistributedCache]) -> None:
    """The server still has the old value, and it counts as none."""
    one, other = caches
    assert await one.incr("n", 5) == 5
    await one.set("a", 1)
    await other.clear()
    assert await one.incr("n") == 1
    assert await one.add("a", 2)
    assert await other.incr("n") == 2
    assert not await other.add("a", 3)


async def test_a_tagged_number_can_be_counted(caches: list[DistributedCache]) -> None:
    """Its tags stand before the digits, and survive."""
    one, other = caches
    await one.set("n", 41, tags=["t", "u"])
    assert await other.incr("n") == 42
    assert await other.get("n") == 42
    await other.invalidate_tag("u")
    assert await other.get("n") is None


async def test_clear_leaves_the_rest_of_the_server_alone(
    caches: list[DistributedCache], server: Any, redis_url: str
) -> None:
    """Other applications, other namespaces, other versions; nothing is scanned or flushed."""
    one, _ = caches
    await server.set("theirs", "x")
    async with DistributedCache(redis_url, namespace="next", timeout=2.0) as neighbour:
        await neighbour.set("a", 1)
        await one.set("a", 2)
        await one.clear()
        assert await neighbour.get("a") == 1
    assert await server.get("theirs") == b"x"
    scans = (await server.info("commandstats")).keys() & {"cmdstat_keys", "cmdstat_scan", "cmdstat_flushdb"}
    assert not scans


@pytest.mark.parametrize("lost", ["app:v1:~tag:t", "app:v1:~all"])
async def test_a_mark_that_the_server_evicted_brings_nothing_back(
    caches: list[DistributedCache], server: Any, lost: str
) -> None:
    """A tag without its mark invalidates; the mark of everything is still known to who has seen it."""
    one, other = caches
    await one.set("a", 1, tags=["t"])
    assert await other.get("a") == 1
    await (one.invalidate_tag("t") if "tag" in lost else one.clear())
    await other.get("other")
    await server.delete(lost)
    assert await one.get("a") is None
    if "tag" in lost:
        async with DistributedCache(client=server) as third:
            assert await third.get("a") is None


async def test_the_mark_of_a_tag_lives_as_long_as_what_has_it(caches: list[DistributedCache], server: Any) -> None:
    """And no longer: tags leave nothing behind."""
    one, _ = caches
    await one.set("a", 1, ttl=100, tags=["t"])
    assert 99_000 < await server.pttl("app:v1:~tag:t") <= 100_000
    await one.set("b", 1, ttl=50, tags=["t"])
    assert 99_000 < await server.pttl("app:v1:~tag:t") <= 100_000
    await one.touch("a", ttl=500)
    assert 490_000 < await server.pttl("app:v1:~tag:t") <= 500_000
    await one.invalidate_tag("never-used")
    assert await server.pttl("app:v1:~tag:never-used") <= 60_000


async def test_what_was_invalidated_while_redis_was_away_stays_so_here(
    redis_url: str, server: Any, caches: list[DistributedCache]
) -> None:
    """The process that did it remembers; the others are told nothing yet, see the page on outages."""
    one, _ = caches
    await one.set("a", 1, category="short", tags=["t"])
    store, one._parts.store = one._parts.store, None
    await one.invalidate_tag("t")
    one._parts.store = store
    assert await one.get("a") is None
