"""The store behind a real sentinel: the master is killed, and the next calls reach the new one by themselves."""

from __future__ import annotations

import asyncio
import time

import pytest

from creatormate_resilience.cache import CacheState, DistributedCache
from creatormate_resilience.cache.redis import RedisStore
from creatormate_resilience.exceptions import CacheUnavailableError
from servers import RedisServer
from servers.topologies import RedisSentinel

pytestmark = [pytest.mark.anyio, pytest.mark.server]


async def test_after_a_failover_the_next_calls_reach_the_new_master():
    """What was replicated is there, writes are taken, and while there was no master nothing but one error came out.

    A second sentinel in the URL that hangs, as one on the host that died does, keeps nobody from finding out.
    """
    with RedisSentinel() as servers, RedisServer() as hanging:
        url = servers.url.replace("127.0.0.1", f"127.0.0.1:{hanging.port},127.0.0.1", 1)
        hanging.freeze()
        store = RedisStore(url, timeout=0.5)
        assert await store.acquire_lock("before", b"t", 60)
        await asyncio.to_thread(_replicated, servers)
        servers.master.kill()
        errors, held = 0, False
        end = time.monotonic() + 30
        while not held:
            assert time.monotonic() < end
            try:
                held = await store.acquire_lock("after", b"t", 60)
            except CacheUnavailableError:
                errors += 1
                await asyncio.sleep(0.01)
        assert errors
        assert await store.renew_lock("before", b"t", 60)
        assert await store.get_many(["before", "after"]) == [b"t", b"t"]
        await store.aclose()
        async with DistributedCache(url, timeout=5) as cache:
            while cache.state is not CacheState.CONNECTED:  # half a second for each sentinel; a machine may stall
                assert time.monotonic() < end
                await asyncio.sleep(0.1)
                await cache.health()


async def test_where_no_sentinel_answers_the_store_says_so(own_redis_server: RedisServer):
    """A server that is no sentinel, and one that is down; the sentinels' password is not shown."""
    port = own_redis_server.port
    url = f"redis+sentinel://:hunter2@127.0.0.1:{port},127.0.0.1:1/mymaster?sentinel_password=hunter3"
    store = RedisStore(url, timeout=2)
    with pytest.raises(CacheUnavailableError, match="none of 2 sentinels tells the master of 'mymaster'") as caught:
        await store.get("k")
    assert "hunter" not in f"{caught.value!r} {caught.value.__cause__!r} {store!r} {store._client!r}"
    await store.aclose()


def _replicated(servers: RedisSentinel) -> None:
    end = time.monotonic() + 10
    while servers.replica._ask(b"EXISTS before\r\n") != b":1\r\n":
        assert time.monotonic() < end
        time.sleep(0.005)
