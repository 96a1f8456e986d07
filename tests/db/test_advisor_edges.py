"""What real schemas have besides the usual: each finding's SQL runs as it is, cures, and makes no new finding."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest

from creatormate_resilience.db import AdvisorConfig, Finding, FindingKind, Report, advise
from creatormate_resilience.db._advisor._check import Context
from creatormate_resilience.db._advisor._index import covered
from creatormate_resilience.db._advisor._postgresql._server import transaction_id_age
from creatormate_resilience.exceptions import Severity

pytestmark = pytest.mark.anyio

NOT_MEANT = FindingKind.SETTING  # the suite's servers run with fsync off


def found(report: Report) -> list[tuple[str, str | None]]:
    return [(finding.subject, finding.fix) for finding in report.findings if finding.kind is not NOT_MEANT]


def plant(url: str, script: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in filter(None, map(str.strip, script.split(";"))):
            connection.execute(statement)


TARGETS = "CREATE TABLE one (id int PRIMARY KEY); CREATE TABLE two (a int, b int, PRIMARY KEY (a, b));"
ENDING = "SELECT setval('{}', 2100000000);"
CURED = (
    # Partitions and children read the sequence of their parent: altered is the parent, and all of them with it.
    (
        "CREATE TABLE s (id serial, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);"
        "CREATE TABLE s1 PARTITION OF s FOR VALUES IN (1); CREATE TABLE s2 PARTITION OF s FOR VALUES IN (2);"
        + ENDING.format("s_id_seq"),
        ["public.s_id_seq"],
    ),
    (
        "CREATE TABLE s (id serial PRIMARY KEY); CREATE TABLE c () INHERITS (s); ALTER TABLE c ADD PRIMARY KEY (id);"
        + ENDING.format("s_id_seq"),
        ["public.s_id_seq"],
    ),
    # A limit of the sequence's own, far below that of its column.
    (
        (
            "CREATE SEQUENCE s MAXVALUE 1000; CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s'));"
            "SELECT setval('s', 999)"
        ),
        ["public.s"],
    ),
    # Foreign keys that one index serves together: of the same columns, of the beginning of others.
    (
        (
            f"{TARGETS} CREATE TABLE t (id int PRIMARY KEY, a int REFERENCES one, b int,"
            " FOREIGN KEY (a) REFERENCES one, FOREIGN KEY (b, a) REFERENCES two, FOREIGN KEY (a, b) REFERENCES two)"
        ),
        ["public.t (a)", "public.t (a)", "public.t (a, b)", "public.t (b, a)"],
    ),
    # A partitioned table without partitions, and one of whose partitions some have an index.
    (
        f"{TARGETS} CREATE TABLE p (id int PRIMARY KEY, a int REFERENCES one) PARTITION BY RANGE (id)",
        ["public.p (a)"],
    ),
    (
        (
            f"{TARGETS} CREATE TABLE p (id int PRIMARY KEY, a int REFERENCES one) PARTITION BY RANGE (id);"
            "CREATE TABLE p2 (junk int, a int, id int NOT NULL); ALTER TABLE p2 DROP COLUMN junk;"
            "ALTER TABLE p ATTACH PARTITION p2 DEFAULT; CREATE INDEX ON p2 (a);"
            "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (2)"
        ),
        ["public.p (a)"],
    ),
    # Unique indexes that no primary key can be made of, though their columns can be one.
    (
        (
            'CREATE TABLE t (a text NOT NULL); CREATE UNIQUE INDEX ON t (a COLLATE "POSIX");'
            "CREATE TABLE u (a text NOT NULL); CREATE UNIQUE INDEX ON u (a text_pattern_ops)"
        ),
        ["public.t", "public.u"],
    ),
    # A table stays clustered by what it was clustered by.
    (
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int); CREATE INDEX i1 ON t (a); CREATE INDEX i2 ON t (a);"
            "ALTER TABLE t CLUSTER ON i2"
        ),
        ["public.i1"],
    ),
    # What cannot be built concurrently.
    (
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int, CONSTRAINT x EXCLUDE USING btree (a WITH =));"
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'x'::regclass"
        ),
        ["public.x"],
    ),
    (
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int, CONSTRAINT x EXCLUDE (a WITH =) WITH (fillfactor = 10));"
            "INSERT INTO t SELECT g, g FROM generate_series(1, 20000) g; ALTER INDEX x RESET (fillfactor); ANALYZE t"
        ),
        ["public.x"],
    ),
)


@pytest.mark.parametrize(("script", "subjects"), CURED)
async def test_the_sql_of_a_finding_runs_and_cures_it(script, subjects, postgres_url):
    """Each is told once; all that is suggested can be run together, and leaves nothing to be found."""
    config = AdvisorConfig(min_bloat_bytes=900_000)
    plant(postgres_url, script)
    report = await advise(postgres_url, config)
    assert sorted(subject for subject, _ in found(report)) == subjects
    plant(postgres_url, "".join(fix for _, fix in found(report) if fix))
    assert found(await advise(postgres_url, config)) == []


async def test_only_what_is_too_small_is_widened(postgres_url):
    """The column is rewritten where it is the limit; a sequence with room below is only given it."""
    plant(postgres_url, CURED[2][0])
    plant(postgres_url, f"CREATE TABLE b (id serial PRIMARY KEY); {ENDING.format('b_id_seq')}")
    plant(postgres_url, "CREATE TABLE c (b int PRIMARY KEY REFERENCES b)")
    own, column = sorted((await advise(postgres_url)).findings[:2], key=lambda finding: finding.subject, reverse=True)
    assert own.fix == "ALTER SEQUENCE public.s AS bigint NO MAXVALUE;"
    assert "rewrites" not in own.reason
    assert column.fix.startswith("ALTER TABLE public.b ALTER COLUMN id TYPE bigint;\nALTER SEQUENCE")
    assert "rewrites" in column.reason
    assert "columns that refer to it" in column.reason


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("CREATE DOMAIN d AS int; CREATE TABLE t (id d PRIMARY KEY DEFAULT nextval('s'))", "is of a domain"),
        (
            (
                "CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s')) PARTITION BY RANGE (id);"
                "CREATE TABLE u PARTITION OF t DEFAULT"
            ),
            "is part of the partition key",
        ),
        (
            (
                "CREATE TABLE p (id int); CREATE TABLE t (PRIMARY KEY (id)) INHERITS (p);"
                "ALTER TABLE t ALTER id SET DEFAULT nextval('s'); ALTER TABLE p ADD PRIMARY KEY (id)"
            ),
            "is inherited",
        ),
    ],
)
async def test_a_column_that_cannot_simply_be_widened_has_no_fix(script, why, postgres_url):
    """It is found all the same, and the reason says what stands in the way."""
    plant(postgres_url, f"CREATE SEQUENCE s; {script}; {ENDING.format('s')}")
    (finding,) = (await advise(postgres_url)).of_kind(FindingKind.SEQUENCE_EXHAUSTION)
    assert (finding.subject, finding.severity, finding.fix) == ("public.s", Severity.CRITICAL, None)
    assert why in finding.reason
    assert "(id of public.t, " in finding.reason


NO_DEFECTS = """
    CREATE TABLE t (id int PRIMARY KEY, words tsvector);
    CREATE INDEX ON t USING gist (words tsvector_ops (siglen = 100));
    CREATE INDEX ON t USING gist (words tsvector_ops (siglen = 2000));
    CREATE TABLE p (id int PRIMARY KEY, a int REFERENCES t) PARTITION BY RANGE (id);
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (2);
    CREATE TABLE p2 PARTITION OF p DEFAULT PARTITION BY RANGE (id);
    CREATE TABLE p3 PARTITION OF p2 DEFAULT;
    CREATE INDEX ON p1 (a); CREATE INDEX ON p3 (a, id);
