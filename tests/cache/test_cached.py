"""`@cache.cached`: any function or method, typed by its annotation, with tags, behind FastAPI too."""

from __future__ import annotations

import asyncio
import enum
import inspect
import threading
import time
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI

from creatormate_resilience.cache import CacheCategory, DistributedCache, current_load
from creatormate_resilience.exceptions import ConfigurationError, OperationTimeoutError

pytestmark = pytest.mark.anyio


class Plan(enum.Enum):
    """A field that plain values do not tell."""

    FREE = "free"


@dataclass
class User:
    """What the functions return."""

    number: int
    plan: Plan = Plan.FREE


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.server)])
async def cache(request: pytest.FixtureRequest):
    """A cache in memory, and one in Redis."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    async with DistributedCache(url, timeout=2.0) as made:
        yield made


async def test_a_def_runs_in_a_thread_and_becomes_async(cache: DistributedCache) -> None:
    """Once for all who ask at the same time, and the event loop goes on meanwhile."""
    threads: list[int] = []

    @cache.cached(key="sum:{a}:{b}")
    def add(a: int, b: int = 1) -> int:
        """Add slowly."""
        threads.append(threading.get_ident())
        time.sleep(0.05)  # what a sync client does
        return a + b

    assert await asyncio.gather(add(1), add(1, b=1), add(2)) == [2, 2, 3]
    assert len(threads) == 2
    assert threading.get_ident() not in threads
    assert (add.__name__, add.__doc__, str(inspect.signature(add))) == (
        "add",
        "Add slowly.",
        "(a: 'int', b: 'int' = 1) -> 'int'",
    )
    assert await add.invalidate(1)
    assert await add.refresh(1) == 2


async def test_a_def_that_takes_too_long_is_left_to_its_end() -> None:
    """A thread cannot be interrupted; who waits for it can."""
    ended = threading.Event()

    async with DistributedCache(categories={"c": CacheCategory(ttl=10, hard_timeout=0.02)}) as cache:

        @cache.cached(key="slow:{n}", category="c")
        def slow(n: int) -> int:
            time.sleep(0.2)
            ended.set()
            return n

        with pytest.raises(OperationTimeoutError):
            await slow(1)
        assert not ended.is_set()
        assert await asyncio.to_thread(ended.wait, 5)


async def test_the_annotation_says_what_comes_back(cache: DistributedCache) -> None:
    """From another process's store as from memory, and `get` finds it too."""
    calls = 0

    @cache.cached(key="user:{number}")
    async def load(number: int) -> User:
        nonlocal calls
        calls += 1
        return User(number)

    assert await load(1) == await load(1) == User(1)
    cache._parts.memory.clear()
    if cache.state.value == "connected":
        assert await load(1) == User(1)
        assert calls == 1
        assert await cache.get("user:1") == User(1)


async def test_without_an_annotation_plain_values_are_kept(cache: DistributedCache) -> None:
    """And others refused, as by `set`."""

    @cache.cached(key="rows:{n}")
    async def rows(n: int):
        return [{"n": n}]

    assert await rows(1) == await rows(1) == [{"n": 1}]


async def test_methods_have_keys_and_tags_of_their_own(cache: DistributedCache) -> None:
    """Made from the instance's attributes as well as from arguments."""

    class Repository:
        """Loads users of a tenant."""

        def __init__(self, tenant: str) -> None:
            self.tenant = tenant
            self.calls = 0

        @cache.cached(key="{self.tenant}:user:{number}", tags=["tenant:{self.tenant}", "users"])
        async def load(self, number: int) -> User:
            self.calls += 1
            return User(number)

    one, two = Repository("one"), Repository("two")
    assert one.load.key(1) == "one:user:1"
    assert one.load.tags(1) == ("tenant:one", "users")
    for _ in range(2):
        await one.load(1)
        await two.load(1)
    assert (one.calls, two.calls) == (1, 1)
    await cache.invalidate_tag("tenant:one")
    await one.load(1)
    await two.load(1)
    assert (one.calls, two.calls) == (2, 1)
    await cache.invalidate_tag("users")
    await two.load(1)
    assert two.calls == 2


