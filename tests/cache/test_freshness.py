"""When a loader is asked, and what is served meanwhile: timeouts, throttle, refresh ahead of time, nothing found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from creatormate_resilience.cache import (
    CacheCategory,
    CacheConfig,
    DistributedCache,
    Load,
    LoadFailed,
    StaleServed,
    current_load,
)
from creatormate_resilience.exceptions import ConfigurationError, OperationTimeoutError
from creatormate_resilience.testing import FakeClock, Recorder

pytestmark = pytest.mark.anyio


def make(clock: FakeClock, recorder: Recorder | None = None, **category: Any) -> DistributedCache:
    """A cache with one category, "c", of ten seconds."""
    kept = CacheCategory(**{"ttl": 10, "grace": 1000, "jitter": 0} | category)
    return DistributedCache(clock=clock, categories={"c": kept}, listeners=[recorder] if recorder else [])


class Source:
    """A loader that gives what it is told to, counts, and can be held up."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.calls = list(answers), 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> Any:
        self.calls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await self.go.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


# Timeouts ---------------------------------------------------------------------------------------------------------
async def test_who_does_not_want_to_wait_gets_the_old_value() -> None:
    """After the soft timeout; the load goes on, and its result is there for the next."""
    clock, recorder, source = FakeClock(), Recorder(), Source("new")
    async with make(clock, recorder, soft_timeout=0.01) as cache:
        await cache.set("k", "old", category="c")
        clock.advance(20)
        source.go.clear()
        assert await cache.get_or_set("k", source, category="c") == "old"
        assert recorder.of(StaleServed)[0].error == "slow"
        source.go.set()
        assert await cache.get_or_set("k", source, category="c") == "new"
        assert source.calls == 1
        assert cache.statistics().stale_hits == 1


async def test_without_an_old_value_there_is_only_waiting() -> None:
    """The soft timeout is for those who have something to fall back to."""
    source = Source("new")
    async with make(FakeClock(), soft_timeout=0.01) as cache:
        source.go.clear()
        waiting = asyncio.create_task(cache.get_or_set("k", source, category="c"))
        await asyncio.sleep(0.03)
        assert not waiting.done()
        source.go.set()
        assert await waiting == "new"


async def test_a_load_that_takes_too_long_has_failed() -> None:
    """For all who wait for it; it is interrupted, and an old value stands in where there is one."""
    clock, source, interrupted = FakeClock(), Source("never"), asyncio.Event()

    async def hang() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            interrupted.set()
        return ""

    async with make(clock, hard_timeout=0.02) as cache:
        callers = [asyncio.create_task(cache.get_or_set("k", hang, category="c")) for _ in range(5)]
        for result in await asyncio.gather(*callers, return_exceptions=True):
            assert isinstance(result, OperationTimeoutError)
        assert interrupted.is_set()
        await cache.set("k", "old", category="c")
        clock.advance(20)
        assert await cache.get_or_set("k", hang, category="c") == "old"
        assert source.calls == 0


# Throttle ---------------------------------------------------------------------------------------------------------
async def test_a_loader_that_failed_is_left_in_peace_for_a_while() -> None:
    """The old value is served without asking it again until the throttle is over."""
    clock, recorder, source = FakeClock(), Recorder(), Source(ConnectionError("down"), "new")
    async with make(clock, recorder, throttle=5) as cache:
        await cache.set("k", "old", category="c")
        clock.advance(20)
        for _ in range(10):
            assert await cache.get_or_set("k", source, category="c") == "old"
        assert (source.calls, len(recorder.of(LoadFailed)), len(recorder.of(StaleServed))) == (1, 1, 1)
        clock.advance(5)
        assert await cache.get_or_set("k", source, category="c") == "new"


@pytest.mark.server
async def test_the_throttle_holds_although_redis_is_asked_each_time(redis_url: str) -> None:
    """What is known of the failure stays with the version that it was about."""
    source = Source(ConnectionError("down"), "new")
    categories = {"c": CacheCategory(ttl=0.05, grace=1000, throttle=1000, jitter=0)}
    async with DistributedCache(redis_url, categories=categories, timeout=2.0) as cache:
        await cache.set("k", "old", category="c")
        await asyncio.sleep(0.06)
        for _ in range(3):
            assert await cache.get_or_set("k", source, category="c") == "old"
        assert source.calls == 1
        await cache.set("k", "written", category="c")
        assert await cache.get_or_set("k", source, category="c") == "written"


