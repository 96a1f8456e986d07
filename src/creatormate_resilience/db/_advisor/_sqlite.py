"""What the advisor asks SQLite. All of it is cheap: catalogs and headers, and no table is read to its end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from creatormate_resilience.db._advisor import _sqlite_keys
from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._finding import Finding, FindingKind, shown_bytes
from creatormate_resilience.db._advisor._index import Index, redundant_indexes
from creatormate_resilience.db._advisor._sqlite_keys import TABLES, quoted
from creatormate_resilience.exceptions import Severity

__all__ = ("CHECKS", "FOREIGN_KEYS_ENFORCED", "never_analyzed")

_INDEXES = f"""
SELECT t.name AS table_name, l.name AS index_name, l."unique" AS is_unique, l.origin, l.partial, m.sql AS definition,
       x.name AS column_name, x.coll AS collation, x."desc" AS is_descending
FROM ({TABLES}) t, pragma_index_list(t.name) l, pragma_index_xinfo(l.name) x
LEFT JOIN sqlite_master m ON m.type = 'index' AND m.name = l.name
WHERE x.key = 1 ORDER BY t.name, l.name, x.seqno
"""  # noqa: S608 - constants

_FILE = """
SELECT (SELECT journal_mode FROM pragma_journal_mode) AS journal_mode,
       (SELECT page_count FROM pragma_page_count) AS pages,
       (SELECT freelist_count FROM pragma_freelist_count) AS free,
       (SELECT page_size FROM pragma_page_size) AS page_size,
       (SELECT file FROM pragma_database_list WHERE name = 'main') AS file
"""
_ENFORCED = f"""
SELECT (SELECT foreign_keys FROM pragma_foreign_keys) AS enforced, count(*) AS foreign_keys
FROM ({TABLES}) t, pragma_foreign_key_list(t.name)
"""  # noqa: S608 - constants

_INDEXED = f"SELECT DISTINCT t.name FROM ({TABLES}) t, pragma_index_list(t.name) ORDER BY t.name"  # noqa: S608
_MOSTTABLES = 1000

_WAITING = (Severity.INFO, "readers and writers wait for each other; in WAL mode they do not")
_JOURNALS = MappingProxyType(
    {
        "off": (Severity.CRITICAL, "there is no rollback, and a crash destroys the file"),
        "memory": (Severity.CRITICAL, "a crash in the middle of a transaction destroys the file"),
        **dict.fromkeys(("delete", "truncate", "persist"), _WAITING),
    }
)


def duplicate_indexes(rows: Rows, _context: Context) -> Iterator[Finding]:
    """Indexes that another one makes superfluous."""
    groups = groupby(rows, itemgetter("table_name", "index_name"))
    indexes = [_index(list(group)) for _, group in groups]
    for index, kept in redundant_indexes(indexes):
        same = (index.keys, index.columns) == (kept.keys, kept.columns)
        yield Finding(
            kind=FindingKind.DUPLICATE_INDEX,
            severity=Severity.WARNING if same else Severity.INFO,
            subject=index.name,
            reason=f"{kept.name} on {index.table} has {'the same columns' if same else 'all its columns, and more'}",
            measured={"covered_by": kept.name, "table": index.table},
            fix=f"DROP INDEX {index.name};",
        )


def file_health(rows: Rows, context: Context) -> Iterator[Finding]:
    """Journal and free pages of the database file; an in-memory database has neither."""
    for row in rows:
        if row["file"]:
            yield from _journal(row)
            yield from _free_pages(row, context)


def foreign_keys_enforced(rows: Rows, _context: Context) -> Iterator[Finding]:
    """Foreign keys that this engine's connections do not enforce. The setting is each connection's own."""
    for row in rows:
        if row["foreign_keys"] and not row["enforced"]:
            yield Finding(
                kind=FindingKind.SETTING,
                severity=Severity.WARNING,
                subject="foreign_keys",
                reason="is off on this engine's connections: the foreign keys that are declared are not enforced",
                measured={"foreign_keys": row["foreign_keys"]},
                fix="PRAGMA foreign_keys = ON;  -- on each new connection",
            )


async def never_analyzed(connection: AsyncConnection, context: Context) -> list[Finding]:
    """Indexed tables of which the planner knows nothing. Whether a table is large is asked for, not how large."""
    known: set[str] = set()
    if (await connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'"))).first():
        known = set((await connection.execute(text("SELECT tbl FROM sqlite_stat1"))).scalars())
    names = [name for name in (await connection.execute(text(_INDEXED))).scalars() if name not in known]
    return [_unanalyzed(name) for name in names[:_MOSTTABLES] if await _is_large(connection, name, context)]


async def _is_large(connection: AsyncConnection, table: str, context: Context) -> bool:
    last = max(context.config.min_analyze_rows, 1) - 1
    # Not as text(): a quoted name may hold a colon.
    found = await connection.exec_driver_sql(f"SELECT 1 FROM {quoted(table)} LIMIT 1 OFFSET {last}")  # noqa: S608
    return found.first() is not None


def _unanalyzed(table: str) -> Finding:
    return Finding(
        kind=FindingKind.NEVER_ANALYZED,
        severity=Severity.INFO,
        subject=quoted(table),
        reason="never analyzed: the planner guesses which index to take",
        fix=f"ANALYZE {quoted(table)};",
    )


def _index(members: list[Row]) -> Index:
    first = members[0]
    table, name, sql = first["table_name"], first["index_name"], first["definition"]
    if first["partial"] or any(row["column_name"] is None for row in members):
        # Its expressions and its predicate are known as text only: it equals what was declared in the same words.
        _, _, declared = " ".join((sql or name).split()).partition(" ON ")
        method, keys = "as declared", [declared]
    else:
        method = "btree"
        keys = [f"{row['collation']} {row['is_descending']} {row['column_name'].casefold()}" for row in members]
    return Index(
        table=quoted(table),
        name=quoted(name),
        method=method,
        keys=tuple(keys),
        columns=frozenset(keys),
        unique="unique" if first["is_unique"] else "",
        needed=first["origin"] != "c",
    )


def _journal(row: Row) -> Iterator[Finding]:
    mode = str(row["journal_mode"]).lower()
    if mode in _JOURNALS:
        severity, reason = _JOURNALS[mode]
        yield Finding(
            kind=FindingKind.SETTING,
            severity=severity,
            subject="journal_mode",
            reason=f"is {mode}: {reason}",
            fix="PRAGMA journal_mode = WAL;",
        )


def _free_pages(row: Row, context: Context) -> Iterator[Finding]:
    free = row["free"] * row["page_size"]
    share = row["free"] / max(row["pages"], 1)
    if free >= max(context.config.min_bloat_bytes, 1) and share >= context.config.bloat_share:
        yield Finding(
            kind=FindingKind.TABLE_BLOAT,
            severity=Severity.INFO,
            subject="main",
            reason=f"{shown_bytes(free)}, {share:.0%} of the file, are free pages: they are used again, but the file"
            " does not shrink. VACUUM rewrites it and locks it meanwhile",
            measured={"size": row["pages"] * row["page_size"], "wasted": free, "share": round(share, 2)},
            fix="VACUUM;",
        )


CHECKS = (
    Check("duplicate_index", _INDEXES, duplicate_indexes),
    *_sqlite_keys.CHECKS,
    Check("file", _FILE, file_health),
)
FOREIGN_KEYS_ENFORCED = Check("foreign_keys", _ENFORCED, foreign_keys_enforced)
"""Says something only of connections that the application would use."""
