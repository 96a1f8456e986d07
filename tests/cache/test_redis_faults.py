"""What a Redis that refuses, hangs, drips or loads does to the store: one error, in time, without a secret."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import BlockingConnectionPool, Redis

from creatormate_resilience.cache.redis import RedisStore, Write
from creatormate_resilience.exceptions import CacheUnavailableError
from creatormate_resilience.testing import FaultProxy
from servers import RedisServer

OpenStore = Callable[..., RedisStore]

pytestmark = [pytest.mark.anyio, pytest.mark.server]


def write(key: str, data: bytes = b"data") -> Write:
    """A write of bytes that are no entry; what is stored then loses against anything."""
    return Write(key, data, ttl=60, ceiling=b"\xff" * 16)


async def refusal(asked: Awaitable[Any]) -> str:
    """Why something was not done; it must be the one error that the store raises."""
    with pytest.raises(CacheUnavailableError) as caught:
        await asked
    assert str(caught.value).startswith("Redis: ")
    return str(caught.value)


async def operations(store: RedisStore) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Everything the store can be asked."""
    return {
        "get": lambda: store.get("k"),
        "get_many": lambda: store.get_many(["k", "l"]),
        "write": lambda: store.write([write("k")]),
        "write_many": lambda: store.write([write("k"), write("l")]),
        "add_number": lambda: store.add_number(write("n"), 1),
        "touch": lambda: store.touch("k", b"v" * 16, b"m" * 16, 1),
        "acquire_lock": lambda: store.acquire_lock("lock", b"t", 1),
        "renew_lock": lambda: store.renew_lock("lock", b"t", 1),
        "release_lock": lambda: store.release_lock("lock", b"t"),
        "ping": store.ping,
    }


@pytest.fixture
async def open_store():
    """Makes stores, and closes them."""
    made: list[RedisStore] = []

    def open_one(*args: Any, **options: Any) -> RedisStore:
        made.append(RedisStore(*args, **options))
        return made[-1]

    yield open_one
    for store in made:
        await store.aclose()


@pytest.mark.parametrize(
    ("settings", "refused", "says"),
    [
        (["CONFIG SET maxmemory 1"], {"write", "write_many", "add_number", "acquire_lock"}, "OutOfMemory|OOM"),
        (
            ["REPLICAOF 127.0.0.1 1"],
            {"write", "write_many", "add_number", "acquire_lock"},
            "ReadOnly|READONLY|can't write against a read only replica",
        ),
        (
            ["CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"],
            {"get", "get_many", "write", "write_many", "add_number", "touch"},
            "MasterDown|MASTERDOWN",
        ),
        (["CONFIG SET requirepass hunter2"], set(), "Authentication|NOAUTH"),
        (
            ["ACL SETUSER default -eval -evalsha"],
            {"write", "write_many", "add_number", "touch", "acquire_lock", "renew_lock", "release_lock"},
            "NoPermission|NOPERM",
        ),
    ],
    ids=["OOM", "READONLY", "MASTERDOWN", "NOAUTH", "NOPERM"],
)
async def test_a_server_that_refuses_is_unavailable_for_what_it_refuses(
    own_redis_server: RedisServer, settings: list[str], refused: set[str], says: str, open_store: OpenStore
):
    """One error for all of it, with the server's own words; what it does not refuse is done."""
    store = open_store(own_redis_server.url, timeout=5)
    async with Redis.from_url(own_redis_server.url, single_connection_client=True) as admin:
        for command in settings:
            await admin.execute_command(*command.split())
        asked = await operations(store)
        refused = refused or set(asked)  # connections made from now on would have to say a password
        outcomes = await asyncio.gather(*(ask() for ask in asked.values()), return_exceptions=True)
    for name, outcome in zip(asked, outcomes, strict=True):
        if name in refused:
            assert isinstance(outcome, CacheUnavailableError), (name, outcome)
            assert re.search(says, str(outcome)), outcome
        elif isinstance(outcome, BaseException):
            assert isinstance(outcome, CacheUnavailableError), (name, outcome)


async def test_a_wrong_password_is_told_without_it(own_redis_server: RedisServer, open_store: OpenStore):
    """Neither the error nor its causes show it, and the store's own text neither."""
    store = open_store(own_redis_server.url.replace("redis://", "redis://app:hunter2@"), timeout=5)
    with pytest.raises(CacheUnavailableError, match=r"invalid username-password|WRONGPASS|Authentication") as caught:
        await store.get("k")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in repr(store)


