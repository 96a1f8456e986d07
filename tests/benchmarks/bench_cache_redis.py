"""What a value from Redis costs through the cache, beside the bare client and other caches: alone, and 100 at a time.

Run with `nox -s benchmarks -- -s` to see the tables. Figures are ratios within one run; nothing here asserts a time.
"""

from __future__ import annotations

import asyncio
import importlib
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import msgspec
import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from tests.benchmarks.interleaved import measure, table

from creatormate_resilience.cache import CacheCategory, DistributedCache
from creatormate_resilience.cache._scripts import WRITE
from creatormate_resilience.cache.redis import RedisStore
from creatormate_resilience.redis_client import open_redis
from servers import RedisServer

KEYS = 100
VALUE = {
    "id": 4711,
    "name": "a creator",
    "tags": ["music", "travel", "food"],
    "posts": [{"id": n, "title": f"post {n}", "text": "lorem ipsum " * 9, "likes": 37 * n} for n in range(14)],
}
ENCODED = msgspec.msgpack.encode(VALUE)

# Memory answers for no time at all, so every read goes to Redis and is decoded.
OPTIONS: Mapping[str, Any] = {"timeout": 5, "categories": {"redis": CacheCategory(ttl=3600, l1_ttl=1e-6)}}

Operation = Callable[[int], Awaitable[Any]]
Loop = Callable[[int], object]


class Subjects:
    """Everything that is compared, each with its 100 values of 2 KB in Redis."""

    def __init__(self, url: str, port: int) -> None:
        self.bare = Redis.from_pool(BlockingConnectionPool.from_url(url))
        self.ours_bare = open_redis(url, timeout=5)
        self.cache = DistributedCache(url, **OPTIONS)
        self.store = RedisStore(url, timeout=5)
        self.peers: dict[str, Any] = {}
        if find_spec("cashews") is not None:
            self.peers["cashews"] = importlib.import_module("cashews").Cache()
            self.peers["cashews"].setup(url)
        if find_spec("aiocache") is not None:
            aiocache = importlib.import_module("aiocache")
            serializer = importlib.import_module("aiocache.serializers").PickleSerializer()
            self.peers["aiocache"] = aiocache.RedisCache(endpoint="127.0.0.1", port=port, serializer=serializer)

    async def fill(self) -> None:
        """Write the values."""
        for number in range(KEYS):
            await self.bare.set(f"bare{number}", ENCODED)
            await self.cache.set(f"k{number}", VALUE, category="redis")
            for name, peer in self.peers.items():
                await peer.set(f"{name}{number}", VALUE)

    async def aclose(self) -> None:
        """Close everything."""
        warnings.simplefilter("ignore", DeprecationWarning)  # of peers that close in an older way
        for each in (self.bare, self.ours_bare, self.cache, self.store):
            await each.aclose()
        for peer in self.peers.values():
            await peer.close()

    async def decoded(self, number: int) -> Any:
        """What an application does by hand."""
        data = await self.bare.get(f"bare{number}")
        return msgspec.msgpack.decode(data)

    def readers(self) -> dict[str, Operation]:
        """One read of each."""
        return {
            "redis-py, GET": lambda number: self.bare.get(f"bare{number}"),
            "redis-py, GET and decode": self.decoded,
            "redis-py, our options, GET": lambda number: self.ours_bare.get(f"bare{number}"),
            "our store, bytes": lambda number: self.store.get_many((f"app:v1:k{number}",)),
            "DistributedCache.get, decoded": lambda number: self.cache.get(f"k{number}"),
            **{
                f"{name}.get, decoded": lambda number, name=name, peer=peer: peer.get(f"{name}{number}")
                for name, peer in self.peers.items()
            },
        }

    def writers(self) -> dict[str, Operation]:
        """One write of each."""
        return {
            "redis-py, SET": lambda number: self.bare.set(f"bare{number}", ENCODED, px=3_600_000),
            "DistributedCache.set, encoded": lambda number: self.cache.set(f"k{number}", VALUE, category="redis"),
            **{
                f"{name}.set, encoded": lambda number, name=name, peer=peer: peer.set(f"{name}{number}", VALUE)
                for name, peer in self.peers.items()
            },
        }


pytestmark = pytest.mark.server


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def subjects(runner: asyncio.Runner) -> Iterator[Subjects]:
    with RedisServer("--appendonly", "no") as server:  # else writes measure the disk
        made = Subjects(server.url, server.port)
        runner.run(made.fill())
        yield made
        runner.run(made.aclose())


def alone(runner: asyncio.Runner, operation: Operation) -> Loop:
    """One after the other."""

    async def run(calls: int) -> None:
        for number in range(calls):
            await operation(number % KEYS)

    return lambda calls: runner.run(run(calls))


def together(runner: asyncio.Runner, operation: Operation) -> Loop:
    """100 tasks at a time, each with a key of its own."""

    async def work(number: int, calls: int) -> None:
        for _ in range(calls):
            await operation(number)

    async def run(calls: int) -> None:
        await asyncio.gather(*(work(number, calls // KEYS) for number in range(KEYS)))

    return lambda calls: runner.run(run(calls))


@pytest.mark.parametrize("how", [alone, together])
def test_reads(
    runner: asyncio.Runner, subjects: Subjects, capsys: pytest.CaptureFixture[str], how: Callable[..., Loop]
) -> None:
    """A value of 2 KB that only Redis has."""
    variants = {name: how(runner, operation) for name, operation in subjects.readers().items()}
    costs = measure(variants, rounds=15, calls=1000)
    with capsys.disabled():
        print(f"\nread, {how.__doc__}\n{table(costs, to='redis-py, GET')}")


@pytest.mark.parametrize("how", [alone, together])
def test_writes(
    runner: asyncio.Runner, subjects: Subjects, capsys: pytest.CaptureFixture[str], how: Callable[..., Loop]
) -> None:
    """A value of 2 KB; ours decides beside the data whether something newer is there."""
    variants = {name: how(runner, operation) for name, operation in subjects.writers().items()}
    costs = measure(variants, rounds=15, calls=1000)
    with capsys.disabled():
        print(f"\nwrite, {how.__doc__}\n{table(costs, to='redis-py, SET')}")


def test_a_script_by_its_name(runner: asyncio.Runner, subjects: Subjects, capsys: pytest.CaptureFixture[str]) -> None:
    """What sending the name of a script saves over sending its text, with pipelines of ten small writes."""
    arguments = (b"cm\x01" + b"\0" * 60, 60_000, b"\xff" * 16, "set", b"")

    async def ten(command: str, script: str) -> None:
        async with subjects.bare.pipeline(transaction=False) as pipe:
            for number in range(10):
                pipe.execute_command(command, script, 1, f"s{number}", *arguments)
            await pipe.execute()

    variants = {
        "EVAL": alone(runner, lambda _: ten("EVAL", WRITE.text)),
        "EVALSHA": alone(runner, lambda _: ten("EVALSHA", WRITE.sha)),
    }
    variants["EVAL"](1)
    costs = measure(variants, rounds=15, calls=200)
    with capsys.disabled():
        print(f"\nten writes in a pipeline; a script has {len(WRITE.text)} bytes\n{table(costs, to='EVAL')}")
