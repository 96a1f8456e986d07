"""The statement that runs once for each row of another is found: in tests at once, in production by samples."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import ForeignKey, create_engine, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from creatormate_resilience.db import Database, NPlusOneError, RepeatedQuery, detect_n_plus_one
from creatormate_resilience.db._repeated_queries import RepeatWatch
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.request_context import RequestContext, request_scope

pytestmark = pytest.mark.anyio


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    books: Mapped[list[Book]] = relationship()


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request, tmp_path):
    """Eight authors with a book each, on each of the databases."""
    url = f"sqlite:///{tmp_path}/app.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    async with Database(url) as database:
        async with database.begin() as session:
            await (await session.connection()).run_sync(Base.metadata.create_all)
            session.add_all([Author(books=[Book()]) for _ in range(8)])
        yield database


async def test_batches_of_rows_are_none(database):
    """SQLAlchemy sends many rows as several statements; nobody can put more into one."""
    with detect_n_plus_one(database, threshold=1) as report:
        async with database.begin() as session:
            session.add_all([Author() for _ in range(2500)])
    assert report.repeated == ()


def count_books(session) -> int:
    """Loads the books of each author when it comes to them."""
    return sum(len(author.books) for author in session.scalars(select(Author)))


async def test_lazy_loading_is_found_with_the_place_that_did_it(database):
    """The error names the statement, how often it ran, and the function of the application."""
    told = r"8 times, from count_books\.<locals>\.<genexpr> \(test_n_plus_one\.py:"
    with pytest.raises(NPlusOneError, match=told) as found, detect_n_plus_one(database, threshold=5):
        async with database.begin(read_only=True) as session:
            assert await session.run_sync(count_books) == 8
    (repeated,) = found.value.repeated
    assert repeated.count == 8
    assert repeated.fingerprint.startswith("SELECT book.id, book.author_id FROM book WHERE ?")
    assert sum(count for _, count in repeated.places) == 8


async def test_loading_at_once_is_none(database):
    """Two statements for any number of authors."""
    with detect_n_plus_one(database, threshold=1) as report:
        async with database.session() as session:
            authors = await session.scalars(select(Author).options(selectinload(Author.books)))
            assert sum(len(author.books) for author in authors) == 8
    assert report.repeated == ()


async def test_the_threshold_is_what_may_happen(database):
    """As often as the threshold is right, once more is too much; other statements count apart, savepoints not."""

    async def look(times: int) -> None:
        async with database.begin() as session:
            for number in range(times):
                async with session.begin_nested():
                    await session.execute(text(f"SELECT {number}"))
            await session.execute(text("SELECT count(*) FROM author"))

    with detect_n_plus_one(database, threshold=3) as report:
        await look(3)
        assert report.repeated == ()
        await look(0)
    with detect_n_plus_one(database, threshold=3, raises=False) as report:
        await look(4)
    assert [(each.fingerprint, each.count) for each in report.repeated] == [("SELECT ?", 4)]


async def test_tasks_count_together_and_places_apart(database):
    """Who asks for one row in each of many tasks, from two places, is found in both."""

    async def one() -> None:
        async with database.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def other() -> None:
        async with database.connect() as connection:
            await connection.execute(text("SELECT 2"))

    with detect_n_plus_one(database, threshold=2, raises=False) as report:
        await asyncio.gather(one(), one(), other())
    (repeated,) = report.repeated
    assert [(place.split(" ")[0].rpartition(".")[2], count) for place, count in repeated.places] == [
        ("one", 2),
        ("other", 1),
    ]


async def test_any_engine_will_do(tmp_path):
    """An asyncio engine and a plain one, without a `Database`; after the block nothing counts any more."""
    asynchronous = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/a.db")
    with pytest.raises(NPlusOneError), detect_n_plus_one(asynchronous, threshold=1):
        async with asynchronous.connect() as connection:
            for _ in range(2):
                await connection.execute(text("SELECT 1"))
    await asynchronous.dispose()
    plain = create_engine("sqlite://")
    with detect_n_plus_one(plain, threshold=1, raises=False) as report, plain.connect() as connection:
        for _ in range(3):
            connection.execute(text("SELECT 1"))
    with plain.connect() as connection:
        connection.execute(text("SELECT 1"))
    assert [each.count for each in report.repeated] == [3]
    plain.dispose()


async def test_an_error_of_the_block_is_the_one_that_is_raised(database):
    """What went wrong first is what a test shows."""
    with pytest.raises(ZeroDivisionError), detect_n_plus_one(database, threshold=1):
        async with database.connect() as connection:
            for _ in range(2):
                await connection.execute(text("SELECT 1"))
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("target", "threshold", "message"),
    [
        ("sqlite://", 1, "target is str; accepted are a Database and an engine"),
        (None, 0, "threshold is 0; accepted are whole numbers from 1"),
        (None, True, "threshold is True; accepted are whole numbers from 1"),
    ],
)
def test_bad_arguments_are_refused(target, threshold, message):
    """The error names the argument and what is accepted."""
    with pytest.raises(ConfigurationError, match=message), detect_n_plus_one(target, threshold=threshold):
        pass


# In production --------------------------------------------------------------------------------------------------------
def test_a_scope_is_counted_until_it_pauses():
    """Runs of one request count up; those of another do not hide it, and may be watched after a pause."""
    watch = RepeatWatch(threshold=2)
    assert [watch.count("q", "a", now) for now in (0.0, 0.01, 0.5)] == [1, 2, 3]
    assert watch.count("q", "b", 0.55) == 0
    assert watch.count("q", "a", 0.56) == 4
    assert watch.count("other", "b", 0.57) == 1
    assert watch.count("q", "b", 0.70) == 1
    assert watch.count("q", "b", 1.80) == 1  # a second later it is something else


def test_what_is_watched_is_bounded():
    """A thousand statements leave no more than 500 behind."""
    watch = RepeatWatch(threshold=2)
    for number in range(5000):
        watch.count(f"q{number}", "a", number * 0.0001)
    assert len(watch._watched) <= 500


async def run_in(database: Database, times: int) -> None:
    async with database.connect() as connection:
        for number in range(times):
            await connection.execute(text(f"SELECT {number}"))


@pytest.fixture
async def told(tmp_path):
    """A database that allows ten runs, and what it tells."""
    told = []
    url = f"sqlite:///{tmp_path}/app.db"
    async with Database(url, listeners=[told.append], repeated_query_threshold=10) as database:
        yield database, told


async def test_a_long_loop_over_one_connection_is_told_once(told):
    """The first run above the threshold is told, with its place; the twenty after it are not."""
    database, events = told
    await run_in(database, 31)
    (event,) = events
    assert (event.source, event.fingerprint, event.count) == ("db", "SELECT ?", 11)
    assert event.where[-1].startswith("run_in (test_n_plus_one.py:")
    assert isinstance(event, RepeatedQuery)


async def test_many_connections_that_run_it_once_are_none(told):
    """Each use of a connection is a scope of its own, whatever address its object has."""
    database, events = told
    for _ in range(31):
        await run_in(database, 1)
    assert events == []


def request() -> RequestContext:
    return RequestContext({"headers": []}, lambda peer, headers: peer)


async def test_a_request_is_one_scope_however_many_connections_it_takes(told):
    """Twelve uses of a connection by one request are told."""
    database, events = told
    with request_scope(request()):
        for _ in range(12):
            await run_in(database, 1)
    assert [event.count for event in events] == [11]


async def test_each_request_is_a_scope_of_its_own(told):
    """Twelve requests that run it once are none."""
    database, events = told
    for _ in range(12):
        with request_scope(request()):
            await run_in(database, 1)
    assert events == []


async def test_batches_of_rows_in_production_are_none(told):
    """Twelve batches of one INSERT are not twelve that a request runs."""
    database, events = told
    async with database.begin() as session:
        await (await session.connection()).run_sync(Base.metadata.create_all)
    async with database.begin() as session:
        session.add_all([Author() for _ in range(12_000)])
    assert events == []


async def test_savepoints_are_none(told):
    """As many as somebody wants: there is nothing to load at once."""
    database, events = told
    async with database.begin() as session:
        for _ in range(12):
            async with session.begin_nested():
                pass
    assert events == []
