"""Query statistics: every statement counts, whatever became of it, in bounded memory."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import random
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Integer, bindparam, create_engine, event, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from creatormate_resilience.db import Database, QueryStatistics
from creatormate_resilience.db._execution import CANCELLED, FAILED, Execution
from creatormate_resilience.db._query_recorder import QueryRecorder, Reporting
from creatormate_resilience.db._query_statistics import OTHER, QueryRow, QueryTable
from creatormate_resilience.db._statement_tap import StatementTap, tap_of
from creatormate_resilience.exceptions import ConfigurationError, DatabaseError, OperationTimeoutError

pytestmark = pytest.mark.anyio

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def run(statement: str = "SELECT 1", seconds: float = 0.001, ended: float = 1.0, **others) -> Execution:
    return Execution(statement, seconds, ended, **others)


def table(**options) -> QueryTable:
    return QueryTable(str.upper, **options)


def add(rows: QueryTable, each: Execution) -> None:
    rows.row(each.statement, each.ended).add(each)


def numbers(database: Database, **options) -> dict[str, QueryStatistics]:
    return {each.fingerprint: each for each in database.query_statistics(**options)}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Each of the databases in turn."""
    return f"sqlite:///{tmp_path}/app.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
async def database(url):
    """A database with a table of three rows, and nothing counted yet."""
    async with Database(url) as database:
        async with database.begin() as session:
            await session.execute(text("CREATE TABLE item (id int PRIMARY KEY, name varchar(50))"))
            await session.execute(text("INSERT INTO item VALUES (1, 'a'), (2, 'b'), (3, 'c')"))
        database.reset_query_statistics()
        yield database


# The table ------------------------------------------------------------------------------------------------------------
def test_quantiles_are_within_two_and_a_half_percent():
    """Over all runs, from microseconds to minutes, against the sorted durations themselves."""
    chance = random.Random(7)
    seconds = [10 ** chance.uniform(-5, 2) for _ in range(5000)]
    row = QueryRow("Q", 0.0)
    for each in seconds:
        row.add(run(seconds=each))
    ordered = sorted(seconds)
    for share in (0.01, 0.5, 0.95, 0.99, 1.0):
        exact = ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
        assert row.quantile(share) == pytest.approx(exact, rel=0.025)


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e-6, 16384.0, 1e9])
def test_durations_beyond_the_scale_stay_in_it(seconds):
    """What is shorter than a microsecond or longer than hours is counted, and no quantile is above the longest."""
    row = QueryRow("Q", 0.0)
    row.add(run(seconds=seconds))
    assert row.count == 1
    assert row.quantile(0.99) <= row.max == seconds


def test_a_row_counts_all_that_a_run_tells():
    """Errors, cancellations, rows, parameter sets, the sum, the longest and the last."""
    rows = table()
    add(rows, run(seconds=1.0, ended=5.0, rows=3))
    add(rows, run(seconds=3.0, ended=9.0, rows=2, parameter_sets=7))
    add(rows, run(seconds=1.0, ended=7.0, fate=FAILED))
    add(rows, run(seconds=1.0, ended=8.0, fate=CANCELLED))
    (seen,) = rows.top(10, "count", EPOCH)
    assert (seen.count, seen.errors, seen.cancelled, seen.rows, seen.parameter_sets) == (4, 1, 1, 5, 10)
    assert (seen.total_time, seen.mean, seen.max) == (6.0, 1.5, 3.0)
    assert seen.last_seen == EPOCH + timedelta(seconds=8.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen.count = 0


@pytest.mark.parametrize(
    ("by", "first"), [("total_time", "MANY"), ("count", "MANY"), ("mean", "SLOW"), ("p99", "SLOW"), ("errors", "BAD")]
)
def test_each_order_has_its_first(by, first):
    """Many short runs, one long one, one that fails: each leads where it is the worst."""
    rows = table()
    for _ in range(50):
        add(rows, run("many", seconds=0.1))
    add(rows, run("slow", seconds=2.0))
    add(rows, run("bad", seconds=0.1, fate=FAILED))
    assert [each.fingerprint for each in rows.top(1, by, EPOCH)] == [first]


def test_what_is_out_of_range_is_refused():
    """The error names the argument and what is accepted."""
    with pytest.raises(ConfigurationError, match="by is 'age'; accepted are total_time, count, mean, p99, errors"):
        table().top(1, "age", EPOCH)
    with pytest.raises(ConfigurationError, match=r"by is \[\]"):
        table().top(1, [], EPOCH)
    for top in (0, True, 1.5):
        with pytest.raises(ConfigurationError, match=r"top is .*; accepted are whole numbers from 1"):
            table().top(top, "count", EPOCH)


def test_too_many_statements_go_into_one_row():
    """The oldest make room; nothing that was counted is lost, and the table stays as small as it was told to."""
    rows = table(max_rows=20, max_texts=50)
    for number in range(1000):
        add(rows, run(f"s{number}", seconds=0.5, ended=float(number)))
        add(rows, run("always there", seconds=0.25, ended=float(number)))
    seen = rows.top(100, "count", EPOCH)
    assert seen[0].fingerprint == "ALWAYS THERE"
    assert seen[0].count == 1000
    assert seen[-1].fingerprint == OTHER
    assert len(seen) <= 21
    assert sum(each.count for each in seen) == 2000
    assert sum(each.total_time for each in seen) == pytest.approx(750.0)
    assert seen[-1].p50 == pytest.approx(0.5, rel=0.025)
    assert len(rows._young) + len(rows._old) <= 50


def test_texts_are_fingerprinted_once_while_they_are_in_use():
    """A text in use is remembered while others come and go, and no text is kept."""
    asked = []
    rows = QueryTable(lambda statement: asked.append(statement) or "same", max_texts=20)
    for number in range(100):
        add(rows, run("often"))
        add(rows, run(f"once {number}"))
    assert asked.count("often") == 1
    assert not any(isinstance(key, str) for key in [*rows._young, *rows._old])


def test_threads_lose_nothing():
    """Eight threads that record at the same time are all counted."""
    recorder = QueryRecorder("sqlite", Reporting(), max_rows=10)

    def work(number: int) -> None:
        for each in range(500):
            recorder.record(run(f"SELECT a{(number + each) % 40} FROM t", seconds=0.01), (), None)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.count for each in recorder.top(100, "count")) == 4000


