"""PostgreSQL: what happens to it happens to nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import anyio
import pytest
from sqlalchemy import text

from creatormate_resilience.db import Database, DatabaseState
from creatormate_resilience.exceptions import (
    AlreadyExistsError,
    CommitOutcomeUnknownError,
    ConfigurationError,
    DatabaseError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    DataIntegrityError,
    PoolExhaustedError,
    TransactionConflictError,
)
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio

BACKENDS_UNDER_TEST = "SELECT pid FROM pg_stat_activity WHERE application_name = 'under test'"
TERMINATE = f"SELECT count(pg_terminate_backend(pid)) FROM ({BACKENDS_UNDER_TEST}) AS backends"
APPLICATION = {"server_settings": {"application_name": "under test"}}


class ShiftedClock(FakeClock):
    """Real waits, on a clock that can be moved: connections grow old without anyone waiting for it."""

    def monotonic(self):
        return super().monotonic() + time.monotonic()

    async def asleep(self, seconds):
        await asyncio.sleep(seconds)


@pytest.fixture
def clock():
    return ShiftedClock()


@pytest.fixture
async def database(postgres_url, clock):
    """A database with one account of zero."""
    async with Database(postgres_url, clock=clock, connect_args=APPLICATION) as database:
        async with database.begin() as session:
            await session.execute(text("CREATE TABLE account (id int PRIMARY KEY, value int NOT NULL)"))
            await session.execute(text("INSERT INTO account VALUES (1, 0)"))
        yield database


async def value(database: Database) -> int:
    async with database.connect() as connection:
        return (await connection.execute(text("SELECT value FROM account WHERE id = 1"))).scalar_one()


async def add_one(transaction) -> None:
    """Read, think, write: loses updates unless the server serializes."""
    seen = (await transaction.session.execute(text("SELECT value FROM account WHERE id = 1"))).scalar_one()
    await asyncio.sleep(0)
    await transaction.session.execute(text("UPDATE account SET value = :v WHERE id = 1"), {"v": seen + 1})


async def fill_pool(database: Database, connections: int) -> None:
    """Open so many connections and leave them idle."""
    async with anyio.create_task_group() as tasks:
        for _ in range(connections):
            tasks.start_soon(hold_for_a_moment, database)


async def hold_for_a_moment(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute(text("SELECT pg_sleep(0.05)"))


async def test_a_healthy_idle_connection_survives_its_ping(postgres_url):
    """A connection that was idle is tested and used again, not replaced."""
    clock = ShiftedClock()
    async with Database(postgres_url, clock=clock, pool_size=1, max_overflow=0) as database:
        clock.advance(5)
        async with database.connect() as connection:
            await connection.execute(text("SELECT 1"))
        assert database.pool_statistics().created == 1


async def test_a_block_is_committed_or_rolled_back_as_a_whole(database):
    """The server says the same as the block's end."""
    async with database.begin(isolation_level="REPEATABLE READ") as session:
        level = (await session.execute(text("SHOW transaction_isolation"))).scalar_one()
        await session.execute(text("UPDATE account SET value = 1"))
    assert (level, await value(database)) == ("repeatable read", 1)
    with pytest.raises(ZeroDivisionError):
        async with database.begin() as session:
            await session.execute(text("UPDATE account SET value = 2"))
            raise ZeroDivisionError
    assert await value(database) == 1


async def test_server_errors_leave_under_their_own_names(database):
    """By SQLSTATE, with SQLAlchemy's error as the cause; inside the block it is still SQLAlchemy's."""
    for statement, kind in {
        "INSERT INTO account VALUES (1, 1)": AlreadyExistsError,
        "INSERT INTO account VALUES (2, NULL)": DataIntegrityError,
        "SELECT 1 / 0": DatabaseError,
        "SET LOCAL statement_timeout = 20; SELECT pg_sleep(5)": DatabaseTimeoutError,
    }.items():
        with pytest.raises(kind) as caught:
            async with database.begin() as session:
                for part in statement.split(";"):
                    await session.execute(text(part))
        assert type(caught.value.__cause__).__module__ == "sqlalchemy.exc"


@pytest.mark.parametrize("verb", ["connect", "begin", "session"])
async def test_what_is_opened_for_reading_refuses_to_write(database, verb):
    """The server refuses, also in autocommit; and whoever gets the connection next can write."""
    opened = database.connect() if verb == "connect" else getattr(database, verb)(read_only=True)
    with pytest.raises(DatabaseError, match=r"db\.begin\(\)"):
        async with opened as reader:
            await reader.execute(text("UPDATE account SET value = 7"))
    async with database.begin() as session:
        await session.execute(text("UPDATE account SET value = value + 1"))
    assert await value(database) == 1
    assert database.pool_statistics().idle == 1


