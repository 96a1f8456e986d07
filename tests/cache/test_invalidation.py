"""Tags, categories and `clear`: everything older is gone at once, in every process, and stays gone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from creatormate_resilience.cache import CacheCategory, DistributedCache
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


@dataclass
class User:
    """What a function says that it returns."""

    number: int


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.server)])
async def cache(request: pytest.FixtureRequest):
    """A cache in memory, and one in Redis."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    async with DistributedCache(url, timeout=2.0, accept_any_category=True) as made:
        yield made


async def test_a_tag_takes_all_that_have_it_and_nothing_else(cache: DistributedCache) -> None:
    """One call, whatever the keys are; what is written afterwards counts again."""
    await cache.set("a", 1, tags=["team:1", "reports"])
    await cache.set_many({"b": 2, "c": 3}, tags=["team:2"])
    await cache.set("d", 4)
    await cache.invalidate_tag("team:1", "unknown")
    assert await cache.get_many(list("abcd")) == {"b": 2, "c": 3, "d": 4}
    await cache.set("a", 5, tags=["team:1"])
    assert await cache.get("a") == 5
    await cache.invalidate_tag("team:2", "reports")
    assert await cache.get_many(list("abcd")) == {"a": 5, "d": 4}


async def test_a_category_goes_as_a_whole(cache: DistributedCache) -> None:
    """Also what a function has stored in it under a type of its own."""

    @cache.cached(key="user:{number}", category="analytics")
    async def load(number: int) -> User:
        return User(number)

    await cache.set("a", 1, category="analytics")
    await cache.set("b", 2, category="youtube_api")
    assert await load(1) == User(1)
    assert await cache.get("user:1") == User(1)
    await cache.invalidate_category("analytics")
    assert await cache.get_many(["a", "b", "user:1"]) == {"b": 2}
    await cache.set("a", 3, category="analytics")
    assert await cache.get("a") == 3


async def test_clear_takes_everything(cache: DistributedCache) -> None:
    """And afterwards the cache is as good as new: nothing is there to be added to."""
    await cache.set_many({"a": 1, "n": 5})
    await cache.set("t", 1, tags=["x"])
    await cache.clear()
    assert await cache.get_many(["a", "n", "t"]) == {}
    assert not await cache.exists("a")
    assert (await cache.lookup("a")).found is False
    assert await cache.incr("n") == 1
    assert await cache.add("a", "new")
    assert not await cache.add("a", "newer")
    assert not await cache.touch("t")
    assert cache.statistics().invalidations == 1


async def test_a_touch_does_not_outlive_an_invalidation(cache: DistributedCache) -> None:
    """A longer life is no newer value."""
    await cache.set("a", 1, ttl=50, tags=["x"])
    assert await cache.touch("a", ttl=100)
    await cache.invalidate_tag("x")
    assert await cache.get("a") is None


@pytest.mark.parametrize("what", ["tag", "category", "everything"])
async def test_what_is_loading_when_it_is_invalidated_is_not_kept(cache: DistributedCache, what: str) -> None:
    """It was read before; who asks from then on gets a new load."""
    started, go = asyncio.Event(), asyncio.Event()

    async def old() -> str:
        started.set()
        await go.wait()
        return "old"

    options: dict[str, Any] = {"category": "analytics", "tags": ["x"]}
    loading = asyncio.create_task(cache.get_or_set("k", old, **options))
    await started.wait()
    await {
        "tag": lambda: cache.invalidate_tag("x"),
        "category": lambda: cache.invalidate_category("analytics"),
        "everything": cache.clear,
    }[what]()
    assert await cache.get_or_set("k", lambda: "new", **options) == "new"
    go.set()
    assert await loading == "old"
    assert await cache.get("k") == "new"


async def test_a_tag_that_a_loader_names_counts_from_the_beginning_of_the_load(cache: DistributedCache) -> None:
    """Although nobody could know of it before the end."""

    async def load(load: Any) -> str:
        await cache.invalidate_tag("team:1")
        load.tags = ["team:1"]
        return "old"

    assert await cache.get_or_set("k", load) == "old"
    assert await cache.get("k") is None