def test_what_ran_last_is_counted_when_somebody_asks():
    """Whatever the height of the pile; a long statement does not stay on it; reset clears it too."""
    recorder = QueryRecorder("sqlite", Reporting())
    for number in range(1, 200):
        recorder.record(run(), (), None)
        assert len(recorder._pile) < 64
        if number % 33 == 0:
            assert recorder.top(1, "count")[0].count == number
    recorder.record(run("SELECT " + "1, " * 1000 + "2"), (), None)
    assert len(recorder._pile) == 0
    recorder.record(run(), (), None)
    recorder.reset()
    assert recorder.top(1, "count") == ()


# On databases ---------------------------------------------------------------------------------------------------------
async def test_statements_count_under_their_fingerprint(database):
    """Whatever the values and however many in a list; rows read and written; who counted is not counted."""
    for ids in ([1], [1, 2], [1, 2, 3]):
        statement = text("SELECT name FROM item WHERE id IN :ids").bindparams(bindparam("ids", expanding=True))
        async with database.connect() as connection:
            await connection.execute(statement, {"ids": ids})
    async with database.begin() as session:
        await session.execute(text("UPDATE item SET name = 'secret' WHERE id > 1"))
    seen = numbers(database)
    assert set(seen) == {"SELECT name FROM item WHERE id IN (?)", "UPDATE item SET name = ? WHERE id > ?"}
    assert [(each.count, each.rows, each.errors) for each in seen.values()] in (
        [(3, 6, 0), (1, 2, 0)],
        [(1, 2, 0), (3, 6, 0)],
    )
    assert all(0 < each.p50 <= each.max <= each.total_time for each in seen.values())
    assert all(abs(datetime.now(UTC) - each.last_seen) < timedelta(minutes=1) for each in seen.values())
    database.reset_query_statistics()
    assert database.query_statistics() == ()


async def test_the_library_s_own_statements_do_not_count(database):
    """Neither opening, health, ping, BEGIN, COMMIT nor what SQLAlchemy asks at the first connection."""
    async with Database(engine=database.engine) as other:
        await other.health()
        await database.health()
        async with database.begin():
            pass
    assert database.query_statistics() == ()


async def test_nothing_is_counted_when_a_database_is_opened(url):
    """SQLAlchemy's questions to a new server are not the application's."""
    async with Database(url) as database:
        assert database.query_statistics() == ()


async def test_a_statement_that_fails_counts_as_an_error(database):
    """It is timed as well."""
    with pytest.raises(DatabaseError):
        async with database.connect() as connection:
            await connection.execute(text("SELECT nothing FROM item"))
    (seen,) = database.query_statistics(by="errors")
    assert (seen.count, seen.errors, seen.cancelled, seen.rows) == (1, 1, 0, 0)
    assert seen.total_time > 0


@pytest.mark.parametrize("how", ["cancel", "timeout", "begin"])
async def test_a_statement_that_is_cancelled_counts_as_cancelled(postgres_url, how):
    """By a task's end, by a timeout around it, or by that of the transaction."""

    async def sleep(timeout: float | None = None) -> None:
        async with database.begin(timeout=timeout) as session:
            await session.execute(text("SELECT pg_sleep(20)"))

    async with Database(postgres_url) as database:
        if how == "cancel":
            running = asyncio.Event()
            event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *_: running.set())
            task = asyncio.create_task(sleep())
            await running.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif how == "timeout":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sleep(), 0.1)
        else:
            with pytest.raises(OperationTimeoutError):
                await sleep(0.1)
        (seen,) = database.query_statistics()
        assert (seen.fingerprint, seen.count, seen.errors, seen.cancelled) == ("SELECT pg_sleep(?)", 1, 0, 1)
        assert 0 < seen.max < 20


