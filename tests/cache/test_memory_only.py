"""The cache without Redis: every verb, categories, isolation, expiry, bad input."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pydantic
import pytest

from creatormate_resilience.cache import CacheCategory, CacheConfig, CacheState, DistributedCache
from creatormate_resilience.exceptions import CacheSerializationError, ConfigurationError, ShuttingDownError
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def cache(clock: FakeClock):
    async with DistributedCache(clock=clock, categories={"graced": CacheCategory(ttl=10, grace=20, jitter=0)}) as made:
        yield made


@pytest.mark.parametrize("value", [None, False, 0, "", b"", [], {}])
async def test_falsy_values_are_values(cache: DistributedCache, value: Any) -> None:
    """None, False, 0 and empty things are stored and found, and told from a miss."""
    await cache.set("k", value)
    assert await cache.get("k", "missing") == value
    assert type(await cache.get("k", "missing")) is type(value)
    assert await cache.exists("k")
    assert (await cache.lookup("k")).found
    assert await cache.get("other", "missing") == "missing"


async def test_a_value_lives_as_long_as_asked(cache: DistributedCache, clock: FakeClock) -> None:
    """A time to live given with the call is taken literally."""
    await cache.set("k", 1, ttl=10)
    clock.advance(9.9)
    assert await cache.get("k") == 1
    clock.advance(0.2)
    assert await cache.get("k") is None


async def test_a_category_is_found_by_its_key_alone(cache: DistributedCache, clock: FakeClock) -> None:
    """`get` needs no category to find what `set` stored with one, and the category's time to live counts."""
    await cache.set("k", "v", category="analytics")
    clock.advance(500)
    assert await cache.get("k") == "v"
    clock.advance(101)
    assert await cache.get("k") is None


async def test_jitter_only_shortens_lives() -> None:
    """Values stored together expire one after another, none later than its category says."""
    clock = FakeClock()
    async with DistributedCache(clock=clock, categories={"c": CacheCategory(ttl=100, jitter=0.5)}) as cache:
        keys = [f"k{number}" for number in range(200)]
        await cache.set_many(dict.fromkeys(keys, 1), category="c")
        clock.advance(75)
        assert 0 < len(await cache.get_many(keys)) < 200
        clock.advance(25)
        assert await cache.get_many(keys) == {}


async def test_the_guides_mapping_of_seconds_is_accepted(clock: FakeClock) -> None:
    """`CACHE_TTLS` is taken as it stands; a mapping of fields too; the shipped categories stay."""
    ttls = {"agent_response": 5, "mine": {"ttl": 7, "grace": 1, "jitter": 0}}
    async with DistributedCache(clock=clock, categories=ttls) as cache:
        await cache.set("a", 1, category="agent_response")
        await cache.set("b", 1, category="mine")
        await cache.set("c", 1, category="youtube_api")
        clock.advance(6)
        assert await cache.get_many(["a", "b", "c"]) == {"b": 1, "c": 1}


async def test_an_unknown_category_is_an_error_that_lists_the_known(cache: DistributedCache) -> None:
    """A typing mistake does not silently get the default time to live."""
    with pytest.raises(
        ConfigurationError, match=r"'analytic'.*agent_response, analytics, graced, user_context, youtube_api"
    ):
        await cache.set("k", 1, category="analytic")
    async with DistributedCache(accept_any_category=True) as lenient:
        await lenient.set("k", 1, category="analytic")
        assert await lenient.get("k") == 1


async def test_what_a_reader_does_to_a_value_no_other_reader_sees(cache: DistributedCache) -> None:
    """Values are isolated: from their writer, from readers, and from those who share a load."""
    original = {"items": [1]}
    await cache.set("k", original)
    original["items"].append(2)
    (await cache.get("k"))["items"].append(3)
    (await cache.lookup("k")).value["items"].append(4)
    cache.peek("k")["items"].append(5)
    assert await cache.get("k") == {"items": [1]}

    async def load() -> list[int]:
        await asyncio.sleep(0)
        return [1]

    first, second = await asyncio.gather(cache.get_or_set("l", load), cache.get_or_set("l", load))
    first.append(2)
    assert second == [1] == await cache.get("l")