# Refresh ahead of time --------------------------------------------------------------------------------------------
@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance decides for a refresh as early as it mostly would."""
    monkeypatch.setattr("creatormate_resilience.cache._parts.random.random", lambda: 0.9)


@pytest.mark.usefixtures("early")
async def test_a_value_is_loaded_again_before_its_time_is_over() -> None:
    """In the background: nobody waits, and one load is begun however many read."""
    clock, source = FakeClock(), Source("old", "new")

    async def load() -> Any:
        clock.advance(1)  # it takes a second
        return await source()

    async with make(clock, eager_refresh=100) as cache:  # a hundred seconds early: from the first read on
        assert await cache.get_or_set("k", load, category="c") == "old"
        source.go.clear()
        for _ in range(5):
            assert await cache.get_or_set("k", load, category="c") == "old"
        await until(lambda: source.calls == 2)
        assert cache.statistics().refreshes == 1
        source.go.set()
        await until(lambda: cache.statistics().loads_under_way == 0)
        assert await cache.get_or_set("k", load, category="c") == "new"


@pytest.mark.usefixtures("early")
async def test_a_refresh_that_fails_harms_nobody() -> None:
    """It is told, and the value serves out its time."""
    clock, recorder, source = FakeClock(), Recorder(), Source("old", ConnectionError("down"), "new")

    async def load() -> Any:
        clock.advance(0.1)
        return await source()

    async with make(clock, recorder, eager_refresh=100) as cache:
        assert await cache.get_or_set("k", load, category="c") == "old"
        assert await cache.get_or_set("k", load, category="c") == "old"
        await until(lambda: cache.statistics().loads_under_way == 0)
        assert await cache.get_or_set("k", load, category="c") == "old"
        assert [event.error for event in recorder.of(LoadFailed)] == ["ConnectionError"]
        assert source.calls == 2


@pytest.mark.usefixtures("early")
async def test_who_comes_when_the_time_is_over_waits_for_the_refresh_under_way() -> None:
    """Two loads of one key would be one too many."""
    clock, source = FakeClock(), Source("old", "new")

    async def load() -> Any:
        clock.advance(0.1)
        return await source()

    async with make(clock, grace=0, eager_refresh=1) as cache:
        await cache.get_or_set("k", load, category="c")
        source.go.clear()
        clock.advance(9.8)
        assert await cache.get_or_set("k", load, category="c") == "old"
        await asyncio.sleep(0)
        clock.advance(1)
        waiting = asyncio.create_task(cache.get_or_set("k", load, category="c"))
        await asyncio.sleep(0)
        source.go.set()
        assert await waiting == "new"
        assert source.calls == 2


async def test_without_eager_refresh_nothing_is_loaded_early() -> None:
    """It is off unless asked for."""
    clock, source = FakeClock(), Source("old", "new")
    async with make(clock) as cache:
        for _ in range(5):
            clock.advance(1.9)
            assert await cache.get_or_set("k", source, category="c") == "old"
        assert source.calls == 1


# Nothing found ----------------------------------------------------------------------------------------------------
async def test_nothing_found_may_be_remembered_for_a_shorter_time() -> None:
    """`negative_ttl` is the life of a loaded None; 0 does not keep it, None keeps it like the rest."""
    clock = FakeClock()
    for seconds, calls in ((None, 1), (2, 2), (0, 3)):
        source = Source(None)
        async with make(clock, negative_ttl=seconds, grace=0) as cache:
            for wait in (1.0, 2.0, 0.0):
                assert await cache.get_or_set("k", source, category="c") is None
                clock.advance(wait)
        assert source.calls == calls, seconds


async def test_nothing_found_takes_the_old_value_away() -> None:
    """What is known to be gone does not stand in when the loader fails the next time."""
    clock, source = FakeClock(), Source(None, ConnectionError("down"))
    async with make(clock, negative_ttl=0) as cache:
        await cache.set("k", "old", category="c")
        clock.advance(20)
        assert await cache.get_or_set("k", source, category="c") is None
        with pytest.raises(ConnectionError):
            await cache.get_or_set("k", source, category="c")
        assert not (await cache.lookup("k")).found


async def test_a_load_that_outlasts_the_memory_of_deletions_is_not_stored() -> None:
    """Nobody could tell any more whether its key was deleted meanwhile."""
    clock = FakeClock()

    async def slow() -> str:
        clock.advance(61)
        return "old"

    async with make(clock, hard_timeout=None) as cache:
        assert await cache.get_or_set("k", slow, category="c") == "old"
        assert await cache.get("k") is None


# What a loader may decide -----------------------------------------------------------------------------------------
async def test_a_loader_may_set_the_life_and_the_tags_of_its_result() -> None:
    """By its parameter, or from anywhere inside."""
    clock = FakeClock()

    async def by_parameter(load: Load) -> str:
        load.ttl, load.tags = 100, ["a"]
        assert load.key == "one"
        return "one"

    def inside() -> None:
        current_load().ttl = 200

    async def by_context() -> str:
        await asyncio.sleep(0)
        inside()
        return "two"

    async with make(clock) as cache:
        await cache.get_or_set("one", by_parameter, category="c")
        await cache.get_or_set("two", by_context, category="c")
        clock.advance(99)
        assert await cache.get_many(["one", "two"]) == {"one": "one", "two": "two"}
        clock.advance(2)
        assert await cache.get_many(["one", "two"]) == {"two": "two"}
        await cache.get_or_set("one", by_parameter, category="c")
        await cache.invalidate_tag("a")
        assert await cache.get("one") is None


async def test_a_loader_may_keep_its_result_from_being_stored() -> None:
    """Whoever waits gets it all the same."""
    calls = 0

    async def load(load: Load) -> int:
        nonlocal calls
        calls += 1
        load.store = False
        await asyncio.sleep(0)
        return calls

    async with make(FakeClock()) as cache:
        assert await asyncio.gather(*(cache.get_or_set("k", load, category="c") for _ in range(3))) == [1, 1, 1]
        assert await cache.get_or_set("k", load, category="c") == 2
        assert await cache.get("k") is None


async def test_a_loader_sees_the_old_value() -> None:
    """To ask only for what has changed since."""
    clock = FakeClock()
    seen: list[Any] = []

    async def load(load: Load) -> str:
        seen.append((load.old.found, load.old.value, load.old.stale, load.old.age))
        return "new"

    async with make(clock) as cache:
        await cache.get_or_set("k", load, category="c")
        clock.advance(15)
        await cache.get_or_set("k", load, category="c")
        assert seen == [(False, None, False, None), (True, "new", True, 15)]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda load: setattr(load, "ttl", -1), ValueError),
        (lambda load: setattr(load, "ttl", float("nan")), ValueError),
        (lambda load: setattr(load, "ttl", "1"), TypeError),
        (lambda load: setattr(load, "tags", "abc"), TypeError),
    ],
)
async def test_what_a_loader_decides_is_checked_at_once(change: Callable[[Load], None], error: type[Exception]) -> None:
    """The error comes out of the loader, and nothing is stored."""

    async def load(load: Load) -> str:
        change(load)
        return "x"

    async with make(FakeClock()) as cache:
        with pytest.raises(error, match="accepted are"):
            await cache.get_or_set("k", load)
        assert await cache.get("k") is None


async def test_outside_of_a_loader_there_is_no_load() -> None:
    """The error says so; a loader's own tasks have one."""
    with pytest.raises(ConfigurationError, match="outside of a loader"):
        current_load()


