"""Opening and closing: nothing before its time, nothing left behind, one owner."""

from __future__ import annotations

import asyncio
import gc
import os

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from creatormate_resilience.db import Database, DatabaseState
from creatormate_resilience.exceptions import ConfigurationError, ShuttingDownError

pytestmark = pytest.mark.anyio


async def select_one(database: Database) -> int:
    async with database.connect() as connection:
        return (await connection.execute(text("SELECT 1"))).scalar_one()


def test_the_constructor_opens_nothing(tmp_path):
    """No event loop is needed, no file is made, and nothing has to be closed."""
    database = Database(f"sqlite:///{tmp_path}/app.db")
    assert not (tmp_path / "app.db").exists()
    assert "not started" in repr(database)
    del database
    gc.collect()  # a ResourceWarning would fail the test


async def test_closing_leaves_no_journal_behind(tmp_path):
    """All connections are closed, so SQLite has folded its write-ahead log into the file."""
    async with Database(f"sqlite:///{tmp_path}/app.db") as database:
        async with database.begin() as session:
            await session.execute(text("CREATE TABLE t (id INTEGER)"))
        assert (tmp_path / "app.db-wal").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["app.db"]


async def test_a_closed_database_refuses_until_it_is_started_again(tmp_path):
    """Closing twice is fine."""
    database = Database(f"sqlite:///{tmp_path}/app.db")
    async with database:
        assert await select_one(database) == 1
    await database.aclose()
    with pytest.raises(ShuttingDownError, match="start"):
        await select_one(database)
    async with database:
        assert await select_one(database) == 1


def test_a_second_event_loop_is_refused_until_the_first_has_closed(tmp_path):
    """Connections belong to their event loop; the error says what to do."""
    database = Database(f"sqlite:///{tmp_path}/app.db")
    with asyncio.Runner() as first, asyncio.Runner() as second:
        assert first.run(select_one(database)) == 1
        with pytest.raises(ConfigurationError, match="another event loop"):
            second.run(select_one(database))
        first.run(database.aclose())
        second.run(database.start())
        assert second.run(select_one(database)) == 1
        second.run(database.aclose())


async def test_a_forked_process_is_refused(tmp_path, monkeypatch):
    """Two processes on one socket would read each other's answers."""
    async with Database(f"sqlite:///{tmp_path}/app.db") as database:
        with monkeypatch.context() as patched:
            patched.setattr(os, "getpid", lambda: -1)  # what the child of a fork would see
            with pytest.raises(ConfigurationError, match="fork"):
                await select_one(database)
            await database.aclose()  # leaves the parent's connections alone
        assert await select_one(database) == 1


async def test_a_database_left_open_is_a_resource_warning(tmp_path):
    """The warning shows which one."""
    database = Database(f"sqlite:///{tmp_path}/app.db")
    await select_one(database)
    await database.engine.dispose()  # the driver warns for its own connections
    with pytest.warns(ResourceWarning, match=r"app\.db"):
        database.__del__()
    await database.aclose()


async def test_an_engine_of_ones_own_is_used_and_left_open(tmp_path):
    """Closing the database leaves it as it was."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/app.db")
    async with Database(engine=engine) as database:
        async with database.begin() as session:
            await session.execute(text("CREATE TABLE t (id INTEGER)"))
        with pytest.raises(ConfigurationError, match="read_only"):
            async with database.begin(read_only=True):
                pass
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM t"))).scalar_one() == 0
    await engine.dispose()


async def test_health_tells_saturated_from_dead(tmp_path):
    """With all connections in use it looks through one outside of the pool."""
    async with Database(f"sqlite:///{tmp_path}/app.db", pool_size=1, max_overflow=0) as database:
        assert (await database.health()).state is DatabaseState.UP
        async with database.connect():
            health = await database.health()
        assert (health.state, health.pool.in_use) == (DatabaseState.SATURATED, 1)
        assert health.latency is not None


@pytest.mark.usefixtures("sqlite_threads_end")
async def test_health_of_a_broken_database_is_down_and_says_why(tmp_path):
    """It does not raise."""
    database = Database(f"sqlite:///{tmp_path}/nowhere/app.db")
    health = await database.health()
    assert health.state is DatabaseState.DOWN
    assert "unable to open" in health.detail
    await database.aclose()


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), "1"])
async def test_a_wrong_timeout_is_refused_at_the_call(tmp_path, wrong):
    """It is named, with what is accepted."""
    database = Database(f"sqlite:///{tmp_path}/app.db")
    with pytest.raises(ConfigurationError, match=r"timeout is .*accepted"):
        async with database.begin(timeout=wrong):
            pass
    with pytest.raises(ConfigurationError, match=r"isolation_level is .*accepted"):
        async with database.begin(isolation_level="SNAPSHOT"):
            pass
    await database.aclose()
