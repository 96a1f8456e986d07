"""Locks in Redis: one holder, renewed and freed by its token only, free again by itself."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from creatormate_resilience.cache.redis import RedisStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(redis_url: str):
    made = RedisStore(redis_url, timeout=5)
    yield made
    await made.aclose()


async def test_one_of_many_gets_a_lock(store: RedisStore):
    """However many ask at once, in one trip or in several."""
    got = await asyncio.gather(*(store.acquire_lock("lock", b"%d" % number, 60) for number in range(100)))
    assert sum(got) == 1


async def test_a_token_may_ask_again(store: RedisStore):
    """After an error nobody knows whether it was acquired; asking again then renews it."""
    assert await store.acquire_lock("lock", b"mine", 60)
    assert await store.acquire_lock("lock", b"mine", 60)
    assert not await store.acquire_lock("lock", b"other", 60)


async def test_only_its_token_renews_and_frees_a_lock(store: RedisStore, redis_url: str):
    """Whoever lost the lock learns it, and takes nothing from who has it now."""
    assert await store.acquire_lock("lock", b"mine", 60)
    assert not await store.renew_lock("lock", b"other", 600)
    assert not await store.release_lock("lock", b"other")
    async with Redis.from_url(redis_url) as client:
        assert 50_000 < await client.pttl("lock") <= 60_000
        assert await store.renew_lock("lock", b"mine", 600)
        assert 590_000 < await client.pttl("lock") <= 600_000
    assert await store.release_lock("lock", b"mine")
    assert not await store.release_lock("lock", b"mine")
    assert not await store.renew_lock("lock", b"mine", 60)
    assert await store.acquire_lock("lock", b"other", 60)


async def test_a_lease_ends_by_itself(store: RedisStore):
    """A holder that died does not keep the others out."""
    assert await store.acquire_lock("lock", b"mine", 0.01)
    async with asyncio.timeout(5):
        while not await store.acquire_lock("lock", b"other", 60):  # Redis' own clock has to pass
            await asyncio.sleep(0.005)
    assert not await store.renew_lock("lock", b"mine", 60)
