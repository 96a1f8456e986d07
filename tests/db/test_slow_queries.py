"""Slow statements are told of: what, how long, from where, with which plan; never with which values."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import pytest
from sqlalchemy import text

from creatormate_resilience.db import Database, QueryExplained, SlowQuery
from creatormate_resilience.db._execution import CANCELLED, FAILED, Execution
from creatormate_resilience.db._explain import _is_select, _without_literals
from creatormate_resilience.db._fingerprint import syntax_of
from creatormate_resilience.db._query_recorder import QueryRecorder, Reporting
from creatormate_resilience.db._slow_queries import RateLimit, nulls_for, shape_of
from creatormate_resilience.exceptions import ConfigurationError, DatabaseError

pytestmark = pytest.mark.anyio

AT_ONCE = 1e-6
"""A threshold that every statement passes."""


class Told(list):
    """A listener that keeps what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._some = asyncio.Event()

    def __call__(self, event: object) -> None:
        self.append(event)
        self._some.set()

    async def wait_for(self, kind: type) -> object:
        """The first event of a kind."""
        async with asyncio.timeout(10):
            while not (found := [event for event in self if isinstance(event, kind)]):
                self._some.clear()
                await self._some.wait()
        return found[0]


def slow(statement: str = "SELECT 1", seconds: float = 2.0, ended: float = 0.0, **others) -> Execution:
    return Execution(statement, seconds, ended, **others)


# What is told ---------------------------------------------------------------------------------------------------------
def test_only_what_takes_as_long_as_the_threshold_is_told():
    """At the threshold and above it, with everything but the values."""
    told = []
    recorder = QueryRecorder("postgresql", Reporting(listeners=(told.append,), slow_after=1.0))
    recorder.record(slow("SELECT 'a'", seconds=0.999), (), None)
    recorder.record(slow("SELECT 'b'", seconds=1.0, rows=3), ("hunter2", 4, None, b"xyz"), None)
    assert told == [
        SlowQuery("db", "SELECT ?", 1.0, 3, ("str[7]", "int", "NoneType", "bytes[3]"), None, told[0].where, 0)
    ]
    assert told[0].where[-1].startswith("test_only_what_takes_as_long_as_the_threshold_is_told (test_slow_queries.py:")


def test_what_failed_or_was_cancelled_is_told_by_its_type():
    """An error's text may hold anything, so it is not told."""
    told = []
    recorder = QueryRecorder("postgresql", Reporting(listeners=(told.append,), slow_after=1.0))
    recorder.record(slow("SELECT 1", fate=FAILED, error="ValueError"), (), None)
    recorder.record(slow("SELECT a", fate=CANCELLED, error="CancelledError"), (), None)
    assert [event.error for event in told] == ["ValueError", "CancelledError"]
    assert "hunter2" not in repr(told)


def test_one_statement_does_not_flood():
    """It is told of once in ten seconds, with the number of those that were not; another is told of meanwhile."""
    told = []
    recorder = QueryRecorder("postgresql", Reporting(listeners=(told.append,), slow_after=1.0))
    for ended in (0, 1, 9.9, 10, 11, 30):
        recorder.record(slow("SELECT 1", ended=ended), (), None)
    recorder.record(slow("SELECT a", ended=30), (), None)
    assert [(event.fingerprint, event.suppressed) for event in told] == [
        ("SELECT ?", 0), ("SELECT ?", 2), ("SELECT ?", 1), ("SELECT a", 0)
    ]  # fmt: skip


def test_many_statements_do_not_flood_either():
    """No more than so many speak in an interval, and no more than so many are remembered."""
    limit = RateLimit(interval=10.0, most=5)
    assert [limit.suppressed(f"q{number}", 0.0) for number in range(7)] == [0] * 5 + [None] * 2
    assert limit.suppressed("q6", 10.0) == 0
    assert len(limit._told) == 1


