"""`get_or_set` and `cached`: one load per key, cancellation, deletes meanwhile, old values standing in."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import aiohttp
import httpx
import pytest

from creatormate_resilience.cache import CacheCategory, DistributedCache, LoadFailed, StaleServed
from creatormate_resilience.deadline import deadline_scope, remaining_time
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import (
    CacheError,
    CacheSerializationError,
    ConfigurationError,
    ExternalAPIUnavailableError,
    NotFoundError,
    OperationTimeoutError,
    ShuttingDownError,
)
from creatormate_resilience.policies import Retry
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio

request_id: ContextVar[str] = ContextVar("request_id", default="none")


class Source:
    """A loader that counts its calls and waits until it is let go."""

    def __init__(self, value: Any = "value") -> None:
        self.value, self.calls = value, 0
        self.started, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> Any:
        self.calls += 1
        self.started.set()
        await self.go.wait()
        return self.value


@pytest.fixture
async def cache():
    async with DistributedCache() as made:
        yield made


async def test_a_thousand_callers_of_a_cold_key_cause_one_load(cache: DistributedCache) -> None:
    """All get the value, one after none, and nothing is left behind."""
    source = Source({"a": 1})
    callers = [asyncio.create_task(cache.get_or_set("k", source)) for _ in range(1000)]
    await source.started.wait()
    source.go.set()
    assert await asyncio.gather(*callers) == [{"a": 1}] * 1000
    assert source.calls == 1
    assert cache.statistics().loads_under_way == 0


async def test_the_first_callers_cancellation_leaves_the_others_served(cache: DistributedCache) -> None:
    """A client that hangs up takes nobody with it."""
    source = Source()
    callers = [asyncio.create_task(cache.get_or_set("k", source)) for _ in range(10)]
    await source.started.wait()
    callers[0].cancel()
    await asyncio.sleep(0)
    source.go.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["value"] * 9
    assert source.calls == 1


async def test_a_load_goes_on_when_all_its_callers_are_gone(cache: DistributedCache) -> None:
    """The work is not wasted: the next reader finds its result."""
    source = Source()
    caller = asyncio.create_task(cache.get_or_set("k", source))
    await source.started.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    source.go.set()
    assert await cache.get_or_set("k", Source()) == "value"


async def test_a_failed_load_is_told_to_all_and_not_kept(cache: DistributedCache) -> None:
    """Everybody who waited gets the error; the next caller tries again."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("no")

    results = await asyncio.gather(*(cache.get_or_set("k", fail) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 5
    assert await cache.get_or_set("k", lambda: "now") == "now"
    assert cache.statistics().load_failures == 1


@pytest.mark.parametrize("verb", ["delete", "set"])
async def test_what_happens_during_a_load_is_not_undone_by_it(cache: DistributedCache, verb: str) -> None:
    """A load that began before a delete or a set does not bring back what it read then."""
    old, new = Source("old"), Source("new")
    new.go.set()
    early = asyncio.create_task(cache.get_or_set("k", old))
    await old.started.wait()
    await (cache.delete("k") if verb == "delete" else cache.set("k", "written"))
    late = asyncio.create_task(cache.get_or_set("k", new))
    assert await late == ("new" if verb == "delete" else "written")
    old.go.set()
    assert await early == "old"
    assert await cache.get("k") == ("new" if verb == "delete" else "written")


async def test_a_delete_during_a_load_counts_although_memory_forgot_it() -> None:
    """The load itself knows that it is outdated, however many other deletions memory had to remember since."""
    source = Source("old")
    async with DistributedCache(max_items=1) as cache:
        loading = asyncio.create_task(cache.get_or_set("k", source))
        await source.started.wait()
        await cache.delete_many(["k", "other"])
        source.go.set()
        assert await loading == "old"
        assert await cache.get("k") is None


async def test_a_sync_loader_is_a_loader(cache: DistributedCache) -> None:
    """A plain function will do, and None is a value to keep."""
    calls: list[int] = []
    for _ in range(2):
        assert await cache.get_or_set("k", lambda: calls.append(1)) is None
    assert calls == [1]


async def test_a_load_runs_in_a_context_of_its_own(cache: DistributedCache) -> None:
    """It is shared, so the first caller's deadline and request do not count for it."""

    async def look() -> tuple[str, float]:
        return request_id.get(), round(remaining_time() or 0)

    request_id.set("first")
    with deadline_scope(1):
        assert await cache.get_or_set("k", look) == ("none", 30)  # the category's `hard_timeout`


@pytest.mark.parametrize("hops", [1, 2])
async def test_a_loader_that_asks_for_its_own_key_gets_an_error(cache: DistributedCache, hops: int) -> None:
    """It would wait for itself, directly or through another key's load."""

    async def again() -> Any:
        return await cache.get_or_set("k", again)

    async def hop() -> Any:
        return await cache.get_or_set("other", again)

    with pytest.raises(ConfigurationError, match=r"very key|waits for it"):
        await asyncio.wait_for(cache.get_or_set("k", again if hops == 1 else hop), 5)


async def test_a_loader_that_cancels_itself_is_an_error_not_a_cancellation(cache: DistributedCache) -> None:
    """Nobody cancelled the caller, so the caller must not look cancelled."""

    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(CacheError, match="cancelled from inside"):
        await cache.get_or_set("k", give_up)


async def test_closing_ends_loads_with_a_clear_error() -> None:
    """Whoever waits learns that the cache closed; no task is left."""
    cache = await DistributedCache().start()
    source = Source()
    caller = asyncio.create_task(cache.get_or_set("k", source))
    await source.started.wait()
    await cache.aclose()
    with pytest.raises(ShuttingDownError):
        await caller
    assert cache.statistics().loads_under_way == 0


async def test_what_cannot_be_stored_is_told_to_the_caller(cache: DistributedCache) -> None:
    """A loader's result of a wrong type is a mistake in the program, found the first time."""
    with pytest.raises(CacheSerializationError, match="object"):
        await cache.get_or_set("k", object)


@pytest.mark.parametrize(
    ("error", "served"),
    [(ExternalAPIUnavailableError("YouTube"), True), (ConnectionResetError(), True), (TimeoutError(), True),
     (NotFoundError("gone"), False), (ValueError("a bug"), False)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
async def test_an_old_value_stands_in_for_what_passes_only(error: Exception, served: bool) -> None:
    """Within grace, an upstream's trouble is bridged; its clear answer, or a bug, is not hidden."""
    clock, events = FakeClock(), list[Event]()

    async def fail() -> str:
        raise error

    categories = {"c": CacheCategory(ttl=10, grace=10, jitter=0)}
    async with DistributedCache(clock=clock, listeners=[events.append], categories=categories) as cache:
        await cache.set("k", "old", category="c")
        clock.advance(15)
        if served:
            assert await cache.get_or_set("k", fail, category="c") == "old"
            assert events == [
                LoadFailed("cache", "k", type(error).__name__),
                StaleServed("cache", "k", type(error).__name__),
            ]
            assert cache.statistics().stale_hits == 1
        else:
            with pytest.raises(type(error)):
                await cache.get_or_set("k", fail, category="c")
        clock.advance(6)
        with pytest.raises(type(error)):
            await cache.get_or_set("k", fail, category="c")


async def test_an_upstream_that_stayed_away_through_all_retries_is_bridged_too() -> None:
    """`Retry` says "do not retry me again" of its last failure; to the cache it is still the upstream's trouble."""
    clock = FakeClock()
    retry = Retry(2, clock=clock)

    @retry
    async def unavailable() -> Any:
        raise ExternalAPIUnavailableError("YouTube")

    @retry
    async def buggy() -> Any:
        try:
            raise ExternalAPIUnavailableError("YouTube")
        except ExternalAPIUnavailableError as error:
            raise ValueError("a bug in handling it") from error

    categories = {"c": CacheCategory(ttl=10, grace=1000, jitter=0)}
    async with DistributedCache(clock=clock, categories=categories) as cache:
        await cache.set("k", "old", category="c")
        clock.advance(11)
        assert await cache.get_or_set("k", unavailable, category="c") == "old"
        clock.advance(31)
        with pytest.raises(ValueError, match="a bug"):
            await cache.get_or_set("k", buggy, category="c")


async def test_without_grace_nothing_old_is_served() -> None:
    """The default hides no failure."""
    clock = FakeClock()

    async def fail() -> str:
        raise TimeoutError

    async with DistributedCache(clock=clock) as cache:
        await cache.set("k", "old", ttl=10)
        clock.advance(11)
        with pytest.raises(TimeoutError):
            await cache.get_or_set("k", fail)


async def test_a_deleted_value_does_not_stand_in(cache: DistributedCache) -> None:
    """What was deleted while its load failed is not served as old."""
    clock = FakeClock()
    async with DistributedCache(clock=clock, categories={"c": CacheCategory(ttl=10, grace=10, jitter=0)}) as cache:
        await cache.set("k", "old", category="c")
        clock.advance(15)

        async def fail() -> str:
            await cache.delete("k")
            raise TimeoutError

        with pytest.raises(TimeoutError):
            await cache.get_or_set("k", fail, category="c")


async def test_a_cached_function_is_called_once_for_the_same_arguments(cache: DistributedCache) -> None:
    """However they are passed; `refresh` calls it again, `invalidate` forgets."""
    calls: list[int] = []

    @cache.cached(key="user:{user_id}:{kind}", ttl=60)
    async def fetch(user_id: int, kind: str = "all") -> str:
        """Fetches."""
        calls.append(user_id)
        return f"{user_id}-{kind}-{len(calls)}"

    assert [await fetch(1), await fetch(user_id=1, kind="all"), await fetch(1, "few")] == [
        "1-all-1",
        "1-all-1",
        "1-few-2",
    ]
    assert await fetch.refresh(1) == "1-all-3" == await fetch(1)
    assert await fetch.invalidate(1)
    assert not await fetch.invalidate(1)
    assert await fetch(1) == "1-all-4"
    assert await cache.get(fetch.key(1)) == "1-all-4"
    assert fetch.__doc__ == "Fetches."
    assert list(inspect.signature(fetch).parameters) == ["user_id", "kind"]


async def test_a_cached_method_is_bound_to_its_instance(cache: DistributedCache) -> None:
    """Two instances do not share results where the key tells them apart."""

    class Client:
        def __init__(self, tenant: str) -> None:
            self.tenant = tenant

        @cache.cached(key="{self.tenant}:{user_id}")
        async def fetch(self, user_id: int) -> str:
            return f"{self.tenant}/{user_id}"

    ours, theirs = Client("ours"), Client("theirs")
    assert [await ours.fetch(1), await theirs.fetch(1)] == ["ours/1", "theirs/1"]
    assert await ours.fetch.invalidate(1)
    assert await cache.exists(theirs.fetch.key(1))
    assert await ours.fetch.refresh(user_id=1) == "ours/1"
    assert list(inspect.signature(ours.fetch).parameters) == ["user_id"]


async def test_a_refresh_is_not_answered_by_a_load_that_began_before(cache: DistributedCache) -> None:
    """`refresh` promises a value made after it was asked for."""
    numbers = iter(range(10))
    begun, gate = asyncio.Event(), asyncio.Event()

    @cache.cached(key="n")
    async def number() -> int:
        mine = next(numbers)
        if mine == 0:
            begun.set()
            await gate.wait()
        return mine

    slow = asyncio.create_task(number())
    await begun.wait()
    assert await number.refresh() == 1
    gate.set()
    assert await slow == 0
    assert await number() == 1


async def test_bad_decorations_are_refused_at_once(cache: DistributedCache) -> None:
    """A wrong template, category, time to live or something that returns no result."""

    async def fetch(user_id: int) -> int:
        return user_id

    async def stream(user_id: int) -> AsyncIterator[int]:
        yield user_id

    with pytest.raises(ConfigurationError, match="not a parameter"):
        cache.cached(key="u:{user}")(fetch)
    with pytest.raises(ConfigurationError, match="that return a result"):
        cache.cached(key="u:{user_id}")(stream)
    with pytest.raises(ConfigurationError, match="not a parameter"):
        cache.cached(key="u:{user_id}", tags=["team:{team}"])(fetch)
    with pytest.raises(ConfigurationError, match="unknown cache category"):
        cache.cached(key="u:{user_id}", category="nope")
    with pytest.raises(ValueError, match="ttl"):
        cache.cached(key="u:{user_id}", ttl=-1)


@pytest.mark.parametrize("ring", [2, 5])
async def test_loads_that_wait_for_each_other_are_told_so(cache: DistributedCache, ring: int) -> None:
    """Begun by different callers, in one process: the last one to ask closes the ring and gets the error."""
    started = [asyncio.Event() for _ in range(ring)]

    async def load(number: int) -> Any:
        started[number].set()
        for event in started:
            await event.wait()
        return await cache.get_or_set(f"k{(number + 1) % ring}", lambda: "never")

    asked = [asyncio.create_task(cache.get_or_set(f"k{n}", functools.partial(load, n))) for n in range(ring)]
    results = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
    assert all(isinstance(result, ConfigurationError) for result in results)
    assert "whose loader waits for it" in str(results[0])


async def test_who_waits_does_not_wait_for_a_loader_to_clean_up() -> None:
    """Its time is over for them when it is over, however long it then takes, and the key is free again."""
    cleaning, go = asyncio.Event(), asyncio.Event()

    async def stubborn() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cleaning.set()
            await go.wait()
        return "late"

    async with DistributedCache(categories={"c": CacheCategory(ttl=10, hard_timeout=0.02)}) as cache:
        with pytest.raises(OperationTimeoutError):
            await cache.get_or_set("k", stubborn, category="c")
        await cleaning.wait()
        assert await cache.get_or_set("k", lambda: "new", category="c") == "new"
        go.set()


async def test_a_loader_cannot_close_its_own_cache(cache: DistributedCache) -> None:
    """It would wait for itself."""
    with pytest.raises(ConfigurationError, match="closes the cache that it loads for"):
        await cache.get_or_set("k", cache.aclose)


async def test_a_dropped_connection_is_bridged_with_every_client() -> None:
    """An upstream that closes the connection in the middle is as away as one that refuses it."""
    clock = FakeClock()
    errors = [
        httpx.RemoteProtocolError("Server disconnected"),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError(),
    ]
    async with DistributedCache(clock=clock, categories={"c": CacheCategory(ttl=10, grace=1000, throttle=0)}) as cache:
        await cache.set("k", "old", category="c")
        clock.advance(20)
        for error in errors:

            async def fail(error: Exception = error) -> str:
                raise error

            assert await cache.get_or_set("k", fail, category="c") == "old"


@pytest.mark.parametrize("verb", ["get_many", "delete_many"])
async def test_one_text_is_not_several_keys(cache: DistributedCache, verb: str) -> None:
    """Its letters are nobody's keys."""
    with pytest.raises(TypeError, match="keys is 'user:1'"):
        await getattr(cache, verb)("user:1")
    with pytest.raises(TypeError, match="accepted is a mapping of keys to values"):
        await cache.set_many(["a"])  # type: ignore[arg-type]
