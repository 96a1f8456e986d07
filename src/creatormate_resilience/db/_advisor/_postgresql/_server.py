"""The server as a whole: cache, transaction ids, what holds vacuum back, costly statements."""

from __future__ import annotations

from collections.abc import Iterator

from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._finding import Finding, FindingKind, Note, shown_seconds
from creatormate_resilience.db._advisor._statement import shown_statement
from creatormate_resilience.exceptions import Severity

__all__ = ("CHECKS", "cache_hit_ratio", "top_statements", "transaction_id_age", "vacuum_held_back")

_IDS = 2**31
"""Transaction ids are compared in a circle: half of the 2^32 lie in the past."""

_CACHE = """
SELECT datname AS database, blks_hit AS hit, blks_read AS read FROM pg_stat_database WHERE datname = current_database()
"""
_IDS_USED = """
SELECT quote_ident(datname) AS database, age(datfrozenxid) AS xid_age, mxid_age(datminmxid) AS multixact_age,
       CAST(current_setting('autovacuum_freeze_max_age') AS int) AS freeze_max_age
FROM pg_database WHERE datallowconn
"""
_HOLDERS = """
SELECT 'prepared' AS what, gid AS name, extract(epoch FROM clock_timestamp() - prepared)::float8 AS age,
       quote_literal(gid) AS literal
FROM pg_prepared_xacts WHERE database = current_database()
UNION ALL
SELECT 'slot', slot_name, NULL, quote_literal(slot_name)
FROM pg_replication_slots WHERE NOT active AND NOT temporary AND (database IS NULL OR database = current_database())
"""
_STATEMENTS = """
SELECT query, calls, total_exec_time / 1000 AS total, mean_exec_time / 1000 AS mean, rows,
       total_exec_time / nullif(sum(total_exec_time) OVER (), 0) AS share
FROM {extension}.pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND queryid IS NOT NULL
ORDER BY total_exec_time DESC LIMIT CAST(:top AS int)
"""


def cache_hit_ratio(rows: Rows, context: Context) -> Iterator[Finding]:
    """How many blocks came from the server's cache; what the operating system had in its own is not seen."""
    for row in rows:
        every = row["hit"] + row["read"]
        if every < max(context.config.min_blocks_read, 1) or row["hit"] / every >= context.config.cache_hit_share:
            continue
        yield Finding(
            kind=FindingKind.CACHE_HIT_RATIO,
            severity=Severity.WARNING,
            subject="shared_buffers",
            reason=f"only {row['hit'] / every:.1%} of the blocks read came from the cache: it is too small for what is"
            " in use, or statements read more than they need",
            measured={"ratio": round(row["hit"] / every, 4), "hit": row["hit"], "read": row["read"]},
        )


def transaction_id_age(rows: Rows, context: Context) -> Iterator[Finding]:
    """How near each database is to the point where the server refuses to write."""
    config = context.config
    for row in rows:
        age = max(row["xid_age"], row["multixact_age"])
        used = age / _IDS
        if used < config.xid_warning:
            continue
        yield Finding(
            kind=FindingKind.TRANSACTION_ID_AGE,
            severity=Severity.CRITICAL if used >= config.xid_critical else Severity.WARNING,
            subject=row["database"],
            reason=f"{used:.0%} of the transaction ids are used up since the oldest row was frozen: at the end the"
            " server takes no writes. Look for what keeps vacuum from freezing",
            measured={
                "xid_age": row["xid_age"],
                "multixact_age": row["multixact_age"],
                "freeze_max_age": row["freeze_max_age"],
                "used": round(used, 4),
            },
            fix=f"VACUUM (FREEZE);  -- in the database {' '.join(row['database'].split())}",  # on this line
        )


def vacuum_held_back(rows: Rows, context: Context) -> Iterator[Finding]:
    """Prepared transactions that nobody ended, and replication slots that nobody reads."""
    for row in rows:
        if row["what"] == "slot":
            yield _held_back(
                row, "nobody reads this replication slot: it keeps the log, until the disk is full", "slot"
            )
        elif row["age"] >= context.config.idle_in_transaction:
            age = shown_seconds(row["age"])
            yield _held_back(row, f"prepared {age} ago and not ended: its locks stay, and vacuum cannot pass it", "")


def _held_back(row: Row, reason: str, slot: str) -> Finding:
    drop = f"SELECT pg_drop_replication_slot({row['literal']});"
    return Finding(
        kind=FindingKind.VACUUM_HELD_BACK,
        severity=Severity.WARNING,
        subject=row["name"],
        reason=reason,
        measured={"age": row["age"]},
        fix=drop if slot else f"ROLLBACK PREPARED {row['literal']};",
    )


def top_statements(rows: Rows, context: Context) -> Iterator[Finding | Note]:
    """The statements that take most of the server's time; slow ones among them are warnings."""
    if not context.sees_all:
        yield Note("top_statement", "the statements of other roles are hidden from this role (GRANT pg_read_all_stats)")
    for row in rows:
        if row["total"] < context.config.min_total_time:
            continue
        yield Finding(
            kind=FindingKind.TOP_STATEMENT,
            severity=Severity.WARNING if row["mean"] >= context.config.slow_statement else Severity.INFO,
            subject=shown_statement(row["query"]),
            reason=f"{row['share'] or 0:.0%} of the time of all statements: {row['calls']:,} calls of"
            f" {row['mean'] * 1000:.3g} ms on average",
            measured={"calls": row["calls"], "total": row["total"], "mean": row["mean"], "rows": row["rows"]},
        )


CHECKS = (
    Check("cache_hit_ratio", _CACHE, cache_hit_ratio),
    Check("transaction_id_age", _IDS_USED, transaction_id_age),
    Check("vacuum_held_back", _HOLDERS, vacuum_held_back),
    Check("top_statement", _STATEMENTS, top_statements, extension="pg_stat_statements"),
)
