"""SQLite: transactions that are real ones, and errors under their own names."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from creatormate_resilience.db import Database
from creatormate_resilience.exceptions import (
    AlreadyExistsError,
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailableError,
    DataIntegrityError,
    PoolExhaustedError,
    TransactionConflictError,
)

pytestmark = pytest.mark.anyio


class Base(DeclarativeBase):
    pass


class Counter(Base):
    __tablename__ = "counter"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


@pytest.fixture
async def database(tmp_path):
    """A database file with one counter at zero."""
    async with Database(f"sqlite:///{tmp_path}/app.db") as database:
        async with database.begin() as session:
            await (await session.connection()).run_sync(Base.metadata.create_all)
            session.add(Counter(id=1, value=0))
        yield database


async def counted(database: Database) -> int:
    async with database.connect() as connection:
        return (await connection.execute(text("SELECT value FROM counter WHERE id = 1"))).scalar_one()


async def test_no_update_is_lost_between_a_read_and_a_write(database):
    """Ten tasks that read, add one and write, twenty times each, make exactly two hundred."""

    async def work() -> None:
        for _ in range(20):
            async with database.begin() as session:
                counter = await session.get_one(Counter, 1)
                counter.value += 1

    await asyncio.gather(*(work() for _ in range(10)))
    assert await counted(database) == 200


async def test_a_block_that_raises_leaves_nothing_behind(database):
    """The application's own error passes unchanged, and its transaction is rolled back."""
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with database.begin() as session:
            (await session.get_one(Counter, 1)).value = 99
            await session.flush()
            raise error
    assert caught.value is error
    assert await counted(database) == 0


async def test_readers_do_not_wait_for_a_writer(database):
    """While one transaction writes, others read the state before it."""
    async with database.begin() as session:
        (await session.get_one(Counter, 1)).value = 5
        await session.flush()
        assert await counted(database) == 0
        async with database.begin(read_only=True) as reader:
            assert (await reader.get_one(Counter, 1)).value == 0
    assert await counted(database) == 5


@pytest.mark.parametrize("verb", ["connect", "begin", "session"])
async def test_what_is_opened_for_reading_refuses_to_write(database, verb):
    """A write through a reader is an error that says which verb to use, and changes nothing."""
    opened = database.connect() if verb == "connect" else getattr(database, verb)(read_only=True)
    with pytest.raises(DatabaseError, match=r"db\.begin\(\)"):
        async with opened as reader:
            await reader.execute(text("UPDATE counter SET value = 7"))
    async with database.begin() as session:  # and its connection can write again for whoever comes next
        (await session.get_one(Counter, 1)).value += 1
    assert await counted(database) == 1


async def test_integrity_errors_keep_their_cause(database):
    """A duplicate key is `AlreadyExistsError`, a missing value `DataIntegrityError`, each from the driver's error."""
    with pytest.raises(AlreadyExistsError) as caught:
        async with database.begin() as session:
            session.add(Counter(id=1, value=1))
    assert isinstance(caught.value.__cause__.orig, sqlite3.IntegrityError)
    with pytest.raises(DataIntegrityError):
        async with database.begin() as session:
            await session.execute(text("INSERT INTO counter (id) VALUES (2)"))


async def test_a_writer_that_waits_too_long_is_a_conflict(tmp_path, database):
    """When the busy timeout has passed, the error says that the transaction may be run again."""
    async with Database(f"sqlite:///{tmp_path}/app.db", busy_timeout=0.05) as impatient, database.begin():
        with pytest.raises(TransactionConflictError) as caught:
            async with impatient.begin():
                pass
    assert caught.value.retryable


@pytest.mark.usefixtures("sqlite_threads_end")
async def test_a_file_that_cannot_be_opened_is_said_so(tmp_path):
    """A directory that does not exist is an unavailable database."""
    with pytest.raises(DatabaseUnavailableError, match="unable to open"):
        async with Database(f"sqlite:///{tmp_path}/nowhere/app.db"):
            pass