@pytest.mark.parametrize(
    ("parameters", "sets", "shape"),
    [
        ((), 1, ()),
        (None, 1, ()),
        ({"name": "abc", "n": 1.5}, 1, ("name: str[3]", "n: float")),
        ([("a", 1), ("bb", 2)], 2, ("str[1]", "int")),
        (([1, 2], {"k": 1}, OrderedDict()), 1, ("list[2]", "dict[1]", "OrderedDict[0]")),
        (("x" * 9,) * 25, 1, ("str[9]",) * 20 + ("and 5 more",)),
    ],
)
def test_parameters_have_a_shape(parameters, sets, shape):
    """Types and lengths, of the first twenty; names where there are names; the first set where there are many."""
    assert shape_of(parameters, sets) == shape


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_slow_statement_of_a_database_is_told(kind, tmp_path, request):
    """With the function that ran it, through the greenlets of SQLAlchemy."""
    url = f"sqlite:///{tmp_path}/app.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    told = Told()

    async def load_report(database: Database) -> None:
        async with database.connect() as connection:
            await connection.execute(text("SELECT :secret || 'other secret'"), {"secret": "hunter2"})

    async with Database(url, listeners=[told], slow_query_threshold=AT_ONCE) as database:
        await load_report(database)
        with pytest.raises(DatabaseError):
            async with database.begin() as session:
                await session.execute(text("SELECT nothing"))
    answered, failed = told
    assert answered.parameters_shape == ("str[7]",)
    assert answered.error is None
    assert answered.where[-1].startswith(
        f"{test_a_slow_statement_of_a_database_is_told.__name__}.<locals>.load_report ("
    )
    assert failed.error is not None
    assert "secret" not in repr(told)
    assert "hunter2" not in repr(told)


async def test_a_listener_that_raises_harms_nobody(tmp_path):
    """The statement's result arrives."""

    def broken(event: object) -> None:
        raise ValueError

    async with (
        Database(f"sqlite:///{tmp_path}/app.db", listeners=[broken], slow_query_threshold=AT_ONCE) as database,
        database.connect() as connection,
    ):
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1


# Plans ----------------------------------------------------------------------------------------------------------------
async def test_the_plan_of_a_slow_select_is_told(postgres_url):
    """For any parameters, without literals; the statement is not run again, nor is EXPLAIN counted."""
    told = Told()
    async with Database(postgres_url) as plain, plain.begin() as session:
        await session.execute(text("CREATE TABLE item (id int PRIMARY KEY, name varchar(50))"))
        await session.execute(text("CREATE SEQUENCE runs"))
    options = {"slow_query_threshold": AT_ONCE, "explain_slow_queries": True}
    async with Database(postgres_url, listeners=[told], **options) as database:
        async with database.begin() as session:
            statement = text("SELECT id, nextval('runs') FROM item WHERE id = :id AND name <> 'hunter2' LIMIT :n")
            await session.execute(statement, {"id": 4711, "n": 3})
        explained = await told.wait_for(QueryExplained)
        assert explained.fingerprint == told[0].fingerprint
        assert "Index Scan using item_pkey on item" in explained.plan
        assert "(cost=" in explained.plan
        assert "hunter2" not in repr(told)
        assert "4711" not in repr(told)
        assert [each.count for each in database.query_statistics()] == [1]
        async with database.begin() as session:
            assert (await session.execute(text("SELECT last_value, is_called FROM runs"))).one() == (1, False)


async def test_the_plan_of_a_slow_select_on_sqlite_is_told(tmp_path):
    """The same for a file; in memory there is no second connection."""
    told = Told()
    options = {"slow_query_threshold": AT_ONCE, "explain_slow_queries": True, "listeners": [told]}
    async with Database(f"sqlite:///{tmp_path}/app.db", **options) as database, database.begin() as session:
        await session.execute(text("CREATE TABLE item (id int, name text)"))
        await session.commit()
        await session.execute(text("SELECT * FROM item WHERE name = :name"), {"name": "hunter2"})
        await session.commit()
        assert "SCAN item" in (await told.wait_for(QueryExplained)).plan
    with pytest.raises(ConfigurationError, match="explain_slow_queries"):
        Database("sqlite://", **options)


