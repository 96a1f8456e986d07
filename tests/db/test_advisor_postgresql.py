"""The advisor on PostgreSQL: it finds each defect that is planted, its fix cures it, and a clean schema has none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from creatormate_resilience.db import AdvisorConfig, FindingKind, advise
from creatormate_resilience.exceptions import Severity
from servers import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.server]

# What is asked of the whole server would find the suite's own: fsync is off there. Nothing may be vacuumed meanwhile.
SERVER = {
    "fsync": "on",
    "full_page_writes": "on",
    "autovacuum_naptime": "86400",
    "shared_preload_libraries": "pg_stat_statements",
    "max_prepared_transactions": "5",
}
EAGER = {"min_stats_age": 0, "min_unused_bytes": 0, "min_total_time": 3600}
CLEAN = """
    CREATE SCHEMA "Other";
    CREATE TABLE person (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL UNIQUE, name text);
    CREATE UNIQUE INDEX ON person (lower(email));
    CREATE UNIQUE INDEX ON person (name) WHERE name IS NOT NULL;
    CREATE UNIQUE INDEX ON person (name) WHERE name > 'm';
    CREATE UNIQUE INDEX ON person (name, id);
    CREATE UNIQUE INDEX ON person (name DESC, id);
    CREATE UNIQUE INDEX ON person (name COLLATE "C", id);
    CREATE UNIQUE INDEX ON person (name text_pattern_ops, id);
    CREATE TABLE "Other"."Line: item" (a int, b int, person bigint REFERENCES person, PRIMARY KEY (a, b));
    CREATE INDEX ON "Other"."Line: item" (person) WHERE person IS NOT NULL;
    CREATE TABLE "Other".part (a int, b int, FOREIGN KEY (b, a) REFERENCES "Other"."Line: item" (b, a), id int,
                               span int4range, PRIMARY KEY (id), EXCLUDE USING gist (span WITH &&)) ;
    CREATE INDEX ON "Other".part (a, b);
    CREATE TABLE event (id bigint, at date, person bigint REFERENCES person, PRIMARY KEY (id, at))
        PARTITION BY RANGE (at);
    CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE TABLE event_2 PARTITION OF event DEFAULT;
    CREATE INDEX ON event (person);
    CREATE SEQUENCE round AS smallint CYCLE START 32767;
    SELECT nextval('round');
    CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM person;
    INSERT INTO person (email, name) SELECT g || '@example.org', 'n' || g FROM generate_series(1, 3000) g;
    INSERT INTO event SELECT g, '2020-01-01'::date + g, g FROM generate_series(1, 2000) g;
    ANALYZE;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(**SERVER) as server:
        server.create_database("advised")
        yield server


@pytest.fixture
def url(server):
    server.empty_database("advised")
    plant(server.url_of("advised"), "SELECT pg_stat_reset()")
    return server.url_of("advised")


