"""`run_transaction`: run again where that is safe, and only there."""

from __future__ import annotations

import sqlite3

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from creatormate_resilience.db import Database, Transaction
from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.exceptions import (
    ConfigurationError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    OperationTimeoutError,
    TransactionConflictError,
)
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


def conflict() -> OperationalError:
    """What a busy SQLite raises through SQLAlchemy."""
    driver = sqlite3.OperationalError("database is locked")
    driver.sqlite_errorname = "SQLITE_BUSY"
    return OperationalError("UPDATE t", {}, driver)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def database(tmp_path, clock):
    """A database file with an empty table, on a clock that passes when waited on."""
    async with Database(f"sqlite:///{tmp_path}/app.db", clock=clock) as database:
        async with database.begin() as session:
            await session.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY)"))
        yield database


async def rows(database: Database) -> list[int]:
    async with database.connect() as connection:
        return list((await connection.execute(text("SELECT id FROM t ORDER BY id"))).scalars())


async def test_each_attempt_has_a_fresh_session_and_callbacks_run_once(database, clock):
    """Two conflicts, then success: one row, one call of the callback, after the commit."""
    sessions, told = [], []

    async def work(transaction):
        sessions.append(transaction.session)
        await transaction.session.execute(text("INSERT INTO t VALUES (1)"))

        async def tell():
            told.append((transaction.attempt, await rows(database)))

        transaction.on_commit(tell)
        transaction.on_commit(lambda: told.append("sync"))
        if transaction.attempt < 3:
            raise conflict()
        return "done"

    assert await database.run_transaction(work) == "done"
    assert len(set(map(id, sessions))) == 3
    assert told == [(3, [1]), "sync"]
    assert 0 < clock.monotonic() < 0.1


async def test_attempts_end(database):
    """After `max_attempts` the last error is raised, and no callback runs."""
    attempts, told = [], []

    async def work(transaction):
        attempts.append(transaction.attempt)
        transaction.on_commit(lambda: told.append(1))
        raise conflict()

    with pytest.raises(TransactionConflictError):
        await database.run_transaction(work, max_attempts=4)
    assert attempts == [1, 2, 3, 4]
    assert told == []


async def test_an_error_of_the_application_is_not_run_again(database):
    """It passes unchanged, and what it wrote is rolled back."""
    attempts = []

    async def work(transaction):
        attempts.append(transaction.attempt)
        await transaction.session.execute(text("INSERT INTO t VALUES (1)"))
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await database.run_transaction(work)
    assert attempts == [1]
    assert await rows(database) == []


async def test_a_callback_that_raises_does_not_undo_or_repeat_the_commit(database, caplog):
    """It is logged, the ones after it run, and the result is returned."""
    told = []

    def fail():
        raise RuntimeError("no broker")

    async def work(transaction):
        await transaction.session.execute(text("INSERT INTO t VALUES (1)"))
        transaction.on_commit(fail)
        transaction.on_commit(lambda: told.append("after"))
        return transaction.attempt

    assert await database.run_transaction(work) == 1
    assert await rows(database) == [1]
    assert told == ["after"]
    assert "on_commit" in caplog.text
    assert "no broker" in caplog.text


async def test_no_attempt_begins_that_the_deadline_leaves_no_time_for(database, clock):
    """The wait would outlast the deadline, so the error comes at once; with no time left nothing is tried at all."""
    attempts = []

    async def work(transaction):
        attempts.append(transaction.attempt)
        raise conflict()

    with deadline_scope(0.001, clock=clock), pytest.raises(TransactionConflictError):
        await database.run_transaction(work)
    assert (attempts, clock.monotonic()) == ([1], 0)
    with deadline_scope(0, clock=clock), pytest.raises(DeadlineExceededError):
        await database.run_transaction(work)
    assert attempts == [1]


@pytest.mark.usefixtures("sqlite_threads_end")
async def test_a_database_that_is_away_is_waited_for(tmp_path, clock):
    """The connection is lost before COMMIT, so trying again is safe."""
    directory = tmp_path / "later"
    waits = []

    class Builder(FakeClock):
        async def asleep(self, seconds):
            waits.append(seconds)
            if len(waits) == 3:
                directory.mkdir()

    database = Database(f"sqlite:///{directory}/app.db", clock=Builder())

    async def work(transaction):
        return (await transaction.session.execute(text("SELECT 1"))).scalar_one()

    assert await database.run_transaction(work) == 1
    assert waits == sorted(waits)
    assert len(waits) == 3
    await database.aclose()
    never = Database(f"sqlite:///{tmp_path}/never/app.db", clock=clock)
    with pytest.raises(DatabaseUnavailableError):
        await never.run_transaction(work)
    await never.aclose()


async def test_a_block_that_takes_too_long_is_rolled_back(database):
    """`timeout` interrupts the block, and the connection is free again."""
    forever = anyio.Event()
    with pytest.raises(OperationTimeoutError, match="the transaction took longer"):
        async with database.begin(timeout=0.02) as session:
            await session.execute(text("INSERT INTO t VALUES (1)"))
            await forever.wait()
    assert await rows(database) == []
    assert database.pool_statistics().in_use == 0


@pytest.mark.parametrize("wrong", [0, 1001, True])
async def test_a_wrong_number_of_attempts_is_refused(database, wrong):
    """At the call, with what is accepted."""
    with pytest.raises(ConfigurationError, match=r"max_attempts is .*accepted"):
        await database.run_transaction(lambda transaction: None, max_attempts=wrong)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_a_function_that_ends_its_own_transaction_is_told(tmp_path, ending):
    """Running it again could write twice, and its callbacks would tell of what did not happen."""
    sent: list[str] = []

    async def work(tx: Transaction) -> None:
        tx.on_commit(lambda: sent.append("receipt"))
        await tx.session.execute(text("CREATE TABLE t (i int)"))
        await getattr(tx.session, ending)()

    async with Database(f"sqlite:///{tmp_path}/own.db") as database:
        with pytest.raises(ConfigurationError, match="ended its transaction itself"):
            await database.run_transaction(work)
    assert sent == []


async def test_a_savepoint_inside_run_transaction_is_fine(tmp_path):
    """Only the transaction itself is not the function's to end."""

    async def work(tx: Transaction) -> None:
        await tx.session.execute(text("CREATE TABLE t (i int)"))
        async with tx.session.begin_nested():
            await tx.session.execute(text("INSERT INTO t VALUES (1)"))

    async with Database(f"sqlite:///{tmp_path}/savepoint.db") as database:
        await database.run_transaction(work)
        async with database.connect() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM t"))).scalar() == 1


async def test_a_callback_that_is_none_is_refused_at_the_call(tmp_path):
    """Not in the log after the commit."""

    async def work(tx: Transaction) -> None:
        tx.on_commit(3)  # type: ignore[arg-type]

    async with Database(f"sqlite:///{tmp_path}/callback.db") as database:
        with pytest.raises(TypeError, match="callback is int"):
            await database.run_transaction(work)
