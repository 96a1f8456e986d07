"""Tables: whole scans of large ones, dead rows, autovacuum switched off, statistics that the planner lacks."""

from __future__ import annotations

from collections.abc import Iterator

from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._finding import Finding, FindingKind
from creatormate_resilience.db._advisor._postgresql._scope import PARTITIONS, TABLES
from creatormate_resilience.exceptions import Severity

__all__ = ("CHECKS", "table_health")

_TABLES = f"""
WITH RECURSIVE {PARTITIONS}, {TABLES}
SELECT t.table_name, t.relkind = 'p' AS partitioned, coalesce(p.row_count, t.row_count) AS row_count,
       coalesce(s.seq_scan, 0) AS seq_scans, coalesce(s.seq_tup_read, 0) AS seq_rows,
       coalesce(s.idx_scan, 0) AS index_scans, coalesce(s.n_dead_tup, 0) AS dead_rows,
       extract(epoch FROM clock_timestamp() - greatest(s.last_vacuum, s.last_autovacuum))::float8 AS vacuum_age,
       (s.last_analyze IS NULL AND s.last_autoanalyze IS NULL
        AND (t.relkind <> 'p' OR t.reltuples < 0)) AS never_analyzed,
       EXISTS (SELECT FROM pg_options_to_table(t.reloptions)
               WHERE option_name = 'autovacuum_enabled' AND option_value ~* '^(f|of|n|0)') AS autovacuum_off
FROM tables t
LEFT JOIN pg_stat_all_tables s ON s.relid = t.oid
LEFT JOIN partitions p ON p.root = t.oid
WHERE t.relkind <> 'p' OR p.root IS NOT NULL
"""  # noqa: S608 - constants


def table_health(rows: Rows, context: Context) -> Iterator[Finding]:
    """What the server has counted for each table."""
    for row in rows:
        yield from _sequential_scans(row, context)
        yield from _dead_rows(row, context)
        yield from _autovacuum_off(row)
        yield from _never_analyzed(row, context)


def _sequential_scans(row: Row, context: Context) -> Iterator[Finding]:
    config = context.config
    scans, rows = row["seq_scans"], row["row_count"]
    if rows < max(config.large_table_rows, 1) or scans < max(config.min_seq_scans, 1):
        return
    share = scans / (scans + row["index_scans"])
    each = row["seq_rows"] / scans
    if share < config.seq_scan_share or each * 10 < rows:  # those that stop early, at a LIMIT, do no harm
        return
    yield Finding(
        kind=FindingKind.SEQUENTIAL_SCANS,
        severity=Severity.WARNING,
        subject=row["table_name"],
        reason=f"{share:.0%} of its scans read the whole of it, {each:,.0f} rows each time on average: look for the"
        " statements with pg_stat_statements and EXPLAIN (backups and building an index count too)",
        measured={"seq_scans": scans, "index_scans": row["index_scans"], "rows_per_scan": round(each), "rows": rows},
    )


def _dead_rows(row: Row, context: Context) -> Iterator[Finding]:
    dead = row["dead_rows"]
    every = max(dead + row["row_count"], 1)
    if dead < max(context.config.min_dead_rows, 1) or dead / every < context.config.dead_row_share:
        return
    yield Finding(
        kind=FindingKind.DEAD_ROWS,
        severity=Severity.WARNING,
        subject=row["table_name"],
        reason=f"about {dead:,} dead rows, {dead / every:.0%} of all: vacuum does not keep up, or an old transaction"
        " keeps it from removing them",
        measured={"dead_rows": dead, "rows": row["row_count"], "vacuum_age": row["vacuum_age"]},
        fix=f"VACUUM (ANALYZE) {row['table_name']};",
    )


def _autovacuum_off(row: Row) -> Iterator[Finding]:
    if row["autovacuum_off"]:
        yield Finding(
            kind=FindingKind.AUTOVACUUM_OFF,
            severity=Severity.WARNING,
            subject=row["table_name"],
            reason="autovacuum is switched off for this table: dead rows stay, and the planner's statistics grow old",
            measured={"vacuum_age": row["vacuum_age"]},
            fix=f"ALTER TABLE {row['table_name']} RESET (autovacuum_enabled);",
        )


def _never_analyzed(row: Row, context: Context) -> Iterator[Finding]:
    if not row["never_analyzed"] or row["row_count"] < max(context.config.min_analyze_rows, 1):
        return
    if row["partitioned"]:
        reason = "never analyzed: autovacuum looks at its partitions only, so the planner knows nothing of the whole"
    else:
        reason = "never analyzed since the server began to count: the planner guesses"
    yield Finding(
        kind=FindingKind.NEVER_ANALYZED,
        severity=Severity.INFO if row["partitioned"] else Severity.WARNING,
        subject=row["table_name"],
        reason=f"{reason} (about {row['row_count']:,} rows)",
        measured={"rows": row["row_count"]},
        fix=f"ANALYZE {row['table_name']};",
    )


CHECKS = (Check("tables", _TABLES, table_health),)
