"""The cache with a real Redis: sharing between caches and processes, versions, damaged bytes, many callers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from creatormate_resilience.cache import CacheCategory, CacheState, DistributedCache, EntryRejected
from creatormate_resilience.cache._version import VersionClock
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio

GRACED = {"graced": CacheCategory(ttl=1, grace=60, jitter=0)}


@pytest.fixture
async def redis(redis_url: str):
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def cache(redis_url: str):
    async with DistributedCache(redis_url, timeout=5) as made:  # what is tested here is no timeout
        yield made


@pytest.fixture
async def other(redis_url: str):
    """A second cache on the same Redis, as another process would have."""
    async with DistributedCache(redis_url, timeout=5) as made:  # what is tested here is no timeout
        yield made


async def test_caches_share_values_through_redis(cache: DistributedCache, other: DistributedCache) -> None:
    """What one writes the other reads, with its category, in type and value."""
    await cache.set("k", {"a": (1, {2})}, category="analytics")
    assert await other.get("k") == {"a": (1, {2})}
    seen = await other.lookup("k")
    assert (seen.source, seen.stale) == ("memory", False)
    assert other.statistics().redis_hits == 1
    assert (cache.state, other.state) == (CacheState.CONNECTED, CacheState.CONNECTED)


async def test_processes_share_values_through_redis(cache: DistributedCache, redis_url: str) -> None:
    """A value written by another process, of a type Redis does not know, is read here, and the other way round."""
    program = (
        "import asyncio, sys\n"
        "from decimal import Decimal\n"
        "from creatormate_resilience.cache import DistributedCache\n"
        "async def main():\n"
        "    async with DistributedCache(sys.argv[1]) as cache:\n"
        "        assert await cache.get('ours') == {1: Decimal('1.10')}\n"
        "        await cache.set('theirs', (await cache.incr('count'), None))\n"
        "asyncio.run(main())\n"
    )
    await cache.set("ours", {1: __import__("decimal").Decimal("1.10")})
    assert await cache.incr("count") == 1
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, redis_url)
    assert await child.wait() == 0
    assert await cache.get("theirs") == (2, None)


async def test_every_verb_works_through_redis(cache: DistributedCache, other: DistributedCache) -> None:
    """Each verb sees what the other cache did."""
    await cache.set_many({"a": 1, "b": [2]})
    assert await other.get_many(["a", "b", "c"]) == {"a": 1, "b": [2]}
    assert await other.exists("a")
    assert not await other.add("a", 5)
    assert await other.add("c", 5)
    assert await cache.incr("c") == 6
    assert await other.incr("c", -10) == -4
    assert await cache.get("c") == -4
    assert await cache.touch("a", 100)
    assert not await cache.touch("nothing", 100)
    assert await cache.delete_many(["a", "b", "nothing"]) == 2
    assert await cache.get_many(["a", "b"]) == {}


async def test_expiry_stands_in_redis(cache: DistributedCache, redis: Redis) -> None:
    """Redis forgets by itself: time to live for a value, life and grace together, and a short time for a deletion."""
    await cache.set("k", 1, ttl=100)
    assert 99_000 < await redis.pttl("app:v1:k") <= 100_000
    await cache.touch("k", 500)
    assert 499_000 < await redis.pttl("app:v1:k") <= 500_000
    await cache.incr("k", 4, ttl=7)
    assert 498_000 < await redis.pttl("app:v1:k") <= 500_000
    await cache.delete("k")
    assert 59_000 < await redis.pttl("app:v1:k") <= 60_000


async def test_memory_asks_redis_again_after_its_own_shorter_time(redis_url: str, other: DistributedCache) -> None:
    """Another process's write is seen at the latest when memory's time to trust itself is over."""
    clock = FakeClock()
    async with DistributedCache(redis_url, clock=clock, timeout=5) as cache:
        await cache.set("k", "old", ttl=1000)
        await other.set("k", "new", ttl=1000)
        clock.advance(29)
        assert await cache.get("k") == "old"
        clock.advance(2)
        assert await cache.get("k") == "new"


async def test_a_delete_elsewhere_during_a_load_is_not_undone(cache: DistributedCache, other: DistributedCache) -> None:
    """The load began before the other process's delete, so its result stays out of Redis and of memory."""
    started, go = asyncio.Event(), asyncio.Event()

    async def load() -> str:
        started.set()
        await go.wait()
        return "old"

    loading = asyncio.create_task(cache.get_or_set("k", load))
    await started.wait()
    await other.delete("k")
    go.set()
    assert await loading == "old"
    assert await cache.get("k") is None
    assert await other.get("k") is None


