"""The advisor on a server that is in use: it changes nothing, waits for nobody for long, and sees sessions that do."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from creatormate_resilience.db import AdvisorConfig, Database, FindingKind, advise
from creatormate_resilience.db._advisor import _looking
from creatormate_resilience.db._advisor._check import Check
from creatormate_resilience.db._advisor._postgresql import _catalog
from creatormate_resilience.exceptions import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailableError,
    OperationTimeoutError,
    Severity,
)

pytestmark = pytest.mark.anyio

EVERYTHING = AdvisorConfig(
    min_stats_age=0, min_unused_bytes=0, long_query=0, idle_in_transaction=0, lock_wait=0, min_bloat_bytes=0
)
TABLES = """
    CREATE TABLE account (id int PRIMARY KEY, value int, owner int REFERENCES account);
    INSERT INTO account VALUES (1, 0, 1), (2, 0, 1);
    CREATE TABLE secret (id serial PRIMARY KEY, value text);
    CREATE INDEX ON secret (lower(value));
    INSERT INTO secret SELECT g, 'x' FROM generate_series(1, 2000) g;
    ANALYZE;
"""


@pytest.fixture
async def sessions(postgres_url):
    """Connects another session; all of them end with the test."""
    async with AsyncExitStack() as stack:

        async def connect(**options):
            connection = await asyncpg.connect(postgres_url, timeout=10, **options)
            stack.callback(connection.terminate)
            return connection

        owner = await connect()
        await owner.execute(TABLES)
        await owner.close()
        yield connect


async def waiting(observer, pid: int) -> None:
    """Until the server says that this session waits for a lock."""
    async with asyncio.timeout(10):
        while not await observer.fetchval("SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted", pid):
            await asyncio.sleep(0.01)


def of_session(report, kind, pid):
    return [each for each in report.of_kind(kind) if each.measured.get("pid") == pid]


async def test_who_blocks_whom_is_told(sessions, postgres_url):
    """The session at the root, and all that wait for it; one in the middle of the queue is not the cause."""
    holder, first, second, observer = [await sessions() for _ in range(4)]
    pids = [connection.get_server_pid() for connection in (holder, first, second)]
    async with holder.transaction():
        await holder.execute("UPDATE account SET value = 4711 WHERE id = 1")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(first.execute("UPDATE account SET value = 4712 WHERE id = 1"))
            await waiting(observer, pids[1])
            tasks.create_task(second.execute("UPDATE account SET value = 0 WHERE id = 1 AND value < 4713"))
            await waiting(observer, pids[2])
            report = await advise(postgres_url, EVERYTHING)
            await holder.execute("ROLLBACK; BEGIN")
    (finding,) = report.of_kind(FindingKind.BLOCKING_LOCK)
    assert finding.subject == f"session {pids[0]}"
    assert finding.measured["blocked"] == (pids[1],)  # the second waits for the first
    assert finding.measured["waited"] > 0
    assert finding.fix == f"SELECT pg_terminate_backend({pids[0]});"  # it is idle, there is no statement to cancel
    assert "UPDATE account SET value = ? WHERE id = ?" in finding.reason
    assert not any(secret in json.dumps(report.to_dict()) for secret in ("4711", "4712", "4713"))


async def test_a_wait_gets_critical_with_time(sessions, postgres_url):
    """From `lock_wait_critical` on; waits below `lock_wait` are no finding at all."""
    holder, blocked, observer = [await sessions() for _ in range(3)]
    async with holder.transaction():
        await holder.execute("LOCK TABLE account")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(blocked.execute("SELECT count(*) FROM account"))
            await waiting(observer, blocked.get_server_pid())
            patient = await advise(postgres_url, AdvisorConfig(lock_wait=3600))
            alarmed = await advise(postgres_url, AdvisorConfig(lock_wait=0, lock_wait_critical=0))
            await holder.execute("ROLLBACK; BEGIN")
    assert patient.of_kind(FindingKind.BLOCKING_LOCK) == ()
    (finding,) = alarmed.of_kind(FindingKind.BLOCKING_LOCK)
    assert finding.severity is Severity.CRITICAL
    assert (finding.measured["locked"], finding.measured["mode"]) == ("public.account", "AccessShareLock")


async def test_long_statements_and_idle_transactions_are_told(sessions, postgres_url):
    """With what they run, without its literals, and the SQL that ends them. A session that only waits is neither."""
    busy, idle, _resting = [await sessions(server_settings={"application_name": f"app{n}"}) for n in range(3)]
    async with idle.transaction():
        await idle.fetch("SELECT * FROM account WHERE value = 4711 OR 'geheim' = $1", "x")
        running = asyncio.create_task(busy.fetch("SELECT pg_sleep(30) /* geheim */, 'geheim'"))
        async with asyncio.timeout(10):
            while not (report := await advise(postgres_url, EVERYTHING)).of_kind(FindingKind.LONG_RUNNING_QUERY):
                await asyncio.sleep(0.01)
        later = await advise(postgres_url, AdvisorConfig(long_query=3600, idle_in_transaction=3600))
    (long,) = report.of_kind(FindingKind.LONG_RUNNING_QUERY)
    assert long.subject == f"session {busy.get_server_pid()} (app0)"
    assert long.fix == f"SELECT pg_cancel_backend({busy.get_server_pid()});"
    assert long.reason.endswith("SELECT pg_sleep(?), ?")
    (open_one,) = report.of_kind(FindingKind.IDLE_IN_TRANSACTION)
    assert open_one.subject == f"session {idle.get_server_pid()} (app1)"
    assert "geheim" not in report.to_text()
    assert {each.kind for each in later.findings} <= {FindingKind.SETTING, FindingKind.MISSING_FOREIGN_KEY_INDEX}
    busy.terminate()
    with pytest.raises(Exception, match="connection"):
        await running


async def test_a_locked_table_keeps_nothing_waiting(sessions, postgres_url):
    """In the middle of a migration the report is whole: sizes of what is locked come from the catalog."""
    migration = await sessions()
    before = await advise(postgres_url, EVERYTHING)
    async with migration.transaction():
        await migration.execute("LOCK TABLE account, secret IN ACCESS EXCLUSIVE MODE")
        await migration.execute("ALTER SEQUENCE secret_id_seq AS bigint; ALTER INDEX secret_pkey RENAME TO renamed")
        report = await advise(postgres_url, EVERYTHING)
        await migration.execute("ROLLBACK; BEGIN")
    locked = [note for note in report.notes if note not in before.notes]
    assert [note.reason for note in locked] == [
        "2 tables are locked exclusively right now: their indexes are not compared"
    ]
    kinds = {each.kind for each in report.findings}
    assert {FindingKind.MISSING_FOREIGN_KEY_INDEX, FindingKind.IDLE_IN_TRANSACTION} <= kinds


async def test_a_role_without_rights_gets_what_it_may_see_and_notes(sessions, postgres_url):
    """No exception: what is hidden is named in the notes."""
    owner = await sessions()
    await owner.execute("CREATE ROLE guest LOGIN")
    try:
        async with owner.transaction():
            await owner.execute("SELECT 1")
            report = await advise(postgres_url.replace("postgres@", "guest@"), EVERYTHING)
    finally:
        await owner.execute("DROP ROLE guest")
    assert {"sessions", "sequence_exhaustion", "table_bloat"} <= {note.check for note in report.notes}
    assert report.of_kind(FindingKind.MISSING_FOREIGN_KEY_INDEX)
    assert not any("refused" in note.reason for note in report.notes)


@pytest.mark.parametrize("isolation", [None, "AUTOCOMMIT", "SERIALIZABLE"])
async def test_nothing_can_be_written_and_nothing_waits_for_long(sessions, postgres_url, isolation):
    """Whatever the isolation of the engine given; afterwards its connections are as they were."""
    options = {} if isolation is None else {"isolation_level": isolation}
    engine = create_async_engine(postgres_url.replace("://", "+asyncpg://"), pool_size=1, max_overflow=0, **options)
    try:
        with pytest.raises(DBAPIError, match="read-only"):
            async with _looking.only_looking(engine) as connection:
                await connection.execute(text("CREATE TABLE mine (id int)"))
        assert (await advise(engine, EVERYTHING)).of_kind(FindingKind.MISSING_FOREIGN_KEY_INDEX)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE mine (id int)"))
            for name in ("statement_timeout", "lock_timeout"):
                assert (await connection.execute(text(f"SHOW {name}"))).scalar() == "0"
            assert (await connection.execute(text("SHOW search_path"))).scalar() == '"$user", public'
    finally:
        await engine.dispose()


async def test_a_database_of_the_library_can_be_looked_at(sessions, postgres_url):
    """With its own pool, which serves afterwards as before."""
    async with Database(postgres_url, pool_size=1, max_overflow=0) as database:
        assert (await advise(database, EVERYTHING)).of_kind(FindingKind.MISSING_FOREIGN_KEY_INDEX)
        async with database.begin() as session:
            await session.execute(text("INSERT INTO account VALUES (3, 0, 1)"))


async def test_a_database_that_was_not_started_closes_what_the_look_has_opened(postgres_url):
    """As with any other use of it."""
    database = Database(postgres_url)
    await advise(database)
    assert database.opened
    assert database.pool_statistics().idle == 1
    await database.aclose()
    assert database.pool_statistics().idle == 0


@pytest.mark.parametrize("role", ["postgres", "guest"])
async def test_an_index_that_is_being_built_is_not_called_invalid(sessions, postgres_url, role):
    """Nor for a role that may not see what other sessions do. Once its build has failed it is."""
    writer, builder, observer = [await sessions() for _ in range(3)]
    await observer.execute("CREATE ROLE guest LOGIN")
    try:
        async with writer.transaction():
            await writer.execute("INSERT INTO account VALUES (9, 9, 9)")
            build = asyncio.create_task(builder.execute("CREATE INDEX CONCURRENTLY slow ON account (value)"))
            await waiting(observer, builder.get_server_pid())
            during = await advise(postgres_url.replace("postgres@", f"{role}@"), AdvisorConfig())
            await observer.execute("SELECT pg_cancel_backend($1)", builder.get_server_pid())
            with pytest.raises(asyncpg.QueryCanceledError):
                await build
            after = await advise(postgres_url.replace("postgres@", f"{role}@"), AdvisorConfig())
    finally:
        await observer.execute("DROP ROLE guest")
    assert during.of_kind(FindingKind.INVALID_INDEX) == ()
    assert [each.subject for each in after.of_kind(FindingKind.INVALID_INDEX)] == ["public.slow"]


async def test_a_function_planted_by_a_user_is_not_called(sessions, postgres_url):
    """Whoever may create functions in `public` must not get the advisor's rights."""
    intruder = await sessions()
    await intruder.execute(
        "CREATE FUNCTION public.format(text, name, name) RETURNS text LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;"
        "CREATE FUNCTION public.quote_ident(name) RETURNS text LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE EXCEPTION 'called'; END $$"
    )
    report = await advise(postgres_url, EVERYTHING)
    assert not any("refused" in note.reason for note in report.notes)