async def test_an_in_memory_database_is_one_database_for_all_tasks():
    """It has a single connection, which tasks use in turn."""
    async with Database("sqlite://", pool_timeout=0.05) as database:
        async with database.begin() as session:
            await (await session.connection()).run_sync(Base.metadata.create_all)
        async with database.begin() as session:
            session.add(Counter(id=1, value=3))
        assert await counted(database) == 3
        with pytest.raises(PoolExhaustedError, match="pool_size=1"):
            async with database.begin(), database.begin():
                pass


async def test_a_session_left_with_changes_rolls_back_and_warns(database):
    """The warning names what to do, and points at the line that left."""
    with pytest.warns(RuntimeWarning, match=r"commit them, or use db\.begin") as warned:
        async with database.session() as session:
            (await session.get_one(Counter, 1)).value = 4
    assert warned[0].filename == __file__
    with pytest.warns(RuntimeWarning):
        async with database.session() as session:
            await session.execute(text("UPDATE counter SET value = 4"))
    assert await counted(database) == 0


async def test_a_session_that_committed_or_only_read_does_not_warn(database):
    """What was committed stays; the connection goes back to the pool with the commit."""
    async with database.session() as session:
        (await session.get_one(Counter, 1)).value = 4
        await session.commit()
        assert database.pool_statistics().in_use == 0
        assert (await session.get_one(Counter, 1)).value == 4
    async with database.session() as session, session.begin():
        (await session.get_one(Counter, 1)).value = 6
    async with database.session() as session:
        await session.execute(text("UPDATE counter SET value = 1"))
        await session.rollback()
    assert await counted(database) == 6


async def test_savepoints_do_not_end_the_transaction(database):
    """What a savepoint released is committed with the rest, or rolled back and warned about with the rest."""
    async with database.begin() as session:
        async with session.begin_nested():
            (await session.get_one(Counter, 1)).value = 2
        with pytest.raises(ZeroDivisionError):
            async with session.begin_nested():
                (await session.get_one(Counter, 1)).value = 3
                await session.flush()
                raise ZeroDivisionError
    assert await counted(database) == 2
    with pytest.warns(RuntimeWarning, match="uncommitted"):
        async with database.session() as session, session.begin_nested():
            (await session.get_one(Counter, 1)).value = 9
    assert await counted(database) == 2


async def test_a_cancelled_writer_keeps_nobody_out(tmp_path):
    """Wherever in its statements a task is cancelled, the next writer gets the lock."""

    async def busy() -> None:
        async with database.begin() as session:
            while True:
                await session.execute(text("SELECT 1"))

    async with Database(f"sqlite:///{tmp_path}/app.db", busy_timeout=2) as database:
        for number in range(20):
            task = asyncio.create_task(busy())
            for _ in range(10 + number):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001 * number)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with database.begin():
                pass


async def test_a_statement_whose_task_was_cancelled_is_interrupted(tmp_path):
    """A long statement of a cancelled task does not keep the next writer waiting until it ends."""
    endless = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")

    async def busy() -> None:
        async with database.begin() as session:
            started.set()
            await session.execute(endless)

    async with Database(f"sqlite:///{tmp_path}/app.db", busy_timeout=5) as database:
        started = asyncio.Event()
        task = asyncio.create_task(busy())
        await started.wait()
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with database.begin():
            pass


async def test_a_refused_commit_leaves_a_connection_that_can_be_used(tmp_path):
    """A COMMIT that fails on a deferred foreign key is rolled back, and the next transaction begins."""
    async with Database(f"sqlite:///{tmp_path}/app.db", pool_size=1, max_overflow=0) as database:
        async with database.begin() as session:
            await session.execute(text("CREATE TABLE p (id INTEGER PRIMARY KEY)"))
            await session.execute(text("CREATE TABLE u (id INTEGER REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)"))
        with pytest.raises(DataIntegrityError):
            async with database.begin() as session:
                await session.execute(text("INSERT INTO u VALUES (5)"))
        async with database.begin() as session:
            assert (await session.execute(text("SELECT count(*) FROM u"))).scalar_one() == 0


async def test_warming_up_in_memory_opens_its_one_connection():
    """The default of `warm_up` is the size of the pool there is, not the one that was asked for."""
    async with Database("sqlite://", pool_timeout=0.2) as database:
        await database.warm_up()
        assert database.pool_statistics().idle == 1
        with pytest.raises(ConfigurationError, match="connections"):
            await database.warm_up(2)