async def test_reading_opens_no_transaction(database):
    """`connect` is in autocommit: between its statements the server sees it idle, and not idle in a transaction."""
    async with database.connect() as connection, database.connect() as other:
        pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        state = text("SELECT state FROM pg_stat_activity WHERE pid = :pid")
        assert (await other.execute(state, {"pid": pid})).scalar_one() == "idle"


async def test_contending_serializable_transactions_all_succeed(database):
    """Eight tasks that each add one, five times, at SERIALIZABLE: forty."""

    async def work() -> None:
        for _ in range(5):
            await database.run_transaction(add_one, isolation_level="SERIALIZABLE", max_attempts=50)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(work)
    assert await value(database) == 40


async def test_a_serialization_failure_is_a_conflict(database):
    """Without `run_transaction` it is the caller's to run again."""
    with pytest.raises(TransactionConflictError):
        async with database.begin(isolation_level="REPEATABLE READ") as session:
            await session.execute(text("SELECT value FROM account"))
            async with database.begin() as other:
                await other.execute(text("UPDATE account SET value = 1"))
            await session.execute(text("UPDATE account SET value = 2"))


@pytest.mark.parametrize("known", [True, False], ids=["noticed", "unnoticed"])
@pytest.mark.parametrize("concurrent", [False, True], ids=["in_turn", "at_once"])
async def test_terminated_connections_are_never_handed_out(database, postgres_url, clock, known, concurrent):
    """All backends are ended while idle: not one error, whether or not the client has noticed already."""
    await fill_pool(database, 10)
    async with Database(postgres_url) as other, other.begin() as session:
        assert (await session.execute(text(TERMINATE))).scalar_one() == 10
        if known:
            await asyncio.sleep(0.1)
    clock.advance(5)
    if concurrent:
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(hold_for_a_moment, database)
    for _ in range(15):
        assert await value(database) == 0


async def test_frozen_connections_cost_one_short_wait(database, clock):
    """Connections that went silent without a goodbye: no error, and after the first no more waits."""
    await fill_pool(database, 4)
    async with database.begin() as session:
        frozen = list((await session.execute(text(BACKENDS_UNDER_TEST))).scalars())
    assert len(frozen) == 4
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        clock.advance(5)
        started = time.monotonic()
        for _ in range(8):
            assert await value(database) == 0
        assert time.monotonic() - started < 4  # one ping of a second; waiting for each goodbye would take eight more
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)


async def test_a_restart_fails_nobody_who_runs_transactions(own_postgres_server):
    """Twenty workers, a restart in the middle: each of their transactions is applied exactly once."""
    async with Database(own_postgres_server.url) as database:
        async with database.begin() as session:
            await session.execute(text("CREATE TABLE done (worker int, number int, UNIQUE (worker, number))"))
        restarted = asyncio.Event()
        unknown: list[tuple[int, int]] = []
        counts = [0] * 20

        async def work(worker: int) -> None:
            while counts[worker] < 5 or not restarted.is_set():
                number = counts[worker]

                async def insert(transaction) -> None:
                    row = {"worker": worker, "number": number}  # noqa: B023 - used before the loop goes on
                    await transaction.session.execute(text("INSERT INTO done VALUES (:worker, :number)"), row)

                try:
                    await database.run_transaction(insert, max_attempts=12)
                except CommitOutcomeUnknownError:
                    unknown.append((worker, number))
                counts[worker] += 1

        async with asyncio.TaskGroup() as tasks:
            for worker in range(20):
                tasks.create_task(work(worker))
            await asyncio.sleep(0.1)
            await asyncio.to_thread(own_postgres_server.restart)
            restarted.set()
        assert unknown == []
        async with database.connect() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM done"))).scalar_one() == sum(counts)


async def test_a_lost_commit_is_said_so_and_not_run_again(database, postgres_url, postgres_proxy):
    """The server committed, its answer was lost: nobody may guess. It was applied once, and no callback ran."""
    attempts, told = [], []

    async def work(transaction) -> None:
        attempts.append(transaction.attempt)
        await transaction.session.execute(text("UPDATE account SET value = value + 1"))
        transaction.on_commit(lambda: told.append(1))
        postgres_proxy.lose_reply()

    async with Database(postgres_proxy.url_for(postgres_url)) as proxied:
        with pytest.raises(CommitOutcomeUnknownError) as caught:
            await proxied.run_transaction(work)
        assert not caught.value.retryable
        assert (attempts, told) == ([1], [])
        assert await value(proxied) == 1
        with pytest.raises(CommitOutcomeUnknownError):
            async with proxied.session() as session, session.begin():
                await session.execute(text("UPDATE account SET value = value + 1"))
                postgres_proxy.lose_reply()
    assert await value(database) == 2


