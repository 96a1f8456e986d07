"""The pool: first come, first served; who holds what; refusals at once; figures; upkeep."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from creatormate_resilience.db import ConnectionHeldLong, Database
from creatormate_resilience.db._fair_queue import FairQueue
from creatormate_resilience.exceptions import ConfigurationError, PoolExhaustedError
from creatormate_resilience.testing import Recorder

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
async def url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    """A file, and a server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/pool.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
async def small(url: str) -> AsyncIterator[Database]:
    """Two connections and no more."""
    async with Database(url, pool_size=2, max_overflow=0, pool_timeout=5.0) as database:
        yield database


async def hold(database: Database, go: asyncio.Event, began: asyncio.Event | None = None) -> None:
    """Keep a connection until told."""
    async with database.connect() as connection:
        await connection.execute(text("SELECT 1"))
        if began is not None:
            began.set()
        await go.wait()


async def waiting(database: Database, number: int) -> None:
    """Until so many tasks wait for a connection."""
    async with asyncio.timeout(5):
        while database.pool_statistics().waiting != number:
            await asyncio.sleep(0.001)


async def held(database: Database, number: int) -> None:
    """Until so many connections are in use, and it is known by whom: one that is still being opened is nobody's."""
    async with asyncio.timeout(5):
        while database.pool_statistics().in_use != number or len(database.holders()) != number:
            await asyncio.sleep(0.001)


async def test_who_waits_first_is_served_first(url: str) -> None:
    """Nobody who returns a connection takes it again before those who wait."""
    go, served = asyncio.Event(), list[str]()

    async with Database(url, pool_size=1, max_overflow=0) as database:

        async def use(name: str, times: int = 1) -> None:
            for _ in range(times):
                async with database.connect() as connection:
                    await connection.execute(text("SELECT 1"))
                    served.append(name)

        holder = asyncio.create_task(hold(database, go))
        await held(database, 1)
        tasks = [asyncio.create_task(use("greedy", 3))]
        await waiting(database, 1)
        for number in range(6):
            tasks.append(asyncio.create_task(use(f"t{number}")))
            await waiting(database, number + 2)
        go.set()
        await asyncio.gather(holder, *tasks)
    assert served == ["greedy", "t0", "t1", "t2", "t3", "t4", "t5", "greedy", "greedy"]


async def test_an_exhausted_pool_names_who_holds_it(small: Database) -> None:
    """Task, time, and where it is now, across the boundary between SQLAlchemy and asyncio."""
    go = asyncio.Event()
    tasks = [asyncio.create_task(hold(small, go), name=f"req-{number}") for number in range(2)]
    await held(small, 2)
    small.engine.pool._timeout = 0.05
    with pytest.raises(PoolExhaustedError) as raised:
        await asyncio.create_task(hold(small, go))
    assert raised.value.detail is not None
    assert re.search(
        r"none came free within pool_timeout=0\.05 s: .* Held by req-\d for [\d.e-]+ s in hold \(test_pool.py:\d+\)"
        r" > Event.wait \(locks.py:\d+\); req-\d for",
        raised.value.detail,
    )
    who = small.holders()
    assert {holder.task for holder in who} == {"req-0", "req-1"}
    assert all(holder.seconds > 0 and not holder.waiting for holder in who)
    go.set()
    await asyncio.gather(*tasks)
    assert small.holders() == ()
    seen = small.pool_statistics()
    assert (seen.timeouts, seen.in_use, seen.waiting) == (1, 0, 0)


async def test_a_second_connection_inside_of_the_first_is_told_as_what_it_is(small: Database) -> None:
    """Where everybody who holds one waits for another, nobody will ever get one; the last to come is told at once."""

    async def nested(first: asyncio.Event, both: asyncio.Event) -> None:
        async with small.connect() as connection:
            await connection.execute(text("SELECT 1"))
            first.set()
            await both.wait()
            async with small.connect() as another:
                await another.execute(text("SELECT 1"))

    starts, both = [asyncio.Event(), asyncio.Event()], asyncio.Event()
    tasks = [asyncio.create_task(nested(start, both)) for start in starts]
    for start in starts:
        await start.wait()
    both.set()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 3)
    errors = [result for result in results if result is not None]
    assert len(errors) == 1  # the other one got the connection of the one that gave up
    assert isinstance(errors[0], PoolExhaustedError)
    assert "everybody who holds one waits for another" in str(errors[0].detail)
    assert small.pool_statistics().in_use == 0


async def test_more_than_may_wait_are_refused_at_once(url: str) -> None:
    """Waiting behind many is of no use; those who wait already are served."""
    go = asyncio.Event()
    async with Database(url, pool_size=1, max_overflow=0, max_waiting=2) as database:
        tasks = [asyncio.create_task(hold(database, go)) for _ in range(3)]
        await waiting(database, 2)
        with pytest.raises(PoolExhaustedError, match="max_waiting=2 tasks wait for one already"):
            await asyncio.create_task(hold(database, go))
        go.set()
        await asyncio.gather(*tasks)