async def test_hits_in_memory_go_on_after_another_invalidation(cache: DistributedCache) -> None:
    """What is not concerned is looked at once and served as before."""
    await cache.set("a", "value", ttl=1000)
    for _ in range(3):
        await cache.invalidate_tag("other")
        for _ in range(3):
            assert await cache.get("a") == "value"
    assert cache.statistics().memory_hits == 9


@pytest.mark.parametrize(
    ("tags", "error", "says"),
    [
        ("abc", TypeError, "tags is 'abc'; accepted are texts, in a list or tuple"),
        ([1], TypeError, "tags has 1; accepted are texts"),
        ([""], ValueError, "1 to 500 characters"),
        (["x" * 501], ValueError, "1 to 500 characters"),
        (["a\0b"], ValueError, "none of them zero"),
        ([str(number) for number in range(33)], ValueError, "at most 32"),
        (7, TypeError, "accepted are texts"),
    ],
)
async def test_tags_that_are_none_are_refused(tags: Any, error: type[Exception], says: str) -> None:
    """By every verb, before anything is stored or loaded."""
    async with DistributedCache() as cache:
        for verb in (
            lambda: cache.set("k", 1, tags=tags),
            lambda: cache.add("k", 1, tags=tags),
            lambda: cache.get_or_set("k", lambda: 1, tags=tags),
        ):
            with pytest.raises(error, match=says):
                await verb()
        assert await cache.get("k") is None


async def test_no_tag_is_no_order() -> None:
    """Nothing to forget is more likely a mistake."""
    async with DistributedCache() as cache:
        with pytest.raises(ValueError, match="tags is empty; accepted are one or more texts"):
            await cache.invalidate_tag()


async def test_an_unknown_category_cannot_be_invalidated() -> None:
    """The error names those that can."""
    async with DistributedCache() as cache:
        with pytest.raises(ConfigurationError, match="unknown cache category 'nope'; known are agent_response"):
            await cache.invalidate_category("nope")


async def test_strange_tags_are_tags(cache: DistributedCache) -> None:
    """Long ones, unprintable ones, half characters, and those that look like ours."""
    tags = ["~all", "x" * 500, "a\nb", "\ud800", "category:analytics", "t:~x"]
    for tag in tags:
        await cache.set("k", tag if tag != "\ud800" else "half", tags=[tag])
        assert await cache.get("k") is not None
        await cache.invalidate_tag(*(other for other in tags if other != tag))
        assert await cache.get("k") is not None
        await cache.invalidate_tag(tag)
        assert await cache.get("k") is None


async def test_marks_that_memory_forgot_invalidate_rather_too_much() -> None:
    """Bounded like everything else: what is not known any more is a miss, and never an old value."""
    async with DistributedCache(accept_any_category=True, max_items=10) as cache:
        await cache.set("old", 1, category="c0")
        await cache.set("tagged", 2, tags=["t"])
        await cache.invalidate_category("c0")
        for number in range(1, 10_010):
            await cache.invalidate_category(f"c{number}")
        assert await cache.get_many(["old", "tagged"]) == {}
        await cache.set("old", 3, category="c0")
        assert await cache.get("old") == 3


async def test_stale_values_are_invalidated_too() -> None:
    """What was taken back does not stand in for anything."""
    clock = FakeClock()
    categories = {"c": CacheCategory(ttl=10, grace=1000, jitter=0)}

    async def fail() -> None:
        raise ConnectionError("down")

    async with DistributedCache(clock=clock, categories=categories) as cache:
        await cache.set("k", 1, category="c", tags=["x"])
        clock.advance(20)
        assert (await cache.lookup("k")).stale
        await cache.invalidate_tag("x")
        assert not (await cache.lookup("k")).found
        with pytest.raises(ConnectionError):
            await cache.get_or_set("k", fail, category="c")
