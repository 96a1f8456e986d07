"""Submitting inside the caller's transaction: all of it or nothing, with each way to PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine

import fleet_tasks as fleet
from creatormate_resilience.db import Database
from creatormate_resilience.exceptions import ConfigurationError, TaskNotFoundError
from creatormate_resilience.tasks import TaskExecutor

from .conftest import executor_at, working

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def session_of_sqlalchemy(url: str) -> AsyncIterator[Any]:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with AsyncSession(engine) as session:
        yield session
    await engine.dispose()


@asynccontextmanager
async def connection_of_psycopg(url: str) -> AsyncIterator[Any]:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@asynccontextmanager
async def session_of_ours(url: str) -> AsyncIterator[Any]:
    async with Database(url) as database, database.session() as session:
        yield session


class Asyncpg:
    """asyncpg's connection with the two methods that the others have."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.transaction = connection.transaction()

    async def execute(self, statement: Any) -> Any:
        return await self.connection.fetch(str(statement))

    async def commit(self) -> None:
        await self.transaction.commit()

    async def rollback(self) -> None:
        await self.transaction.rollback()


@asynccontextmanager
async def connection_of_asyncpg(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    wrapped = Asyncpg(connection)
    await wrapped.transaction.start()
    yield wrapped
    await connection.close()


def bare(connection: Any) -> Any:
    return getattr(connection, "connection", connection) if isinstance(connection, Asyncpg) else connection


WAYS = [session_of_sqlalchemy, connection_of_psycopg, session_of_ours, connection_of_asyncpg]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_a_commit_leaves_exactly_one_task(way, postgres_url):
    """Nobody sees it before, and it runs after."""
    async with executor_at(postgres_url) as executor, way(postgres_url) as connection:
        await connection.execute(text("CREATE TABLE orders (id int)"))
        await connection.execute(text("INSERT INTO orders VALUES (1)"))
        handle = await executor.options(connection=bare(connection)).submit(fleet.add, 2)
        with pytest.raises(TaskNotFoundError, match="still open"):
            await handle.status()
        await connection.commit()
        async with working(executor):
            assert await handle.result(30) == 3
        assert [record.id for record in await executor.list()] == [handle.id]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_a_rollback_leaves_none(way, postgres_url):
    """No task and no job."""
    async with executor_at(postgres_url) as executor, way(postgres_url) as connection:
        handles = await executor.options(connection=bare(connection)).submit_many(fleet.add, [(1,), (2,)])
        await connection.rollback()
        assert await executor.list() == []
        assert (await executor.engine.queue_statistics()).queues == {}
        with pytest.raises(TaskNotFoundError):
            await handles[0].result(1)


async def test_a_kill_before_the_commit_leaves_neither_rows_nor_tasks(postgres_server, postgres_url):
    """The process dies between the submission and the commit."""
    code = f"""
import asyncio, os, asyncpg, fleet_tasks
async def main():
    async with fleet_tasks.executor as executor:
        connection = await asyncpg.connect({postgres_url!r})
        async with connection.transaction():
            await connection.execute("INSERT INTO orders VALUES (1)")
            await executor.options(connection=connection).submit(fleet_tasks.add, 1)
            print("submitted", flush=True)
            os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    postgres_server.execute("CREATE TABLE orders (id int)", "test")
    async with executor_at(postgres_url) as executor:
        harness = str(Path(fleet.__file__).parent)
        ended = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {fleet.DSN: postgres_url, "PYTHONPATH": harness},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (-9, "submitted\n"), ended.stderr
        assert postgres_server.execute("SELECT count(*) FROM orders", "test") == 0
        assert await executor.list() == []


async def test_a_unique_key_holds_across_transactions(postgres_url):
    """The second one waits for the first one's commit and gets its task."""
    async with executor_at(postgres_url) as executor, session_of_sqlalchemy(postgres_url) as session:
        first = await executor.options(connection=session, unique_key="report").submit(fleet.add, 1)
        await session.commit()
        second = await executor.options(connection=session, unique_key="report").submit(fleet.add, 2)
        await session.rollback()
        assert second.id == first.id


async def refusal(executor: TaskExecutor, connection: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        await executor.options(connection=connection).submit(fleet.add, 1)
    return str(refused.value)


async def test_what_is_no_transaction_of_this_database_is_refused(postgres_server, postgres_url, tmp_path):
    """By an error that names what is accepted; nothing is taken."""
    elsewhere = postgres_server.url
    async with executor_at(postgres_url) as executor:
        connection = await asyncpg.connect(postgres_url)
        assert "not in a transaction" in await refusal(executor, connection)
        await connection.close()
        async with connection_of_asyncpg(elsewhere) as foreign:
            assert "without the tables" in await refusal(executor, foreign.connection)
        async with session_of_sqlalchemy(elsewhere) as session:
            assert "without the tables" in await refusal(executor, session)
        async with Database(f"sqlite+aiosqlite:///{tmp_path}/a.db") as sqlite, sqlite.session() as session:
            assert "sqlite" in await refusal(executor, session)
        engine = create_async_engine(
            postgres_url.replace("postgresql://", "postgresql+asyncpg://"), isolation_level="AUTOCOMMIT"
        )
        async with engine.connect() as each_by_itself:
            assert isinstance(each_by_itself, AsyncConnection)
            assert "autocommit" in await refusal(executor, each_by_itself)
        await engine.dispose()
        assert "int" in await refusal(executor, 7)
        assert await executor.list() == []