async def test_parameters_that_have_names_are_explained_by_their_names(tmp_path):
    """As the driver gets them; later versions of it do not take positions for names."""
    told = Told()
    options = {"slow_query_threshold": AT_ONCE, "explain_slow_queries": True, "listeners": [told]}
    async with Database(f"sqlite:///{tmp_path}/app.db", **options) as database, database.connect() as connection:
        await connection.exec_driver_sql("SELECT :first, :second, :first", {"second": "hunter2", "first": 4711})
        assert (await told.wait_for(QueryExplained)).fingerprint == "SELECT ?, ?, ?"
    assert nulls_for({"a": 1, "b": "x"}) == {"a": None, "b": None}
    assert nulls_for([1, "x"]) == (None, None)
    assert nulls_for(None) == ()


@pytest.mark.parametrize(
    ("fingerprint", "explained"),
    [
        ("SELECT a FROM t", True),
        ("select a FROM t ;", True),
        ("SELECT a; DROP TABLE t", False),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", False),
        ("UPDATE t SET a = ?", False),
        ("SELECT a …", False),
    ],
)
def test_only_a_single_whole_select_is_explained(fingerprint, explained):
    """Nothing that writes, nothing that is two, nothing that was cut off."""
    assert _is_select(fingerprint) is explained


def test_a_plan_shows_its_costs_and_no_literals():
    """The planner's numbers stay where they are; those of the statement go, with its texts."""
    syntax = syntax_of("postgresql")
    assert _without_literals("  ->  Seq Scan on t  (cost=0.00..1.01 rows=1 width=4)", syntax) == (
        "  -> Seq Scan on t  (cost=0.00..1.01 rows=1 width=4)"
    )
    assert _without_literals("        Filter: ((a = 4711) AND (b = 'x'::text))", syntax) == (
        "        Filter: ((a = ?) AND (b = ?::text))"
    )


async def test_what_cannot_be_explained_is_left_out(postgres_url):
    """A plan that the server refuses is no event and no error; the next statement is explained."""
    told = Told()
    options = {"slow_query_threshold": AT_ONCE, "explain_slow_queries": True, "listeners": [told]}
    async with Database(postgres_url, **options) as database:
        async with database.begin() as session:
            await session.execute(text("CREATE TEMPORARY TABLE mine (a int)"))  # another connection does not see it
            await session.execute(text("SELECT a FROM mine"))
        await asyncio.wait_for(_idle(database), 10)
        async with database.connect() as connection:
            await connection.execute(text("SELECT 1"))
        assert (await told.wait_for(QueryExplained)).fingerprint == "SELECT ?"


async def _idle(database: Database) -> None:
    task = database._queries._explainer._task
    if task is not None:
        await task


async def test_a_database_ends_what_it_explains(postgres_url):
    """Closed while EXPLAIN waits for a lock, it leaves no task and no connection behind."""
    told = Told()
    options = {"slow_query_threshold": AT_ONCE, "explain_slow_queries": True, "listeners": [told]}
    async with Database(postgres_url) as other, Database(postgres_url, **options) as database:
        async with other.begin() as session:
            await session.execute(text("CREATE TABLE item (id int)"))
        async with database.connect() as connection:
            await connection.execute(text("SELECT * FROM item"))
        async with other.begin() as session:
            await session.execute(text("LOCK TABLE item"))  # before EXPLAIN has begun: it takes a connection first
            explaining = database._queries._explainer._task
            assert explaining is not None
            await database.aclose()
            assert explaining.cancelled()
    assert [event for event in told if isinstance(event, QueryExplained)] == []
