"""The advisor on SQLite: the planted defects, a clean file, and a file that it must not change."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from creatormate_resilience.db import AdvisorConfig, Database, FindingKind, advise
from creatormate_resilience.db._advisor import _looking
from creatormate_resilience.db._advisor._opening import engine_for
from creatormate_resilience.exceptions import ConfigurationError, DatabaseError, Severity

pytestmark = pytest.mark.anyio

CLEAN = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT UNIQUE, name TEXT, born INTEGER);
    CREATE INDEX p1 ON person (name);
    CREATE INDEX p2 ON person (name DESC);
    CREATE INDEX p3 ON person (name COLLATE NOCASE);
    CREATE INDEX p4 ON person (lower(name));
    CREATE INDEX p5 ON person (name) WHERE born > 5;
    CREATE INDEX p6 ON person (name) WHERE born > 6;
    CREATE TABLE profile (id INTEGER PRIMARY KEY REFERENCES person, "Best: friend" INTEGER REFERENCES person);
    CREATE INDEX "o""1" ON profile ("best: FRIEND") WHERE "Best: friend" IS NOT NULL;
    CREATE TABLE pair (a INTEGER, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;
    CREATE TABLE triple (c TEXT PRIMARY KEY, b INTEGER, a INTEGER, FOREIGN KEY (a, b) REFERENCES pair);
    CREATE INDEX t1 ON triple (b, a);
    CREATE VIRTUAL TABLE search USING fts5 (words);
    INSERT INTO person (name) SELECT value FROM (WITH RECURSIVE g(value) AS (SELECT 1 UNION ALL SELECT value + 1
        FROM g WHERE value < 2000) SELECT value FROM g);
    ANALYZE;
"""
DEFECTS = """
    CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, born INTEGER, friend INTEGER REFERENCES person);
    CREATE INDEX one ON person (name);
    CREATE INDEX two ON person (name, born);
    CREATE INDEX "th""ree" ON person (born) WHERE name IS NULL;
    CREATE INDEX four ON person  (born)  WHERE name IS NULL;
    CREATE TABLE keyless (a INTEGER);
    INSERT INTO person (name) SELECT value FROM (WITH RECURSIVE g(value) AS (SELECT 1 UNION ALL SELECT value + 1
        FROM g WHERE value < 2000) SELECT value FROM g);
    CREATE TABLE gone (a PRIMARY KEY);
    INSERT INTO gone SELECT randomblob(2000) FROM person;
    DROP TABLE gone;
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "a b%20?.db"


def plant(file, script):
    connection = sqlite3.connect(file)
    connection.executescript(script)
    connection.close()


def url_of(file):
    return f"sqlite:///{str(file).replace('%', '%25').replace('?', '%3F')}"


def found(report):
    return {(each.kind, each.severity, each.subject) for each in report.findings}


async def test_a_clean_file_has_no_findings(file):
    """Collations, directions, expressions, partial indexes, rowids and virtual tables are no defects."""
    plant(file, CLEAN)
    async with Database(url_of(file)) as database:
        report = await advise(database)
    assert report.findings == (), str(report)
    assert report.notes == ()


async def test_each_planted_defect_is_found_and_its_fix_cures_it(file):
    """Exactly these; once their SQL has run, none."""
    plant(file, DEFECTS)
    config = AdvisorConfig(min_bloat_bytes=100_000)
    engine = create_async_engine(url_of(file).replace("sqlite:", "sqlite+aiosqlite:"))
    try:
        report = await advise(engine, config)
    finally:
        await engine.dispose()
    info, warning = Severity.INFO, Severity.WARNING
    assert found(report) == {
        (FindingKind.DUPLICATE_INDEX, info, '"one"'),
        (FindingKind.DUPLICATE_INDEX, warning, '"th""ree"'),
        (FindingKind.MISSING_FOREIGN_KEY_INDEX, info, '"person" ("friend")'),
        (FindingKind.MISSING_PRIMARY_KEY, info, '"keyless"'),
        (FindingKind.NEVER_ANALYZED, info, '"person"'),
        (FindingKind.TABLE_BLOAT, info, "main"),
        (FindingKind.SETTING, info, "journal_mode"),
        (FindingKind.SETTING, warning, "foreign_keys"),
    }
    plant(file, "\n".join(each.fix for each in report.findings if each.fix))
    async with Database(url_of(file)) as database:
        cured = await advise(database, config)
    assert found(cured) == {(FindingKind.MISSING_PRIMARY_KEY, info, '"keyless"')}


@pytest.mark.parametrize("mode", ["OFF", "MEMORY"])
async def test_a_journal_that_risks_the_file_is_critical(file, mode):
    """These modes belong to the connection, so they are seen on the application's engine."""
    plant(file, CLEAN.replace("WAL", "DELETE"))
    engine = create_async_engine(
        url_of(file).replace("sqlite:", "sqlite+aiosqlite:"), connect_args={"isolation_level": None}
    )
    try:
        async with engine.connect() as connection:
            await connection.execute(text(f"PRAGMA journal_mode = {mode}"))
        assert (await advise(engine)).worst is Severity.CRITICAL
    finally:
        await engine.dispose()


async def test_a_database_in_memory_has_no_file_to_judge():
    """Its journal mode is `memory`, and nothing is wrong with that."""
    async with Database("sqlite://") as database:
        async with database.begin() as session:
            await session.execute(text("CREATE TABLE keyless (a INTEGER)"))
        report = await advise(database)
    assert [each.kind for each in report.findings] == [FindingKind.MISSING_PRIMARY_KEY]


async def test_a_file_given_by_url_is_not_touched(file):
    """Not even put into WAL mode; and what only the application's connections know is noted."""
    plant(file, DEFECTS)
    before = file.read_bytes()
    report = await advise(url_of(file))
    engine = engine_for(url_of(file), AdvisorConfig())
    with pytest.raises(DBAPIError, match="readonly"):
        async with _looking.only_looking(engine) as connection:
            await connection.execute(text("CREATE TABLE mine (a)"))
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert report.of_kind(FindingKind.DUPLICATE_INDEX)
    assert [note.check for note in report.notes] == ["foreign_keys"]


async def test_a_file_that_is_not_there_is_not_made(file, sqlite_threads_end):
    """One clear error each: no file, no database, nothing to look at."""
    with pytest.raises(ConfigurationError, match="there is no SQLite file"):
        await advise(url_of(file))
    assert not file.exists()
    file.write_bytes(b"text " * 1000)
    with pytest.raises(DatabaseError, match="not a database"):
        await advise(url_of(file))
    with pytest.raises(ConfigurationError, match="in memory"):
        await advise("sqlite://")
