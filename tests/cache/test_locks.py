"""Locks that processes share: one holder at a time, kept while he lives, free when he has died."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from typing import Any

import anyio
import pytest

from creatormate_resilience.cache import CacheCategory, DistributedCache
from creatormate_resilience.exceptions import CacheUnavailableError, LockNotAcquiredError, ShuttingDownError
from servers import RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.server)])
async def cache(request: pytest.FixtureRequest):
    """A cache in memory, and one in Redis."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    async with DistributedCache(url, timeout=2.0) as made:
        yield made


async def test_there_is_one_holder_at_a_time(cache: DistributedCache) -> None:
    """Fifty tasks, one inside; all get their turn."""
    inside, most, done = 0, 0, 0

    async def work() -> None:
        nonlocal inside, most, done
        async with cache.lock("report"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            done += 1

    await asyncio.gather(*(work() for _ in range(50)))
    assert (most, done) == (1, 50)


async def test_who_does_not_wait_is_told(cache: DistributedCache) -> None:
    """At once, or after as long as he would wait; other names are other locks, and keys are no locks."""
    await cache.set("report", 1)
    async with cache.lock("report"):
        for wait in (0, 0.03):
            with pytest.raises(LockNotAcquiredError, match="lock 'report' is held by somebody else"):
                async with cache.lock("report", wait=wait):
                    pass
        async with cache.lock("other", wait=0):
            pass
    async with cache.lock("report", wait=0):
        assert await cache.get("report") == 1


async def test_it_is_free_after_an_error_and_a_cancellation(cache: DistributedCache) -> None:
    """Whatever ends the block ends the lock, and passes."""
    with pytest.raises(ZeroDivisionError):
        async with cache.lock("report"):
            raise ZeroDivisionError

    async def hold() -> None:
        async with cache.lock("report"):
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    await asyncio.sleep(0.02)
    holder.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holder
    async with cache.lock("report", wait=0):
        pass


async def test_it_is_renewed_while_the_block_lasts(cache: DistributedCache) -> None:
    """A block may take many leases."""
    async with cache.lock("report", lease=0.3) as lock:
        for _ in range(10):
            await asyncio.sleep(0.1)
            with pytest.raises(LockNotAcquiredError):
                async with cache.lock("report", wait=0):
                    pass
        assert not lock.lost


@pytest.mark.server
async def test_a_lock_that_was_lost_ends_with_an_error(redis_url: str) -> None:
    """Somebody else may have been inside: what the block did may not count."""
    async with DistributedCache(redis_url, timeout=2.0) as cache:
        with pytest.raises(LockNotAcquiredError, match="was lost before the block had ended"):
            async with cache.lock("report", lease=0.15) as lock:
                await cache._parts.store._client.set("app:v1:~lock:report", b"somebody")
                async with asyncio.timeout(5):
                    while not lock.lost:
                        await asyncio.sleep(0.01)
        assert await cache._parts.store._client.get("app:v1:~lock:report") == b"somebody"  # nobody's else is deleted


async def test_without_redis_there_is_no_lock(own_redis_server: RedisServer) -> None:
    """It is never taken in memory instead: others could not see it. A load does without."""
    categories = {"locked": CacheCategory(ttl=600, lock=True)}
    async with DistributedCache(own_redis_server.url, categories=categories) as cache:
        own_redis_server.kill()
        with pytest.raises(CacheUnavailableError):
            async with cache.lock("report"):
                pass
        assert await cache.get_or_set("k", lambda: "value", category="locked") == "value"


@pytest.mark.parametrize(
    ("options", "error"),
    [({"lease": 0}, ValueError), ({"lease": "1"}, TypeError), ({"wait": -1}, ValueError), ({"wait": True}, TypeError)],
)
async def test_bad_times_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    """When the lock is asked for."""
    async with DistributedCache() as cache:
        with pytest.raises(error, match="accepted are finite seconds"):
            cache.lock("x", **options)
        with pytest.raises(ValueError, match="key has 0 characters"):
            cache.lock("")


# One load for all processes ---------------------------------------------------------------------------------------
LOADING = """
    import asyncio, sys
    from creatormate_resilience.cache import CacheCategory, DistributedCache

    loads = 0

    async def load():
        global loads
        loads += 1
        await asyncio.sleep(0.3)
        return {"big": "value"}

    async def main():
        categories = {"locked": CacheCategory(ttl=600, lock=True)}
        async with DistributedCache(sys.argv[1], categories=categories, timeout=5.0) as cache:
            print("ready", flush=True)
            sys.stdin.readline()
            asked = [cache.get_or_set("k", load, category="locked") for _ in range(250)]
            assert await asyncio.gather(*asked) == [{"big": "value"}] * 250
        print(loads)

    asyncio.run(main())
"""


@pytest.mark.server
def test_four_processes_with_the_lock_cause_one_load(redis_url: str) -> None:
    """Two hundred and fifty callers in each, all at the same time."""
    command = [sys.executable, "-c", textwrap.dedent(LOADING), redis_url]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, **pipes) for _ in range(4)]
    try:
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("\n")
            child.stdin.flush()
        loads = [int(child.communicate(timeout=30)[0]) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert sum(loads) == 1


@pytest.mark.server
async def test_the_lock_of_a_process_that_died_is_free_after_its_lease(redis_url: str) -> None:
    """Its load is done by another."""
    categories = {"locked": CacheCategory(ttl=600, lock=True)}
    async with DistributedCache(redis_url, categories=categories, timeout=2.0) as cache:
        await cache._parts.store.acquire_lock("app:v1:~load:k", b"dead", 0.2)
        assert await cache.get_or_set("k", lambda: "value", category="locked") == "value"


@pytest.mark.server
async def test_an_old_value_is_served_while_another_process_loads(redis_url: str) -> None:
    """Nobody waits for somebody else's load who has something to show."""
    categories = {"locked": CacheCategory(ttl=0.02, grace=600, lock=True, jitter=0)}
    async with DistributedCache(redis_url, categories=categories, timeout=2.0) as cache:
        await cache.set("k", "old", category="locked")
        await asyncio.sleep(0.03)
        await cache._parts.store.acquire_lock("app:v1:~load:k", b"other", 5.0)
        assert await cache.get_or_set("k", lambda: "new", category="locked") == "old"
        await cache._parts.store.release_lock("app:v1:~load:k", b"other")
        assert await cache.get_or_set("k", lambda: "new", category="locked") == "new"


async def test_without_redis_the_lock_of_a_load_costs_nothing() -> None:
    """One process needs none: single flight is enough."""
    async with DistributedCache(categories={"locked": CacheCategory(ttl=600, lock=True)}) as cache:
        assert await cache.get_or_set("k", lambda: "value", category="locked") == "value"


async def test_a_lock_is_for_one_block(cache: DistributedCache) -> None:
    """Entered a second time it would let two in; the error says what to do."""
    lock = cache.lock("report")
    async with lock:
        with pytest.raises(RuntimeError, match=r"for one block; call cache.lock\(\) for another"):
            async with lock:
                pass


@pytest.mark.parametrize("moment", ["taking", "inside", "leaving"])
async def test_whatever_cancels_frees_the_lock(cache: DistributedCache, moment: str) -> None:
    """Also a scope of anyio, which interrupts every further await, and in whatever moment it comes."""
    for steps in range(12):
        with anyio.CancelScope() as scope:
            entering = moment == "taking"
            if entering:
                asyncio.get_running_loop().call_later(steps * 0.0002, scope.cancel)
            async with cache.lock("report", lease=30, wait=5):
                if moment == "inside":
                    scope.cancel()
                    await asyncio.sleep(1)
                if moment == "leaving":
                    asyncio.get_running_loop().call_later(steps * 0.0002, scope.cancel)
    async with asyncio.timeout(5), cache.lock("report", wait=4):
        pass


async def test_waiting_for_a_lock_ends_with_the_cache() -> None:
    """Nobody gets a lock of a cache that is closed."""
    cache = DistributedCache()
    await cache.start()
    async with cache.lock("report"):

        async def wait() -> None:
            async with cache.lock("report"):
                raise AssertionError("it entered")

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0.02)
        await cache.aclose()
        with pytest.raises(ShuttingDownError):
            await waiting