async def test_without_isolation_all_readers_share_one_object() -> None:
    """Who promises not to write gets the object itself, without a copy."""
    async with DistributedCache(categories={"shared": CacheCategory(ttl=9, isolation="none")}) as cache:
        value = {"items": [1]}
        await cache.set("k", value, category="shared")
        assert await cache.get("k") is value


async def test_typed_values_come_back_as_models() -> None:
    """A category's type decides what is read, whoever wrote it."""

    class User(pydantic.BaseModel):
        name: str

    async with DistributedCache(categories={"user": CacheCategory(ttl=9, type=User)}) as cache:
        await cache.set("k", User(name="Ada"), category="user")
        assert await cache.get("k") == User(name="Ada")
        with pytest.raises(CacheSerializationError, match="user"):
            await cache.set("k", {"name": "Ada"}, category="user")


async def test_many_keys_at_once(cache: DistributedCache) -> None:
    """The verbs for many keys do what the single ones do; misses are left out."""
    await cache.set_many({"a": 1, "b": None})
    assert await cache.get_many(["a", "b", "c"]) == {"a": 1, "b": None}
    assert await cache.delete_many(["a", "c"]) == 1
    assert await cache.get_many(["a", "b"]) == {"b": None}


async def test_nothing_is_stored_where_one_of_many_cannot_be(cache: DistributedCache) -> None:
    """All values are checked before any is written."""
    with pytest.raises(CacheSerializationError, match="object"):
        await cache.set_many({"a": 1, "b": object()})
    assert not await cache.exists("a")


async def test_add_stores_only_where_nothing_is(cache: DistributedCache, clock: FakeClock) -> None:
    """The second `add` loses, until the first value is gone."""
    assert await cache.add("k", 1, ttl=5)
    assert not await cache.add("k", 2)
    assert await cache.get("k") == 1
    clock.advance(6)
    assert await cache.add("k", 2)


async def test_incr_counts_and_keeps_the_life_of_the_number(cache: DistributedCache, clock: FakeClock) -> None:
    """A number begins with the first addition, which also sets when it ends."""
    assert await cache.incr("n", ttl=10) == 1
    clock.advance(6)
    assert await cache.incr("n", 4, ttl=10) == 5
    assert await cache.get("n") == 5
    clock.advance(5)
    assert await cache.incr("n", -2) == -2


async def test_incr_refuses_what_is_no_integer_and_sums_out_of_range(cache: DistributedCache) -> None:
    """Neither a text nor a sum beyond exact counting is answered with something wrong."""
    await cache.set("t", "text")
    with pytest.raises(TypeError, match="'t' is not an integer"):
        await cache.incr("t")
    await cache.set("n", 2**53)
    with pytest.raises(OverflowError, match="'n'"):
        await cache.incr("n")
    assert await cache.get("n") == 2**53


async def test_touch_prolongs_a_life(cache: DistributedCache, clock: FakeClock) -> None:
    """From now on, by its category or as given; what is not there cannot be touched."""
    await cache.set("k", [1], ttl=5)
    clock.advance(4)
    assert await cache.touch("k", 5)
    clock.advance(4)
    assert await cache.get("k") == [1]
    clock.advance(2)
    assert not await cache.touch("k", 5)


async def test_delete_tells_whether_there_was_a_value(cache: DistributedCache) -> None:
    """True for a value, False for nothing."""
    await cache.set("k", None)
    assert await cache.delete("k")
    assert not await cache.delete("k")
    assert await cache.get("k", "missing") == "missing"


async def test_peek_answers_without_waiting(cache: DistributedCache) -> None:
    """A synchronous look into memory, for hot paths."""
    assert cache.peek("k", "missing") == "missing"
    await cache.set("k", 1)
    assert cache.peek("k") == 1


async def test_get_hides_stale_values_and_lookup_shows_them(cache: DistributedCache, clock: FakeClock) -> None:
    """Within grace a value is only for who asks for it; past grace it is gone."""
    await cache.set("k", "old", category="graced")
    clock.advance(12)
    assert await cache.get("k") is None
    seen = await cache.lookup("k")
    assert (seen.value, seen.found, seen.stale, seen.source) == ("old", True, True, "memory")
    assert seen.age == pytest.approx(12)
    clock.advance(20)
    assert not (await cache.lookup("k")).found


@pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf, 1e12])
async def test_a_time_to_live_out_of_range_is_refused(cache: DistributedCache, ttl: float) -> None:
    """Nothing is stored forever, for no time, or for a negative one."""
    for call in (
        cache.set("k", 1, ttl),
        cache.add("k", 1, ttl),
        cache.touch("k", ttl),
        cache.get_or_set("k", int, ttl=ttl),
    ):
        with pytest.raises(ValueError, match="ttl is"):
            await call


@pytest.mark.parametrize("ttl", ["5", True, [5]])
async def test_a_time_to_live_that_is_no_number_is_refused(cache: DistributedCache, ttl: Any) -> None:
    """True is not one second."""
    with pytest.raises(TypeError, match="ttl is"):
        await cache.set("k", 1, ttl)


@pytest.mark.parametrize("key", ["", "x" * 100_000])
async def test_bad_keys_are_refused_by_every_verb(cache: DistributedCache, key: str) -> None:
    """Empty and huge keys are errors, not misses."""
    reads = (cache.get(key), cache.lookup(key), cache.get_or_set(key, int))
    for call in (*reads, cache.set(key, 1), cache.delete(key), cache.incr(key)):
        with pytest.raises(ValueError, match="key has"):
            await call
    with pytest.raises(ValueError, match="key has"):
        cache.peek(key)


@pytest.mark.parametrize(
    "options",
    [{"namespace": ""}, {"version": 0}, {"max_items": -1}, {"max_bytes": 0}, {"timeout": 0}, {"default_ttl": math.inf},
     {"categories": {"c": -1}}, {"categories": {"c": {"tll": 3}}}, {"categories": {"": 3}}, {"url": "http://h"},
     {"categories": {"c": {"ttl": 3, "jitter": 2}}}, {"categories": {"c": {"ttl": 3, "isolation": "maybe"}}}],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused_at_construction(options: dict[str, Any]) -> None:
    """The message names what is wrong."""
    with pytest.raises(ConfigurationError):
        DistributedCache(**options)


def test_an_unknown_option_is_refused() -> None:
    """A mistyped keyword does not go unnoticed."""
    with pytest.raises(TypeError, match="max_item"):
        DistributedCache(max_item=3)  # type: ignore[call-arg]


async def test_options_override_the_config_object() -> None:
    """Keywords and the object are the same settings; the keyword wins."""
    cache = DistributedCache(config=CacheConfig(max_items=5, max_bytes=10**6), max_items=2)
    await cache.set_many({"a": 1, "b": 2, "c": 3})
    assert cache.statistics().memory_items == 2
    await cache.aclose()


async def test_statistics_count_what_happened(cache: DistributedCache) -> None:
    """Hits, misses, loads, writes and deletes, in one snapshot."""
    await cache.set("a", 1)
    await cache.get("a")
    await cache.get("b")
    await cache.get_or_set("c", lambda: 3)
    await cache.get_or_set("c", lambda: 4)
    await cache.delete("a")
    seen = cache.statistics()
    assert (seen.memory_hits, seen.misses, seen.loads, seen.writes, seen.deletes) == (2, 2, 1, 2, 1)
    assert seen.hit_rate == 0.5
    assert seen.state is CacheState.MEMORY_ONLY
    assert "memory_only: 1 in memory, 50% hits" in repr(cache)


async def test_health_without_redis_is_healthy(cache: DistributedCache) -> None:
    """What was not configured is not missing."""
    seen = await cache.health()
    assert (seen.state, seen.latency, seen.healthy) == (CacheState.MEMORY_ONLY, None, True)


async def test_a_closed_cache_says_so() -> None:
    """Using it after `aclose` is a clear error; closing twice is not."""
    cache = DistributedCache()
    await cache.set("k", 1)
    await cache.aclose()
    await cache.aclose()
    with pytest.raises(ShuttingDownError, match="closed"):
        await cache.get("k")


def test_another_event_loop_gets_a_clear_error() -> None:
    """A cache belongs to the loop that first used it; only what memory holds is there for all."""
    cache = DistributedCache()
    asyncio.run(cache.set("k", 1))
    assert asyncio.run(cache.get("k")) == 1
    for use in (cache.get("other"), cache.set("k", 2), cache.get_or_set("other", int)):
        with pytest.raises(ConfigurationError, match="another event loop"):
            asyncio.run(use)