async def test_no_value_is_shown_by_an_error_of_a_pipeline(own_redis_server: RedisServer, open_store: OpenStore):
    """redis-py puts the arguments of a failed command into its message; values do not belong into logs."""
    store = open_store(own_redis_server.url, timeout=5)
    async with Redis.from_url(own_redis_server.url) as admin:
        await admin.config_set("maxmemory", "1")
    with pytest.raises(CacheUnavailableError) as caught:
        await store.write([write("k", b"confidential"), write("l", b"confidential")])
    assert caught.value.__cause__ is not None
    assert "confidential" not in f"{caught.value} {caught.value.__cause__}"


async def test_a_server_with_too_many_clients_is_unavailable(own_redis_server: RedisServer, open_store: OpenStore):
    """Whoever comes too late is told so, and served when there is room."""
    async with Redis.from_url(own_redis_server.url) as admin:
        await admin.config_set("maxclients", "1")
        store = open_store(own_redis_server.url, timeout=5)
        reasons = [await refusal(store.get("k")) for _ in range(3)]
        assert any("max number of clients" in reason for reason in reasons)
        await admin.config_set("maxclients", "100")
        assert await store.get("k") is None


async def test_a_server_that_is_loading_is_unavailable_until_it_has_loaded(open_store: OpenStore):
    """After a restart it answers that it is loading, and then with what it loaded."""
    with RedisServer("--key-load-delay", "40") as server:
        store = open_store(server.url, timeout=5)
        async with Redis.from_url(server.url) as admin, admin.pipeline(transaction=False) as pipe:
            for number in range(8192):
                pipe.set(f"k{number}", "v")
            await pipe.execute()
        server.kill()
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        reasons = []
        while not starting.done():
            try:
                await store.get("k1")
            except CacheUnavailableError as error:
                reasons.append(str(error))
                await asyncio.sleep(0.005)
        await starting
        assert any("loading" in reason.lower() for reason in reasons)
        assert await store.get("k1") == b"v"


async def test_scripts_are_sent_again_where_the_server_has_forgotten_them(
    own_redis_server: RedisServer, open_store: OpenStore
):
    """After SCRIPT FLUSH or a restart: alone, and in a pipeline of different ones."""
    store = open_store(own_redis_server.url, timeout=5)
    async with Redis.from_url(own_redis_server.url) as admin:
        for forget in (admin.script_flush, lambda: asyncio.to_thread(own_redis_server.restart)):
            await forget()
            assert await store.acquire_lock("lock", b"t", 9)
            replies = await asyncio.gather(store.write([write("a"), write("b")]), store.release_lock("lock", b"t"))
            assert [reply.outcome for reply in replies[0]] == ["written", "written"]
            assert replies[1]
            await store.write([write("a"), write("b")])
    async with Redis.from_url(own_redis_server.url) as admin:
        stats = await admin.info("commandstats")
        assert stats["cmdstat_eval"]["calls"] == 4  # since the restart: not one for what was known by then
        assert await admin.mget("a", "b") == [b"data", b"data"]


async def test_a_frozen_server_costs_nobody_more_than_the_timeout(own_redis_server: RedisServer, open_store: OpenStore):
    """A thousand callers of everything: each has its error in time, none anything else."""
    store = open_store(own_redis_server.url, timeout=0.2, connect_timeout=0.2)
    await store.get("k")
    own_redis_server.freeze()
    slowest = await slowest_of([ask for _ in range(100) for ask in (await operations(store)).values()])
    assert slowest < 1.0  # five times the timeout; queueing for trips would be ten times
    own_redis_server.resume()
    assert await store.get("never written") is None


async def test_a_pool_that_is_exhausted_costs_nobody_more_than_the_timeout(redis_url: str, open_store: OpenStore):
    """A given client may have a small pool that others have emptied, and would wait for it for twenty seconds."""
    async with Redis.from_pool(BlockingConnectionPool.from_url(redis_url, max_connections=1)) as client:
        taken = await client.connection_pool.get_connection()
        store = open_store(None, client=client, timeout=0.2, connect_timeout=0.2)
        slowest = await slowest_of([lambda number=number: store.get(f"k{number}") for number in range(1000)])
        assert slowest < 3.0
        await client.connection_pool.release(taken)
        assert await store.get("k") is None
        await store.aclose()
        assert await client.ping()