async def test_an_executemany_counts_once_with_all_its_parameters(database):
    """It is one call, however many sets of parameters go with it."""
    async with database.begin() as session:
        await session.execute(text("UPDATE item SET name = 'x' WHERE id = :id"), [{"id": 1}, {"id": 2}, {"id": 3}])
    (seen,) = database.query_statistics()
    assert (seen.count, seen.parameter_sets) == (1, 3)


async def test_a_stream_counts_once_and_its_rows_are_not_known(postgres_url):
    """What is fetched later is neither timed nor counted; an early end is no error."""
    async with Database(postgres_url) as database:
        async with database.begin() as session:
            rows = await session.stream(text("SELECT generate_series(1, 500)"))
            assert await rows.fetchone() is not None
            await rows.close()
        (seen,) = database.query_statistics()
        assert (seen.count, seen.rows, seen.errors, seen.cancelled) == (1, 0, 0, 0)


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str]


async def test_batches_of_the_orm_are_one_statement(database):
    """Inserts of one, of a few and of thousands of objects, and nested transactions, make few rows."""
    async with database.begin() as session:
        await (await session.connection()).run_sync(Base.metadata.create_all)
    database.reset_query_statistics()
    for many in (2, 5, 3000):
        async with database.begin() as session:
            session.add_all([Thing(name=f"name {number}") for number in range(many)])
    async with database.begin() as session:
        for _ in range(5):
            async with session.begin_nested():
                await session.scalars(select(Thing).where(Thing.id == 1))
    seen = database.query_statistics(top=100)
    assert len([each for each in seen if each.fingerprint.startswith("INSERT")]) <= 2  # one ends within its rows
    assert {each.fingerprint for each in seen if "SAVEPOINT" in each.fingerprint} == {
        "SAVEPOINT ?",
        "RELEASE SAVEPOINT ?",
    }


async def test_each_database_counts_its_own(tmp_path):
    """Two engines have nothing to do with each other; two databases over one engine both see its statements."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shared.db")
    async with Database(f"sqlite:///{tmp_path}/a.db") as alone:
        first, second = Database(engine=engine), Database(engine=engine)
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 5"))
        assert [len(each.query_statistics()) for each in (alone, first, second)] == [0, 1, 1]
        assert first.query_statistics()[0].count == 1
        del second
        gc.collect()
        assert len(tap_of(engine.sync_engine)._recorders) == 1
        await first.aclose()
    await engine.dispose()


async def test_loops_one_after_the_other_are_counted_together(tmp_path):
    """A database that another event loop opens again goes on counting."""
    database = Database(f"sqlite:///{tmp_path}/app.db")

    async def use() -> None:
        async with database, database.connect() as connection:
            await connection.execute(text("SELECT 5"))

    for _ in range(2):
        await asyncio.to_thread(asyncio.run, use())
    assert database.query_statistics()[0].count == 2


async def test_switched_off_it_says_so(tmp_path):
    """The engine runs its statements itself, and who asks gets an error that tells why."""
    database = Database(f"sqlite:///{tmp_path}/app.db", query_statistics=False)
    assert not isinstance(getattr(database.engine.dialect.do_execute, "__self__", None), StatementTap)
    for ask in (database.query_statistics, database.reset_query_statistics):
        with pytest.raises(ConfigurationError, match="query_statistics is False"):
            ask()


@pytest.mark.parametrize("when", ["before", "after"])
def test_listeners_of_the_application_are_asked(when):
    """All of them, whenever they came; one that runs a statement itself is left to do so, and nothing counts then."""
    engine = create_engine("sqlite://")
    seen = []

    def listen(cursor, statement, parameters, context) -> bool | None:
        seen.append(statement)
        return cursor.execute("SELECT 'its own'") and True if "SELECT 8" in statement else None

    recorder = QueryRecorder("sqlite", Reporting())
    if when == "after":
        tap_of(engine).attach(recorder)
    event.listen(engine, "do_execute", listen)
    if when == "before":
        tap_of(engine).attach(recorder)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 7")).scalar() == 7
        assert connection.execute(text("SELECT 8")).scalar() == "its own"
        assert connection.exec_driver_sql("SELECT 8", execution_options={"no_parameters": True}).scalar() == 8
    tap_of(engine).detach(recorder)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 9")).scalar() == 9
    engine.dispose()
    assert seen[-3:] == ["SELECT 7", "SELECT 8", "SELECT 9"]
    assert [(each.fingerprint, each.count) for each in recorder.top(10, "count")] == [("SELECT ?", 2)]


def test_what_a_dialect_runs_without_a_context_is_run_and_not_counted():
    """Extensions may ask the dialect itself to run something."""
    engine = create_engine("sqlite://")
    recorder = QueryRecorder("sqlite", Reporting())
    tap_of(engine).attach(recorder)
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        engine.dialect.do_execute(cursor, "SELECT ?", (7,))
        assert cursor.fetchone() == (7,)
        engine.dialect.do_execute_no_params(cursor, "SELECT 8")
        assert cursor.fetchone() == (8,)
        cursor.close()
    engine.dispose()
    assert recorder.top(10, "count") == ()