async def test_a_write_elsewhere_during_a_load_wins(cache: DistributedCache, other: DistributedCache) -> None:
    """Redis keeps the newer value, and so does every reader."""

    async def load() -> str:
        await other.set("k", "new")
        return "old"

    assert await cache.get_or_set("k", load) == "old"
    assert [await cache.get("k"), await other.get("k")] == ["new", "new"]


async def test_a_write_wins_over_the_clock_of_a_node_that_is_ahead(
    cache: DistributedCache, other: DistributedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a caller writes last is what counts, although an earlier writer's clock runs ahead."""
    monkeypatch.setattr(other._parts, "versions", VersionClock(lambda: time.time() + 30))
    await other.set("k", "first")
    await cache.set("k", "second")
    assert await other._parts.store.get("app:v1:k") == await cache._parts.store.get("app:v1:k")
    async with DistributedCache(client=cache._parts.store._client) as third:
        assert await third.get("k") == "second"
    await other.set("k", "third")
    assert await cache.delete("k")
    assert await other.delete("k") is False


@pytest.mark.parametrize(
    "damage",
    [b"", b"foreign", b"cm", b"cm\x01" + b"\xff" * 60, b"cm\x02" + b"\x00" * 60],
    ids=["empty", "foreign", "cut", "future", "format"],
)
async def test_bytes_that_are_no_entry_are_a_counted_miss(redis_url: str, redis: Redis, damage: bytes) -> None:
    """They raise nothing, are told to listeners, and are replaced by the next write."""
    events: list[Event] = []
    async with DistributedCache(redis_url, listeners=[events.append]) as cache:
        await redis.set("app:v1:k", damage)
        assert await cache.get("k", "miss") == "miss"
        assert cache.statistics().rejected == 1
        assert [(event.key, event.source) for event in events if isinstance(event, EntryRejected)] == [("k", "cache")]
        assert await cache.get_or_set("k", lambda: 5) == 5
    async with DistributedCache(redis_url, timeout=5) as fresh:
        assert await fresh.get("k") == 5


async def test_a_damaged_body_is_a_counted_miss(cache: DistributedCache, other: DistributedCache, redis: Redis) -> None:
    """A flipped bit in a value is noticed."""
    await cache.set("k", "a text")
    await redis.setrange("app:v1:k", 45, b"\x00")
    assert await other.get("k") is None
    assert other.statistics().rejected == 1


async def test_a_key_of_another_redis_type_is_a_miss_and_no_outage(cache: DistributedCache, redis: Redis) -> None:
    """A list under our key is foreign; it does not open the breaker, and a write replaces it."""
    await redis.rpush("app:v1:k", "x")
    await redis.rpush("app:v1:l", "x")
    for _ in range(5):
        assert await cache.get("k") is None
        assert await cache.get_many(["k", "l"]) == {}
    assert cache.state is CacheState.CONNECTED
    await cache.set("k", 1)
    assert await cache.incr("l") == 1
    assert await cache.get_many(["k", "l"]) == {"k": 1, "l": 1}


async def test_a_thousand_callers_of_a_cold_key_cause_one_load_and_one_read(cache: DistributedCache) -> None:
    """The wait for Redis is shared like the load is."""
    calls: list[int] = []

    async def load() -> list[int]:
        calls.append(1)
        await asyncio.sleep(0.02)
        return [1]

    assert await asyncio.gather(*(cache.get_or_set("k", load) for _ in range(1000))) == [[1]] * 1000
    assert len(calls) == 1
    assert cache.statistics().redis_errors == 0


async def test_a_thousand_tasks_with_their_own_keys_share_the_pool(cache: DistributedCache, redis_url: str) -> None:
    """More callers than connections is no error."""
    await cache.set_many({f"k{number}": number for number in range(1000)})
    async with DistributedCache(redis_url, timeout=5) as fresh:
        assert await asyncio.gather(*(fresh.get(f"k{number}") for number in range(1000))) == list(range(1000))
        assert fresh.statistics().redis_errors == 0


async def test_a_cancelled_read_leaves_no_answer_for_somebody_else(
    cache: DistributedCache, other: DistributedCache
) -> None:
    """After many cancellations in the middle of reading, every key still answers with its own value."""
    await cache.set_many({f"k{number}": number for number in range(100)})
    for number in range(100):
        reader = asyncio.create_task(other.get(f"k{number}"))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader
    assert await other.get_many(f"k{number}" for number in range(100)) == {
        f"k{number}": number for number in range(100)
    }


async def test_stale_values_stand_in_redis_for_those_who_ask(redis_url: str) -> None:
    """The old value outlives its time to live in Redis by its grace, for `lookup` and for failing loaders."""
    async with DistributedCache(redis_url, categories=GRACED) as cache:
        await cache.set("k", "old", ttl=0.02, category="graced")
    await asyncio.sleep(0.03)  # Redis' own clock has to pass

    async def fail() -> Any:
        raise TimeoutError

    async with DistributedCache(redis_url, categories=GRACED) as fresh:
        assert await fresh.get("k") is None
        seen = await fresh.lookup("k")
        assert (seen.value, seen.stale) == ("old", True)
        assert await fresh.get_or_set("k", fail, category="graced") == "old"
        assert await fresh.add("k", "new")


async def test_namespaces_and_versions_do_not_see_each_other(redis_url: str, cache: DistributedCache) -> None:
    """Another application, or another version of the data, has other keys."""
    await cache.set("k", 1)
    for options in ({"namespace": "other"}, {"version": 2}):
        async with DistributedCache(redis_url, **options) as stranger:
            assert await stranger.get("k") is None


async def test_a_given_client_is_used_and_left_open(redis: Redis) -> None:
    """Who brings a client closes it."""
    async with DistributedCache(client=redis) as cache:
        await cache.set("k", 1)
    assert await redis.exists("app:v1:k") == 1


async def test_a_client_that_decodes_is_refused(redis_url: str) -> None:
    """The cache stores bytes; a client that answers in text would break them."""
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        with pytest.raises(ConfigurationError, match="decode_responses"):
            DistributedCache(client=client)


def test_a_url_and_a_client_together_are_refused(redis_url: str) -> None:
    """Which of the two should count?"""
    with pytest.raises(ConfigurationError, match="not both"):
        DistributedCache(redis_url, client=Redis.from_url(redis_url))


async def test_no_password_is_shown(redis_url: str) -> None:
    """Neither the cache nor its errors show what the URL holds."""
    url = redis_url.replace("redis://", "redis://user:hunter2@")
    async with DistributedCache(url) as cache:
        seen = await cache.health()
        assert not seen.healthy
        assert "hunter2" not in f"{cache!r} {seen!r} {cache.statistics()!r}"


async def test_an_open_cache_warns_when_it_is_forgotten(redis_url: str) -> None:
    """A cache that was used and not closed says so."""
    cache = DistributedCache(redis_url)
    await cache.set("k", 1)
    with pytest.warns(ResourceWarning, match="aclose"):
        cache.__del__()
    await cache.aclose()