def plant(url: str, script: str) -> None:
    """Run statements one by one; the server has counted what one did before the next one runs."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in filter(None, map(str.strip, script.split(";"))):
            connection.execute(statement)
            if statement.startswith(("INSERT", "DELETE", "SELECT")):
                connection.execute("SELECT pg_stat_force_next_flush()")


async def look(url: str, **options):
    return await advise(url, AdvisorConfig(**EAGER | options))


async def test_a_clean_schema_has_no_findings(url):
    """Partial, expression, descending and constraint indexes, partitions, quoted names: none of it is a defect."""
    plant(url, CLEAN)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TEMPORARY TABLE heap (a serial)")
        report = await look(url)
    assert report.findings == (), str(report)
    assert report.worst is None
    assert {note.check for note in report.notes} == {"top_statement", "suggested_index"}  # extensions not installed


PEOPLE = "CREATE TABLE people (id int PRIMARY KEY, name text, born int);"
MANY = f"{PEOPLE} INSERT INTO people SELECT g, 'name ' || g, g % 90 FROM generate_series(1, 20000) g;"
PETS = "CREATE TABLE pets (id int PRIMARY KEY, owner int CONSTRAINT fk REFERENCES people);"
PARTED = """CREATE TABLE parted (id int, owner int REFERENCES people, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE "Part 1" PARTITION OF parted FOR VALUES FROM (0) TO (9);
    CREATE TABLE part2 PARTITION OF parted DEFAULT;"""
THRESHOLDS = {
    "min_unused_bytes": 200_000,
    "large_table_rows": 15_000,
    "min_dead_rows": 5000,
    "min_bloat_bytes": 900_000,
    "idle_in_transaction": 0,
}
INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL
ENDING = "SELECT setval('busy_id_seq', {})"

# What is planted into a schema of its own, and the finding: kind, severity, subject. In this order: a bare ANALYZE is
# one of all tables, and a prepared transaction keeps dead rows alive.
PLANTED = (
    # An index that does what another one does.
    (
        f"{PEOPLE} CREATE INDEX one ON people (name); CREATE INDEX two ON people (name)",
        (FindingKind.DUPLICATE_INDEX, WARNING, "two"),
    ),
    (
        f"{PEOPLE} CREATE INDEX wide ON people (name, born); CREATE INDEX narrow ON people (name)",
        (FindingKind.DUPLICATE_INDEX, INFO, "narrow"),
    ),
    (
        f'{PEOPLE} CREATE UNIQUE INDEX "a ""b"": c" ON people (id)',
        (FindingKind.DUPLICATE_INDEX, WARNING, '"a ""b"": c"'),
    ),
    (
        (
            f"{PEOPLE} CREATE INDEX x1 ON people (lower(name)) WHERE born > 5;"
            "CREATE INDEX x2 ON people (lower(name)) WHERE born > 5"
        ),
        (FindingKind.DUPLICATE_INDEX, WARNING, "x2"),
    ),
    (
        f"{PEOPLE} CREATE INDEX h1 ON people USING hash (name); CREATE INDEX h2 ON people USING hash (name)",
        (FindingKind.DUPLICATE_INDEX, WARNING, "h2"),
    ),
    (
        f"{PEOPLE} {PARTED} CREATE INDEX o1 ON parted (owner); CREATE INDEX o2 ON parted (owner)",
        (FindingKind.DUPLICATE_INDEX, WARNING, "o2"),
    ),
    # An index without a reader; one that cannot be read.
    (f"{MANY} CREATE INDEX useless ON people (name); ANALYZE", (FindingKind.UNUSED_INDEX, WARNING, "useless")),
    (
        (
            f"{PEOPLE} CREATE INDEX broken ON people (name);"
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass"
        ),
        (FindingKind.INVALID_INDEX, WARNING, "broken"),
    ),
    (
        (
            f"{PEOPLE} CREATE INDEX name_ccnew1 ON people (name);"
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'name_ccnew1'::regclass"
        ),
        (FindingKind.INVALID_INDEX, WARNING, "name_ccnew1"),
    ),
    # A foreign key without an index, or without one that fits.
    (PEOPLE + PETS, (FindingKind.MISSING_FOREIGN_KEY_INDEX, INFO, "pets (owner)")),
    (
        f"{MANY} {PETS} INSERT INTO pets SELECT g, g FROM generate_series(1, 20000) g; ANALYZE",
        (FindingKind.MISSING_FOREIGN_KEY_INDEX, WARNING, "pets (owner)"),
    ),
    (
        f"{PEOPLE} {PETS} CREATE INDEX ON pets (owner) WHERE owner > 5",
        (FindingKind.MISSING_FOREIGN_KEY_INDEX, INFO, "pets (owner)"),
    ),
    (
        (
            'CREATE TABLE t (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE u (id int PRIMARY KEY, a int, "B:b" int,'
            ' FOREIGN KEY (a, "B:b") REFERENCES t); CREATE INDEX ON u (a, id)'
        ),
        (FindingKind.MISSING_FOREIGN_KEY_INDEX, INFO, 'u (a, "B:b")'),
    ),
    (PEOPLE + PARTED, (FindingKind.MISSING_FOREIGN_KEY_INDEX, INFO, "parted (owner)")),
    # A table without a primary key.
    ('CREATE TABLE "No Key" (a int)', (FindingKind.MISSING_PRIMARY_KEY, WARNING, '"No Key"')),
    (
        "CREATE TABLE keyless (a int NOT NULL, b int); CREATE UNIQUE INDEX pick ON keyless (a)",
        (FindingKind.MISSING_PRIMARY_KEY, INFO, "keyless"),
    ),
    # Room and upkeep.
    (
        (
            "CREATE TABLE fat AS SELECT g AS id, md5(g::text) AS text FROM generate_series(1, 20000) g;"
            "ALTER TABLE fat ADD PRIMARY KEY (id); DELETE FROM fat WHERE id % 10 > 0; VACUUM ANALYZE fat;"
            "REINDEX TABLE fat"
        ),
        (FindingKind.TABLE_BLOAT, WARNING, "fat"),
    ),
    (
        (
            f"{MANY} CREATE UNIQUE INDEX fat ON people (name) WITH (fillfactor = 10);"
            "ALTER INDEX fat RESET (fillfactor); ANALYZE"
        ),
        (FindingKind.INDEX_BLOAT, WARNING, "fat"),
    ),
    (
        "CREATE TABLE dusty (id int PRIMARY KEY) WITH (autovacuum_enabled = off)",
        (FindingKind.AUTOVACUUM_OFF, WARNING, "dusty"),
    ),
    (f"{MANY} ANALYZE; DELETE FROM people WHERE id % 2 = 0", (FindingKind.DEAD_ROWS, WARNING, "people")),
    (MANY, (FindingKind.NEVER_ANALYZED, WARNING, "people")),
    (
        (
            f"{PEOPLE} {PARTED} CREATE INDEX ON parted (owner); INSERT INTO people SELECT generate_series(1, 10);"
            'INSERT INTO parted SELECT generate_series(1, 2000), 1; ANALYZE part2; ANALYZE "Part 1"'
        ),
        (FindingKind.NEVER_ANALYZED, INFO, "parted"),
    ),
    # A sequence near its end, or near that of its column.
    (
        f"CREATE TABLE busy (id serial PRIMARY KEY); {ENDING.format(2_000_000_000)}",
        (FindingKind.SEQUENCE_EXHAUSTION, CRITICAL, "busy_id_seq"),
    ),
    (
        f"CREATE TABLE busy (id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY); {ENDING.format(26_000)}",
        (FindingKind.SEQUENCE_EXHAUSTION, WARNING, "busy_id_seq"),
    ),
    (
        (
            "CREATE SEQUENCE busy_id_seq; CREATE TABLE busy (id int PRIMARY KEY DEFAULT nextval('busy_id_seq'));"
            f"{ENDING.format(2_000_000_000)}"
        ),
        (FindingKind.SEQUENCE_EXHAUSTION, CRITICAL, "busy_id_seq"),
    ),
    (
        f"CREATE SEQUENCE busy_id_seq AS smallint INCREMENT -1; {ENDING.format(-32_000)}",
        (FindingKind.SEQUENCE_EXHAUSTION, CRITICAL, "busy_id_seq"),
    ),
)


async def test_each_planted_defect_is_found_and_its_fix_cures_it(url):
    """What is planted is reported and nothing else; and once all the SQL of the report has run, nothing is."""
    expected = {
        (FindingKind.VACUUM_HELD_BACK, WARNING, "it's"),
        (FindingKind.VACUUM_HELD_BACK, WARNING, "gone"),
    }
    scripts = []
    for number, (script, (kind, severity, subject)) in enumerate(PLANTED):
        schema = f'"S: {number}"'
        scripts.append(f"CREATE SCHEMA {schema}; SET search_path = {schema}; {script}")
        expected.add((kind, severity, f"{schema}.{subject}"))
    scripts.append("SELECT pg_create_physical_replication_slot('gone')")
    scripts.append("BEGIN; CREATE TABLE never (id int); PREPARE TRANSACTION 'it''s'")
    plant(url, ";".join(scripts))

    report = await look(url, **THRESHOLDS)
    assert {(each.kind, each.severity, each.subject) for each in report.findings} == expected
    assert len(report.findings) == len(expected)
    assert [each.severity for each in report.findings] == sorted((s for _, s, _ in expected), reverse=True)

    # The prepared transaction first: a concurrent build waits for it.
    ordered = sorted(report.findings, key=lambda each: each.kind is not FindingKind.VACUUM_HELD_BACK)
    plant(url, "".join(finding.fix for finding in ordered))
    cured = await look(url, **THRESHOLDS | {"min_stats_age": 3600})  # what was built just now was not read yet
    assert cured.findings == (), str(cured)


async def test_dangerous_settings_are_found(server, url):
    """And their fix works. A change that the command line outlasts does not wait for a restart."""
    set_on_server(server, "ALTER SYSTEM SET enable_sort = off; ALTER SYSTEM SET port = 1", "off")
    try:
        (finding,) = (await look(url)).findings
        assert (finding.kind, finding.severity, finding.subject) == (FindingKind.SETTING, INFO, "enable_sort")
        set_on_server(server, finding.fix.removesuffix("SELECT pg_reload_conf();"), "on")
        assert (await look(url)).findings == ()
    finally:
        set_on_server(server, "ALTER SYSTEM RESET ALL", "on")


def set_on_server(server: PostgresServer, script: str, expected: str) -> None:
    """Change settings, and wait until new sessions see `enable_sort` as expected."""
    plant(server.url, f"{script}; SELECT pg_reload_conf()")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with psycopg.connect(server.url) as connection:
            (value,) = connection.execute("SHOW enable_sort").fetchone()
        if value == expected:
            return
    pytest.fail(f"enable_sort did not become {expected}")


async def test_sequential_scans_of_large_tables_are_found(url):
    """Scans that read all of a large table count; those that stop at a LIMIT, and small tables, do not."""
    plant(
        url,
        f"{MANY} CREATE TABLE few AS SELECT * FROM people LIMIT 10; ALTER TABLE few ADD PRIMARY KEY (id); ANALYZE",
    )
    options = {"large_table_rows": 10_000, "min_seq_scans": 5}
    plant(url, "SELECT * FROM people LIMIT 1;" * 50 + "SELECT count(name) FROM few;" * 50)
    assert (await look(url, **options)).findings == ()
    plant(url, "SELECT count(name) FROM people;" * 50)
    (finding,) = (await look(url, **options)).findings
    assert (finding.kind, finding.subject, finding.fix) == (FindingKind.SEQUENTIAL_SCANS, "public.people", None)
    assert finding.measured["index_scans"] == 0


async def test_an_index_is_unused_only_as_long_as_nobody_reads_it_and_nothing_needs_it(url):
    """One that is read, and those of foreign keys and constraints, are spared."""
    plant(url, f"{MANY} {PETS} CREATE INDEX ON pets (owner); CREATE INDEX on_born ON people (born); ANALYZE")
    assert [each.subject for each in (await look(url)).findings] == ["public.on_born"]
    plant(url, "SELECT count(*) FROM people WHERE born = 5")
    assert (await look(url)).findings == ()


async def test_of_two_equal_unused_indexes_one_stays(url):
    """Both pieces of advice, followed together, must not leave the table without any."""
    plant(url, f"{PEOPLE} CREATE INDEX one ON people (name); CREATE INDEX two ON people (name)")
    assert {each.subject for each in (await look(url)).findings} == {"public.two"}


async def test_unused_indexes_are_not_named_before_the_server_has_counted_for_long(url):
    """A count of zero means nothing an hour after it began; the notes say that."""
    plant(url, f"{PEOPLE} CREATE INDEX useless ON people (born)")
    report = await look(url, min_stats_age=3600)
    assert report.findings == ()
    assert any(note.check == "unused_index" and "counted for" in note.reason for note in report.notes)


FRESH = (
    "g AS id",
    "g AS id, g::smallint AS a, true AS b",
    "g::bigint AS id, 'x' || g AS a, null::int AS b",
    "g AS id, md5(g::text) AS a, now() AS b, g::float8 AS c",
    "g AS id, repeat('x', 300) AS a",
    "g AS id, true AS a, g::bigint AS b, true AS c, g::bigint AS d",
)


async def test_a_fresh_table_is_not_bloated(url):
    """The estimates of tables and indexes just written are less than a fifth too low, whatever the columns."""
    for number, row in enumerate(FRESH):
        plant(url, f"CREATE TABLE t{number} AS SELECT {row} FROM generate_series(1, 20000) g")
        plant(url, f"ALTER TABLE t{number} ADD PRIMARY KEY (id); ANALYZE t{number}")
    report = await look(url, min_bloat_bytes=0, bloat_share=0.2)
    assert report.findings == (), str(report)


async def test_only_the_schemas_asked_for_are_looked_at(url):
    """And without a choice all but the server's own."""
    plant(url, "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.x (y int); CREATE TABLE b.x (y int)")
    assert [each.subject for each in (await look(url)).findings] == ["a.x", "b.x"]
    assert [each.subject for each in (await look(url, schemas=("b",))).findings] == ["b.x"]


async def test_tables_of_extensions_are_not_the_users_business(url):
    """What belongs to an extension is its author's."""
    plant(url, "CREATE TABLE theirs (a int); CREATE EXTENSION intarray; ALTER EXTENSION intarray ADD TABLE theirs")
    assert (await look(url)).findings == ()


async def test_server_wide_limits_are_judged_by_the_thresholds(server):
    """Transaction ids and the cache-hit ratio; each is found with a threshold that any server passes."""
    report = await look(server.url, xid_warning=0, xid_critical=1, min_blocks_read=1, cache_hit_share=1)
    assert {each.kind for each in report.findings} == {FindingKind.TRANSACTION_ID_AGE, FindingKind.CACHE_HIT_RATIO}
    ages = report.of_kind(FindingKind.TRANSACTION_ID_AGE)
    assert {"advised", "postgres", "template1"} <= {each.subject for each in ages}
    critical = await look(server.url, xid_warning=0, xid_critical=0)
    assert critical.worst is Severity.CRITICAL


async def test_top_statements_are_shown_without_their_literals(url):
    """With pg_stat_statements installed, in whatever schema; no value of anyone is in the report."""
    plant(url, 'CREATE SCHEMA "My: Ext"; CREATE EXTENSION pg_stat_statements SCHEMA "My: Ext"')
    plant(url, 'SELECT "My: Ext".pg_stat_statements_reset()')
    plant(url, "SELECT pg_sleep(0.05), 'geheim' AS x; CREATE ROLE someone PASSWORD 'hunter2'; DROP ROLE someone")
    report = await look(url, min_total_time=0, slow_statement=0.04)
    top = report.of_kind(FindingKind.TOP_STATEMENT)
    slow = [each for each in top if each.severity is Severity.WARNING]
    (sleep,) = (
        each for each in slow if each.subject.startswith("SELECT pg_sleep(")
    )  # on a busy machine not the only one
    assert sleep.measured["calls"] == 1
    written = json.dumps(report.to_dict()) + report.to_text()
    assert "geheim" not in written
    assert "hunter2" not in written


async def test_findings_of_a_kind_are_bounded(url):
    """A thousand of the same do not hide the others, and a note says how many were left out."""
    plant(url, ";".join(f"CREATE TABLE t{number} (a int)" for number in range(5)))
    report = await look(url, max_findings=2)
    assert [each.subject for each in report.findings] == ["public.t0", "public.t1"]
    assert any(note.check == "missing_primary_key" and note.reason.startswith("3 more") for note in report.notes)


async def test_hypopg_shows_what_a_missing_index_would_change(url):
    """Asked of the planner where the extension is there (Debian: postgresql-N-hypopg); nothing is left behind."""
    with psycopg.connect(url) as connection:
        if not connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'hypopg'").fetchone():
            pytest.skip("this server has no hypopg")
    plant(url, f'CREATE SCHEMA "h: x"; CREATE EXTENSION hypopg SCHEMA "h: x"; {MANY} {PETS} ANALYZE')
    plant(url, 'ALTER TABLE pets RENAME owner TO ":o"; INSERT INTO pets SELECT g, g FROM generate_series(1, 20000) g')
    plant(url, "ANALYZE")
    engine = create_async_engine(url.replace("://", "+asyncpg://"), pool_size=1, max_overflow=0)
    try:
        report = await advise(engine, AdvisorConfig(**EAGER))
        missing, suggested = report.findings
        assert (missing.kind, suggested.kind) == (FindingKind.MISSING_FOREIGN_KEY_INDEX, FindingKind.SUGGESTED_INDEX)
        assert suggested.measured["cost_after"] < suggested.measured["cost_before"] / 10
        assert suggested.fix == 'CREATE INDEX CONCURRENTLY ON public.pets (":o");'
        async with engine.connect() as connection:
            assert (await connection.exec_driver_sql('SELECT count(*) FROM "h: x".hypopg()')).scalar() == 0
    finally:
        await engine.dispose()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
    try:
        report = await look(url.replace("postgres@", "guest@"))
        assert any(note.check == "suggested_index" and "permission" in note.reason for note in report.notes)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP ROLE guest")