"""


async def test_no_defects(postgres_url):
    """Indexes with other options, and partitions that each have an index of their own for a foreign key."""
    plant(postgres_url, NO_DEFECTS)
    assert found(await advise(postgres_url)) == []


async def test_a_schema_that_does_not_exist_is_noted(postgres_url):
    """Else a report about a misspelt one would look as good as can be."""
    report = await advise(postgres_url, AdvisorConfig(schemas=("public", "not: there")))
    assert [note.reason for note in report.notes if note.check == "schemas"] == ["not in this database: not: there"]


async def test_a_unique_index_that_cannot_be_built_says_why(postgres_url):
    """Building it again would fail again."""
    plant(postgres_url, "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 5), (2, 5)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        plant(postgres_url, "CREATE UNIQUE INDEX CONCURRENTLY u ON t (a)")
    (finding,) = (await advise(postgres_url)).of_kind(FindingKind.INVALID_INDEX)
    assert "values that occur twice" in finding.reason


def test_the_name_of_a_database_adds_no_line_of_sql():
    """It stands in a comment of the SQL, and may hold line breaks."""
    row = {"database": '"a\nDROP TABLE b;\r--"', "xid_age": 2**31, "multixact_age": 0, "freeze_max_age": 2 * 10**8}
    (finding,) = transaction_id_age([row], Context(config=AdvisorConfig()))
    assert finding.fix == 'VACUUM (FREEZE);  -- in the database "a DROP TABLE b; --"'


def test_sql_is_cut_at_line_breaks_only():
    """What else counts as the end of a line in Python is a part of a name, and is escaped like all that is not seen."""
    finding = Finding(
        kind=FindingKind.SETTING, severity=Severity.INFO, subject="x", reason="y", fix='DROP "a\x0bb\u2028c\x85";\nTWO;'
    )
    assert Report.of("x", [finding], 10).to_text().split("\n")[-2:] == ['    DROP "a\\x0bb\\u2028c\\x85";', "    TWO;"]


def test_of_missing_indexes_the_fewest_are_made():
    """The wider one serves for those that it begins with, in any order; chains do not break."""
    assert covered({"a": [1], "b": [1, 2], "c": [2, 1, 3], "d": [2], "e": [2], "f": [4]}) == {
        "b": "c",
        "d": "c",
        "e": "c",
    }
    assert covered({"first": [1, 2], "second": [2, 1]}) == {"second": "first"}
    assert covered({}) == {}


SQLITE = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE one (id INTEGER PRIMARY KEY);
    CREATE TABLE two (a INT, b INT, PRIMARY KEY (a, b));
    CREATE TABLE t (id INTEGER PRIMARY KEY, a INT REFERENCES one, b INT REFERENCES one,
                    FOREIGN KEY (A) REFERENCES one, FOREIGN KEY (a, b) REFERENCES two);
    CREATE TABLE IX_T_A_B (id INTEGER PRIMARY KEY);
    CREATE TABLE u (id INTEGER PRIMARY KEY, a INT REFERENCES one);
    CREATE INDEX ix_u_a ON u (a) WHERE a > 5;
    CREATE VIEW ix_u_a_2 AS SELECT 1;
"""


async def test_indexes_for_foreign_keys_of_sqlite_can_be_made_together(tmp_path):
    """Each under a name that is free, and none twice."""
    file = tmp_path / "app.db"
    connection = sqlite3.connect(file)
    connection.executescript(SQLITE)
    report = await advise(f"sqlite:///{file}")
    fixes = [finding.fix for finding in report.findings]
    assert sorted(filter(None, fixes)) == [
        'CREATE INDEX "ix_t_a_b_2" ON "t" ("a", "b");',
        'CREATE INDEX "ix_t_b" ON "t" ("b");',
        'CREATE INDEX "ix_u_a_3" ON "u" ("a");',
    ]
    assert fixes.count(None) == 2
    assert [finding.reason for finding in report.findings if finding.fix is None] == [
        (
            'no index begins with these columns: deleting from "one" reads this whole table for each row; the index'
            ' for ("a", "b") would serve here too'
        )
    ] * 2
    connection.executescript("".join(filter(None, fixes)))
    connection.close()
    assert (await advise(f"sqlite:///{file}")).findings == ()