# Configuration ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"throttle": -1}, "throttle is -1"),
        ({"negative_ttl": float("nan")}, "negative_ttl is nan"),
        ({"soft_timeout": 0, "grace": 1}, "soft_timeout is 0"),
        ({"soft_timeout": 1}, "soft_timeout needs a grace"),
        ({"soft_timeout": 30, "grace": 1}, "soft_timeout is 30; accepted is less than hard_timeout"),
        ({"hard_timeout": 0}, "hard_timeout is 0"),
        ({"eager_refresh": -1}, "eager_refresh is -1"),
        ({"eager_refresh": 101}, "eager_refresh is 101"),
        ({"lock": 1}, "lock is 1; accepted are True and False"),
        ({"jitter": 2}, "jitter is 2"),
        ({"isolation": "deep"}, "isolation is 'deep'"),
    ],
)
def test_categories_that_make_no_sense_are_refused(options: dict[str, Any], says: str) -> None:
    """The error names the field and what is accepted."""
    with pytest.raises(ConfigurationError, match=says):
        CacheCategory(ttl=10, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"eviction": "fifo"}, "eviction is 'fifo'; accepted are 'lfu' and 'lru'"),
        ({"types": 7}, "types is 7; accepted are classes"),
        ({"types": ["User"]}, "accepted are classes"),
        ({"compression": True}, "compression is True; accepted is a Compression"),
        ({"invalidation_lag": -1}, "invalidation_lag is -1"),
        ({"lock_lease": 0}, "lock_lease is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], says: str) -> None:
    """As above, for the cache as a whole."""
    with pytest.raises(ConfigurationError, match=says):
        CacheConfig(**options)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it does."""
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0)