async def test_waiters_that_are_cancelled_lose_nothing(small: Database) -> None:
    """Not even those who are cancelled in the moment they are given a connection."""
    for rounds in range(20):
        go = asyncio.Event()
        holders = [asyncio.create_task(hold(small, go)) for _ in range(2)]
        await held(small, 2)
        waiters = [asyncio.create_task(hold(small, go)) for _ in range(8)]
        await waiting(small, 8)
        go.set()
        for _ in range(rounds % 5):
            await asyncio.sleep(0)
        for waiter in waiters[::2]:
            waiter.cancel()
        results = await asyncio.gather(*holders, *waiters, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        seen = small.pool_statistics()
        assert (seen.in_use, seen.waiting) == (0, 0)
    assert small.holders() == ()


async def test_a_connection_that_is_held_for_long_is_told_of(url: str) -> None:
    """Once, with task and place, while it is still held."""
    recorder, go = Recorder(), asyncio.Event()
    async with Database(url, leak_threshold=0.05, listeners=[recorder]) as database:
        leaking = asyncio.create_task(hold(database, go), name="req-42")
        async with asyncio.timeout(5):
            while not recorder.of(ConnectionHeldLong):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.15)
        [event] = recorder.of(ConnectionHeldLong)
        assert event.task == "req-42"
        assert event.seconds >= 0.05
        assert event.where[0].startswith("hold (test_pool.py:")
        go.set()
        await leaking


async def test_connections_can_be_opened_ahead(url: str) -> None:
    """As many as asked for, and they stay."""
    async with Database(url, pool_size=4, max_overflow=0) as database:
        await database.warm_up()
        seen = database.pool_statistics()
        assert (seen.idle, seen.in_use, seen.created) == (4, 0, 4)
        await database.warm_up(2)
        assert database.pool_statistics().created == 4
        with pytest.raises(ConfigurationError, match="connections is 5; accepted are whole numbers from 1 to 4"):
            await database.warm_up(5)


async def test_closing_waits_for_those_in_use_as_long_as_it_is_told(url: str) -> None:
    """Nobody gets a new one meanwhile; and it does not wait for ever."""
    for seconds, finishes in ((5.0, True), (0.02, False)):
        database, go, began = Database(url), asyncio.Event(), asyncio.Event()
        await database.start()
        using = asyncio.create_task(hold(database, go, began))
        await began.wait()
        closing = asyncio.create_task(database.aclose(drain_timeout=seconds))
        await asyncio.sleep(0)
        with pytest.raises(Exception, match="closed"):
            await hold(database, go)
        if finishes:
            assert not closing.done()
            go.set()
        await closing
        go.set()
        await asyncio.gather(using, return_exceptions=True)


async def test_figures_stand_under_the_names_of_opentelemetry(small: Database) -> None:
    """What a dashboard expects, without a mapping of its own."""
    async with small.connect() as connection:
        await connection.execute(text("SELECT 1"))
        metrics = small.pool_statistics().as_metrics()
    assert metrics["db.client.connection.count[used]"] == 1
    assert metrics["db.client.connection.max"] == 2
    assert metrics["db.client.connection.pending_requests"] == 0
    assert metrics["db.client.connection.wait_time.p99"] >= 0
    assert small.pool_statistics().use_time is not None


async def test_idle_connections_are_used_now_and_then(url: str) -> None:
    """So that nothing on the way forgets them, and a dead one is found before somebody wants it."""
    async with Database(url, pool_size=3, keepalive=0.02) as database:
        await database.warm_up()
        pool: Any = database.engine.pool
        before = {record: pool.holders.use_time.quantiles() for record in pool.queue._items}
        assert len(before) == 3
        uses = len(pool.holders.use_time._seconds)
        async with asyncio.timeout(5):
            while len(pool.holders.use_time._seconds) < uses + 9:
                await asyncio.sleep(0.01)
        assert set(pool.queue._items) <= set(before)


async def test_recycling_is_spread(url: str) -> None:
    """Connections opened together are not replaced together."""
    async with Database(url, pool_size=8, pool_recycle=1000) as database:
        await database.warm_up()
        queue = database.engine.pool.queue  # type: ignore[attr-defined]
        ages = [record.starttime for record in queue._items]
        assert 1 < max(ages) - min(ages) <= 101


async def test_a_refused_connection_lets_the_next_try() -> None:
    """Where opening one fails there is room again, and who waits need not wait for the others to return theirs."""
    queue: FairQueue[str] = FairQueue(2)
    assert queue.empty()
    first = asyncio.create_task(queue._next(5.0))
    second = asyncio.create_task(queue._next(5.0))
    await asyncio.sleep(0)
    queue.wake()
    queue.put_nowait("connection")
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert type(results[0]).__name__ == "Empty"
    assert results[1] == "connection"
    assert queue.waiting == 0


@pytest.mark.parametrize(
    "options", [{"max_waiting": -1}, {"max_waiting": True}, {"keepalive": -1}, {"leak_threshold": 0}]
)
def test_settings_of_the_pool_are_checked(options: dict[str, Any]) -> None:
    """When the database is made; the error names the option."""
    with pytest.raises(ConfigurationError, match=f"{next(iter(options))} is"):
        Database("sqlite:///x.db", **options)