FAILING = {
    "SELECT pg_sleep(30)": "it took longer than statement_timeout",
    "SELECT * FROM public.account": "something was locked for longer than lock_timeout",
    "SELECT 1; SELECT 2": "the server refused (42601)",
    "SELECT 1 / 0": "the server refused (22012)",
    "SELECT nothing FROM public.secret": "the extension is of an older version (ALTER EXTENSION ... UPDATE)",
}


async def test_a_check_that_fails_is_a_note_and_the_others_go_on(sessions, postgres_url, monkeypatch):
    """Too slow, locked, refused: each is told, and the check after it still works."""
    checks = [Check(f"check {number}", sql, lambda rows, context: []) for number, sql in enumerate(FAILING)]
    monkeypatch.setattr(_catalog, "CHECKS", (*checks, *_catalog.CHECKS))
    migration = await sessions()
    async with migration.transaction():
        await migration.execute("LOCK TABLE account IN ACCESS EXCLUSIVE MODE")
        report = await advise(postgres_url, AdvisorConfig(statement_timeout=0.5, lock_timeout=0.05))
    reasons = {note.check: note.reason for note in report.notes}
    assert [reasons.get(check.name) for check in checks] == list(FAILING.values())
    assert report.of_kind(FindingKind.MISSING_FOREIGN_KEY_INDEX)


