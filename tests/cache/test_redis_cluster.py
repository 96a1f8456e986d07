"""The store on a real cluster of three primaries: every verb, slots that move, a node that hangs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from redis.asyncio import RedisCluster as ClusterClient
from redis.crc import key_slot

from creatormate_resilience.cache import CacheState, DistributedCache
from creatormate_resilience.cache.redis import RedisStore
from creatormate_resilience.exceptions import CacheUnavailableError
from servers.topologies import ClusterServer, RedisCluster

pytestmark = [pytest.mark.anyio, pytest.mark.server]


@pytest.fixture(scope="module")
def servers() -> Iterator[RedisCluster]:
    """The cluster of this module."""
    with RedisCluster() as made:
        yield made


@pytest.fixture
def cluster(servers: RedisCluster) -> RedisCluster:
    """The same, empty."""
    servers.restore()
    return servers


@pytest.fixture
async def store(cluster: RedisCluster):
    made = RedisStore(cluster.url, timeout=5)
    yield made
    await made.aclose()


async def test_every_verb_works_on_a_cluster(cluster: RedisCluster):
    """Single and many keys, over all nodes, with the scripts that decide beside the data."""
    async with DistributedCache(cluster.url, timeout=5) as cache, DistributedCache(cluster.url, timeout=5) as other:
        assert cache.state is CacheState.CONNECTED
        values = {f"k{number}": [number] for number in range(50)}
        await cache.set_many(values)
        assert await other.get_many(values) == values
        assert await asyncio.gather(*(other.get(key) for key in values)) == list(values.values())
        assert not await other.add("k1", 1)
        assert await other.add("new", 1)
        assert await cache.incr("new", 4) == 5
        assert await cache.touch("new", 50)
        assert await cache.delete_many(["k1", "k2", "k3", "nothing"]) == 3
        assert (await cache.health()).healthy
        assert cache.statistics().redis_errors == 0


async def test_hundreds_of_callers_at_once_find_no_pool_exhausted(store: RedisStore):
    """A pool of a node cannot be waited for; so many share a trip that it need not be."""
    keys = [f"k{number}" for number in range(1000)]
    assert await asyncio.gather(*(store.get(key) for key in keys)) == [None] * 1000
    assert all(await asyncio.gather(*(store.acquire_lock(key, b"t", 9) for key in keys)))
    assert await asyncio.gather(*(store.get(key) for key in keys)) == [b"t"] * 1000


async def test_a_slot_that_moves_is_followed(cluster: RedisCluster, store: RedisStore):
    """The answer says where it is now; nothing fails, neither a lone call nor a trip of many."""
    assert await store.acquire_lock("k", b"before", 9)
    old = cluster.node_of("k")
    new = next(node for node in cluster.nodes if node is not old)
    cluster.move("k", new)
    assert await asyncio.gather(*(store.get(key) for key in ("a", "k", "b", "k"))) == [None] * 4
    assert await store.acquire_lock("k", b"after", 9)
    cluster.move("k", old)
    assert await store.get("k") is None
    assert await store.acquire_lock("k", b"again", 9)
    assert cluster.node_of("k") is old


async def test_a_node_that_hangs_costs_its_callers_the_timeout_and_the_others_go_on(cluster: RedisCluster):
    """Only what lies on it fails, and is found again when it answers."""
    store = RedisStore(cluster.url, timeout=0.2)
    frozen = cluster.node_of("k")
    other = next(key for key in "abcdefghij" if cluster.node_of(key) is not frozen)
    assert await store.get("k") is None
    frozen.freeze()
    with pytest.raises(CacheUnavailableError):
        await store.get("k")
    assert await until_it_answers(store, other) == [None]  # the first attempts may ask the frozen one who is there
    frozen.resume()
    assert await until_it_answers(store, "k") == [None]
    await store.aclose()


async def test_a_slot_that_another_node_took_over_is_found(cluster: RedisCluster):
    """Nobody says where it moved, as its old node is silent; so the map is read anew after a failure."""
    store = RedisStore(cluster.url, timeout=0.2)
    old = cluster.node_of("k")
    new, witness = (node for node in cluster.nodes if node is not old)
    keys = ["k", next(key for key in "abcdefghij" if witness.serves(key_slot(key.encode())))]
    assert await store.get_many(keys) == [None, None]
    old.freeze()
    cluster.move("k", new, told=(new, witness))
    assert await until_it_answers(store, *keys) == [None, None]
    old.resume()
    cluster.move("k", old)
    await store.aclose()


async def until_it_answers(store: RedisStore, *keys: str) -> list[bytes | None]:
    """The first answer within a few attempts."""
    for _ in range(20):
        with contextlib.suppress(CacheUnavailableError):
            return await store.get_many(keys)
    raise AssertionError("no answer")


async def test_a_cluster_asked_like_a_single_server_is_unavailable(cluster: RedisCluster):
    """Keys that lie elsewhere are told so; the wrong scheme in the URL is no crash."""
    store = RedisStore(f"redis://127.0.0.1:{cluster.nodes[0].port}", timeout=5)
    keys = [key for key in "abcdefghij" if cluster.node_of(key) is not cluster.nodes[0]]
    with pytest.raises(CacheUnavailableError, match="Moved"):
        await store.get(keys[0])
    with pytest.raises(CacheUnavailableError):
        await store.get_many(keys)
    await store.aclose()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_a_cluster_that_is_down_is_unavailable(scheme: str):
    """Slots that nobody serves."""
    with ClusterServer() as server:
        store = RedisStore(f"{scheme}://127.0.0.1:{server.port}", timeout=5)
        for ask in (store.get("k"), store.get_many(["k", "l"]), store.acquire_lock("k", b"t", 1)):
            with pytest.raises(CacheUnavailableError):
                await ask
        await store.aclose()


async def test_a_given_cluster_client_is_used_and_left_open(cluster: RedisCluster):
    """Who brings a client closes it."""
    host, port = "127.0.0.1", cluster.nodes[0].port
    async with ClusterClient(host=host, port=port) as client:
        async with DistributedCache(client=client) as cache:
            await cache.set("k", 1)
        assert await client.exists("app:v1:k") == 1


async def test_something_that_is_no_string_is_no_outage(cluster: RedisCluster, store: RedisStore):
    """A list under a key comes out as bytes that are no entry, alone and among others."""
    async with ClusterClient(host="127.0.0.1", port=cluster.nodes[0].port) as client:
        await client.rpush("list", "x")
    assert await store.get("list") == b""
    assert await store.get_many(["a", "list", "b"]) == [None, b"", None]