def test_what_returns_no_result_is_refused() -> None:
    """Generators, classes, things."""
    cache = DistributedCache()

    def stream(n: int):
        yield n

    for wrong in (stream, User, 7, object()):
        with pytest.raises(ConfigurationError, match="functions and methods that return a result"):
            cache.cached(key="x")(wrong)  # type: ignore[call-overload]


@pytest.mark.parametrize("kind", ["async", "def"])
async def test_an_endpoint_can_be_cached(cache: DistributedCache, kind: str) -> None:
    """FastAPI sees its parameters and its result as before."""
    app = FastAPI()
    calls = 0

    if kind == "async":

        @app.get("/users/{number}")
        @cache.cached(key="user:{number}:{full}")
        async def read(number: int, full: bool = False) -> User:
            nonlocal calls
            calls += 1
            return User(number)
    else:

        @app.get("/users/{number}")
        @cache.cached(key="user:{number}:{full}")
        def read(number: int, full: bool = False) -> User:
            nonlocal calls
            calls += 1
            return User(number)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for _ in range(3):
            assert (await client.get("/users/7?full=true")).json() == {"number": 7, "plan": "free"}
        assert (await client.get("/users/seven")).status_code == 422
    assert calls == 1
    assert app.openapi()["paths"]["/users/{number}"]["get"]["parameters"][0]["name"] == "number"


def test_it_is_seen_to_be_async_by_who_asks() -> None:
    """Sentry and others decide by that whether an endpoint is to be awaited."""
    cache = DistributedCache()

    @cache.cached(key="n:{n}")
    def plain(n: int) -> int:
        return n

    assert inspect.iscoroutinefunction(plain) or asyncio.iscoroutinefunction(plain)


def test_two_sets_of_arguments_never_share_a_key() -> None:
    """Whatever stands in them: the fields are escaped."""
    cache = DistributedCache()

    @cache.cached(key="{a}:{b}")
    async def pair(a: str, b: str) -> str:
        return a + b

    assert pair.key("a:b", "c") != pair.key("a", "b:c")
    assert pair.key("a%3Ab", "c") != pair.key("a:b", "c")
    assert len({pair.key(*each) for each in (("", ":"), (":", ""), ("", ""), ("%", ""), ("", "%"))}) == 5


async def test_functions_that_share_a_key_do_not_share_their_results(cache: DistributedCache) -> None:
    """What one has stored under its type is not handed to the caller of the other."""

    @dataclass
    class Brief:
        number: int

    @cache.cached(key="user:{number}")
    async def full(number: int) -> User:
        return User(number)

    @cache.cached(key="user:{number}")
    async def plain(number: int):
        return number

    assert [await full(1), await plain(1), await full(1)] == [User(1), 1, User(1)]


async def test_threads_that_were_given_up_on_are_bounded() -> None:
    """They count until they end: a loader that hangs does not take the machine's threads."""
    go = threading.Event()
    async with DistributedCache(categories={"c": CacheCategory(ttl=10, hard_timeout=0.005)}) as cache:

        @cache.cached(key="slow:{n}", category="c")
        def hang(n: int) -> int:
            go.wait(20)
            return n

        before = threading.active_count()
        for number in range(60):
            with pytest.raises(OperationTimeoutError):
                await hang(number)
        assert threading.active_count() - before <= 32
        go.set()


async def test_what_is_not_stored_need_not_be_storable(cache: DistributedCache) -> None:
    """It is handed to those who wait, as it is."""
    thing = object()

    @cache.cached(key="thing:{n}")
    async def load(n: int) -> User:
        current_load().store = False
        return thing  # type: ignore[return-value]

    assert await load(1) is thing
