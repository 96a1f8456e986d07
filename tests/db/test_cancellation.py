"""However work is cancelled: no connection is lost, and no query of a cancelled task keeps running on the server."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import asyncpg
import pytest
from sqlalchemy import text

from creatormate_resilience.db import Database

pytestmark = [pytest.mark.anyio, pytest.mark.server]

SLEEPING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE state = 'active' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()
"""


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """A pool of two."""
    async with Database(postgres_url, pool_size=2, max_overflow=0, client_check_interval=0.5) as database:
        yield database


@pytest.fixture
async def server(postgres_url: str) -> AsyncIterator[Any]:
    """The server as it is, past the pool."""
    connection = await asyncpg.connect(re.sub(r"^\w+\+?\w*://", "postgresql://", postgres_url))
    yield connection
    await connection.close()


async def sleep_in(database: Database, seconds: float = 20) -> None:
    async with database.begin() as session:
        await session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})


async def running(server: Any, number: int) -> None:
    """Wait until so many sleep on the server, or fail after 1.5 seconds and what a machine may stall."""
    async with asyncio.timeout(4):
        while await server.fetchval(SLEEPING) != number:
            await asyncio.sleep(0.02)


async def by_task(database: Database, begun: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.create_task(sleep_in(database))
    await begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_task_twice(database: Database, begun: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.create_task(sleep_in(database))
    await begun()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_timeout(database: Database, begun: Callable[[], Awaitable[None]]) -> None:
    del begun
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await sleep_in(database)


async def by_scope(database: Database, begun: Callable[[], Awaitable[None]]) -> None:
    del begun
    with anyio.move_on_after(0.2) as scope:
        await sleep_in(database)
    assert scope.cancelled_caught


async def by_group(database: Database, begun: Callable[[], Awaitable[None]]) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep_in, database)
        await begun()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("cancelled", [by_task, by_task_twice, by_timeout, by_scope, by_group])
async def test_nothing_goes_on_after_a_cancellation(
    database: Database, server: Any, cancelled: Callable[[Database, Callable[[], Awaitable[None]]], Awaitable[None]]
) -> None:
    """The server is clean soon, and the pool as good as new."""
    await cancelled(database, lambda: running(server, 1))
    await running(server, 0)
    assert database.pool_statistics().in_use == 0
    assert database.holders() == ()
    async with database.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1


@pytest.fixture
async def quiet_asyncpg() -> AsyncIterator[None]:
    """What asyncpg leaves behind of a connection whose opening was cancelled: an error that nobody is told of."""
    loop = asyncio.get_running_loop()
    told = loop.get_exception_handler()

    def tell(where: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "unexpected connection_lost() call" not in str(context.get("exception")) and told is not None:
            told(where, context)

    loop.set_exception_handler(tell)
    yield
    loop.set_exception_handler(told)


@pytest.mark.usefixtures("quiet_asyncpg")
async def test_a_storm_of_cancellations_leaves_the_pool_intact(database: Database, server: Any) -> None:
    """A thousand tasks, cancelled at random moments while they wait, connect, work and return."""
    chance = random.Random(7)

    async def work() -> None:
        async with database.begin() as session:
            await session.execute(text("SELECT pg_sleep(0.002)"))

    for _ in range(10):
        tasks = [asyncio.create_task(work()) for _ in range(100)]
        for task in tasks:
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.002)
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in results} <= {type(None), asyncio.CancelledError}
    await running(server, 0)
    seen = database.pool_statistics()
    assert (seen.in_use, seen.waiting) == (0, 0)
    assert database.holders() == ()
    await asyncio.gather(*(work() for _ in range(10)))