async def test_an_extension_that_is_not_loaded_is_a_note(sessions, postgres_url):
    """Installed in the database, but the server was started without it."""
    owner = await sessions()
    await owner.execute("CREATE EXTENSION pg_stat_statements")
    report = await advise(postgres_url)
    assert any(note.check == "top_statement" and "shared_preload_libraries" in note.reason for note in report.notes)


async def test_a_connection_lost_on_the_way_is_an_error(sessions, postgres_url, monkeypatch):
    """Half a report would look like a good one."""
    gone = Check("gone", "SELECT pg_terminate_backend(pg_backend_pid())", lambda rows, context: [])
    monkeypatch.setattr(_catalog, "CHECKS", (gone, *_catalog.CHECKS))
    with pytest.raises(DatabaseError):
        await advise(postgres_url)


async def test_the_whole_look_is_bounded(sessions, postgres_url, monkeypatch):
    """`timeout` ends it, and the server's session too."""
    slow = Check("slow", "SELECT pg_sleep(30)", lambda rows, context: [])
    monkeypatch.setattr(_catalog, "CHECKS", (slow,))
    with pytest.raises(OperationTimeoutError, match="the advisor"):
        await advise(postgres_url, AdvisorConfig(timeout=0.3, statement_timeout=20))
    observer = await sessions()
    async with asyncio.timeout(10):
        while await observer.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(30)%'"):
            await asyncio.sleep(0.01)


async def test_what_cannot_be_looked_at_is_refused_clearly(postgres_url):
    """A wrong argument, an unknown kind of database, a server that is not there, a name that does not exist."""
    for wrong in (None, 5, object()):
        with pytest.raises(ConfigurationError, match="accepted are a Database, an AsyncEngine and a URL"):
            await advise(wrong)
    with pytest.raises(ConfigurationError, match="config is"):
        await advise(postgres_url, {"timeout": 5})
    with pytest.raises(DatabaseUnavailableError):
        await advise("postgresql://127.0.0.1:1/nothing")
    with pytest.raises(ConfigurationError, match="nothing"):
        await advise(f"{postgres_url.rpartition('/')[0]}/nothing")