async def test_a_connection_lost_before_commit_is_run_again(database, postgres_url, postgres_proxy):
    """Nothing was applied yet, so it is safe; the row is written once."""
    attempts = []

    async def work(transaction) -> None:
        attempts.append(transaction.attempt)
        await transaction.session.execute(text("UPDATE account SET value = value + 1"))
        if transaction.attempt == 1:
            postgres_proxy.reset()
            await asyncio.sleep(0.05)

    async with Database(postgres_proxy.url_for(postgres_url)) as proxied:
        await proxied.run_transaction(work)
    assert attempts == [1, 2]
    assert await value(database) == 1


async def test_cancelled_tasks_leak_no_connection(database):
    """However they are cancelled, and whatever they were at."""

    async def sleep(seconds: float) -> None:
        async with database.begin() as session:
            await session.execute(text("SELECT pg_sleep(:s)"), {"s": seconds})

    tasks = [asyncio.create_task(sleep(20)) for _ in range(25)]  # fifteen run, ten wait for a connection
    await asyncio.sleep(0.3)
    for task in tasks:
        task.cancel()
    assert {type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)} == {asyncio.CancelledError}
    with anyio.move_on_after(0.1):
        await sleep(20)
    assert database.pool_statistics().in_use == 0
    assert await value(database) == 0
    running = f"SELECT count(*) FROM pg_stat_activity WHERE pid IN ({BACKENDS_UNDER_TEST}) AND wait_event = 'PgSleep'"
    async with database.connect() as connection:
        for _ in range(50):
            if (await connection.execute(text(running))).scalar_one() == 0:
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("a query of a cancelled task still runs")


async def test_an_exhausted_pool_says_how_large_it_is(postgres_url):
    """The error names size, overflow and timeout; health tells it from a dead database."""
    async with Database(postgres_url, pool_size=1, max_overflow=1, pool_timeout=0.05) as database:
        async with database.begin(), database.begin():
            message = r"all 2 connections \(pool_size=1, max_overflow=1\).*pool_timeout=0\.05 s"
            with pytest.raises(PoolExhaustedError, match=message):
                await asyncio.create_task(value(database))
            assert (await database.health()).state is DatabaseState.SATURATED
        assert (await database.health()).state is DatabaseState.UP


async def test_a_server_that_is_away_is_one_clear_error(own_postgres_server):
    """At the start, in a block, and in health; and all is well once it is back."""
    async with Database(own_postgres_server.url) as database:
        own_postgres_server.kill()
        for opened in (database.begin(), database.connect(), database.begin()):
            with pytest.raises(DatabaseUnavailableError):
                async with opened:
                    pass
        with pytest.raises(DatabaseUnavailableError, match="cannot connect"):
            async with database.session() as session:
                await session.execute(text("SELECT 1"))
        assert (await database.health()).state is DatabaseState.DOWN
        own_postgres_server.start()
        async with database.connect() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1


async def test_a_server_that_does_not_answer_is_a_timeout(own_postgres_server):
    """Statement, connection attempt and health are all bounded."""
    async with Database(own_postgres_server.url, command_timeout=0.1, connect_timeout=1.5) as database:
        with pytest.raises(DatabaseTimeoutError):
            async with database.begin() as session:
                own_postgres_server.freeze()
                await session.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailableError, match="cannot connect"):
            async with database.begin():
                pass
        assert (await database.health(timeout=0.1)).state is DatabaseState.DOWN
        own_postgres_server.resume()


@pytest.mark.parametrize("wrong", ["password", "host", "database"])
async def test_wrong_coordinates_are_one_clear_error_without_the_password(own_postgres_server, wrong):
    """Password, host and database: each is named, and the password is nowhere."""
    port = own_postgres_server.port
    place = {
        "password": f"127.0.0.1:{port}/postgres",
        "host": "127.0.0.1:1/postgres",
        "database": f"127.0.0.1:{port}/x",
    }
    user = "guarded:hunter2" if wrong == "password" else "postgres:hunter2"
    if wrong == "password":
        hba = own_postgres_server.directory / "data" / "pg_hba.conf"
        hba.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
        async with Database(own_postgres_server.url) as database, database.begin() as session:
            await session.execute(text("CREATE USER guarded PASSWORD 'other'"))
            await session.execute(text("SELECT pg_reload_conf()"))
    kind = DatabaseUnavailableError if wrong == "host" else ConfigurationError
    with pytest.raises(kind) as caught:
        async with Database(f"postgresql://{user}@{place[wrong]}"):
            pass
    assert "hunter2" not in f"{caught.value!r} {caught.value} {caught.value.cause_chain}"