async def slowest_of(asks: list[Callable[[], Awaitable[Any]]]) -> float:
    """Ask all at once; each is refused. The longest duration, in seconds."""

    async def refused(ask: Callable[[], Awaitable[Any]]) -> float:
        started = time.monotonic()
        await refusal(ask())
        return time.monotonic() - started

    return max(await asyncio.gather(*(refused(ask) for ask in asks)))


async def test_a_dripping_connection_is_cut_off_and_its_rest_reaches_nobody(
    redis_url: str, redis_proxy: FaultProxy, open_store: OpenStore
):
    """An answer that comes byte by byte counts as none. Later callers get their own answers."""
    store = open_store(redis_proxy.url_for(redis_url), timeout=0.2, connect_timeout=0.2)
    await store.write([write("big", b"B" * 5000), write("a", b"A")])
    redis_proxy.bandwidth(100)
    assert "no answer within 0.2 s" in await refusal(store.get("big"))
    outcomes = await asyncio.gather(*(store.get("big") for _ in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {CacheUnavailableError}
    redis_proxy.heal()
    assert await asyncio.gather(*(store.get(key) for key in ("a", "big", "none", "a"))) == [
        *(b"A", b"B" * 5000),
        *(None, b"A"),
    ]


async def test_a_lost_answer_is_an_error_and_the_lock_can_be_asked_for_again(
    redis_url: str, redis_proxy: FaultProxy, open_store: OpenStore
):
    """Whether it was done nobody knows; with the same token asking again is harmless."""
    store = open_store(redis_proxy.url_for(redis_url), timeout=5)
    await store.ping()
    redis_proxy.lose_reply()
    await refusal(store.acquire_lock("lock", b"mine", 60))
    assert await store.acquire_lock("lock", b"mine", 60)
    assert not await store.acquire_lock("lock", b"other", 60)


async def test_processes_with_one_clock_agree_and_one_that_is_ahead_is_corrected(
    redis_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
):
    """Versions are times: on one host the slowness of an answer must not make two processes differ."""
    stores = [open_store(redis_url, timeout=5) for _ in range(20)]
    await asyncio.gather(*(store.ping() for store in stores))
    assert {store.wall() - time.time() < 0.001 for store in stores} == {True}
    assert {store._offset for store in stores} == {0.0}
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 100)
    await stores[0].ping()
    assert abs(stores[0].wall() - right()) < 5
    monkeypatch.undo()


async def test_closing_answers_who_still_waits(own_redis_server: RedisServer, open_store: OpenStore):
    """Callers of a frozen server are let go with an error, and no connection is left open."""
    store = open_store(own_redis_server.url, timeout=30)
    await store.get("k")
    own_redis_server.freeze()
    waiting = [asyncio.create_task(store.get(f"k{number}")) for number in range(20)]
    await asyncio.sleep(0.02)
    await store.aclose()
    waiting[0].cancel()  # the first went in its own task; its connection is gone with the others
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes[1:]} == {CacheUnavailableError}
    own_redis_server.resume()


FORK = """
import asyncio, os, sys
from creatormate_resilience.cache.redis import RedisStore
from creatormate_resilience.exceptions import ConfigurationError

async def main():
    cold, warm = RedisStore(sys.argv[1], timeout=5), RedisStore(sys.argv[1], timeout=5)
    await warm.get("k")
    child = os.fork()
    if child == 0:
        os._exit(asyncio.run(in_child(cold, warm)))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert await warm.get("k") is None
    assert await warm.acquire_lock("parent", b"t", 9)
    await warm.aclose()
    await cold.aclose()
    return status

async def in_child(cold, warm):
    for ask in (lambda: warm.get("k"), lambda: warm.release_lock("k", b""), warm.ping):
        try:
            await ask()
        except ConfigurationError as error:
            assert "forked" in str(error), error
        else:
            return 1
    await warm.aclose()  # closes nothing: the connections are the parent's
    assert await cold.acquire_lock("child", b"t", 9)
    await cold.aclose()
    return 7

sys.exit(asyncio.run(main()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_shares_no_connection(redis_url: str):
    """A store that was used says so in the child, one that was not works there, and the parent's goes on."""
    run = subprocess.run([sys.executable, "-c", FORK, redis_url], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (7, "")
