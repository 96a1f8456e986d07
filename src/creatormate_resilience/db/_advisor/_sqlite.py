"""What the advisor asks SQLite. All of it is cheap: catalogs and headers, and no table is read to its end."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._finding import Finding, FindingKind, shown_bytes
from creatormate_resilience.db._advisor._index import Index, finds, redundant_indexes
from creatormate_resilience.exceptions import Severity

__all__ = ("CHECKS", "FOREIGN_KEYS_ENFORCED", "never_analyzed")

_TABLES = """
SELECT name FROM sqlite_master
WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_' AND sql NOT LIKE 'CREATE VIRTUAL%'"""

_INDEXES = f"""
SELECT t.name AS table_name, l.name AS index_name, l."unique" AS is_unique, l.origin, l.partial, m.sql AS definition,
       x.name AS column_name, x.coll AS collation, x."desc" AS is_descending
FROM ({_TABLES}) t, pragma_index_list(t.name) l, pragma_index_xinfo(l.name) x
LEFT JOIN sqlite_master m ON m.type = 'index' AND m.name = l.name
WHERE x.key = 1 ORDER BY t.name, l.name, x.seqno
"""  # noqa: S608 - constants

# Each column of a foreign key with each of each index of its table; a single INTEGER PRIMARY KEY is the table itself.
_FOREIGN_KEYS = f"""
SELECT t.name AS table_name, f.id, f.seq, f."table" AS target, f."from" AS column_name,
       l.name AS index_name, l.partial, m.sql AS definition, x.seqno, x.name AS index_column,
       (SELECT c.name FROM pragma_table_info(t.name) c WHERE c.pk = 1 AND upper(c.type) = 'INTEGER'
        AND 1 = (SELECT count(*) FROM pragma_table_info(t.name) WHERE pk > 0)) AS row_id
FROM ({_TABLES}) t JOIN pragma_foreign_key_list(t.name) f
LEFT JOIN pragma_index_list(t.name) l
LEFT JOIN pragma_index_xinfo(l.name) x ON x.key = 1
LEFT JOIN sqlite_master m ON m.type = 'index' AND m.name = l.name
ORDER BY t.name, f.id, l.name, x.seqno, f.seq
"""  # noqa: S608 - constants

_KEYLESS = f"""
SELECT t.name AS table_name FROM ({_TABLES}) t
WHERE NOT EXISTS (SELECT 1 FROM pragma_table_info(t.name) WHERE pk > 0) ORDER BY t.name
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
FROM ({_TABLES}) t, pragma_foreign_key_list(t.name)
"""  # noqa: S608 - constants

_INDEXED = f"SELECT DISTINCT t.name FROM ({_TABLES}) t, pragma_index_list(t.name) ORDER BY t.name"  # noqa: S608
_MOST_TABLES = 1000

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


def missing_foreign_key_indexes(rows: Rows, _context: Context) -> Iterator[Finding]:
    """Foreign keys whose every check, on deleting or changing the target, reads the whole table."""
    for (table, _), group in groupby(rows, itemgetter("table_name", "id")):
        members = list(group)
        columns = list(dict.fromkeys(row["column_name"] for row in members))
        folded = [each.casefold() for each in columns]
        if any(finds(folded, each) for each in _usable(members, folded)):
            continue
        listed = ", ".join(map(_quoted, columns))
        yield Finding(
            kind=FindingKind.MISSING_FOREIGN_KEY_INDEX,
            severity=Severity.INFO,
            subject=f"{_quoted(table)} ({listed})",
            reason=f"no index begins with these columns: deleting from {_quoted(members[0]['target'])} reads this"
            " whole table for each row",
            measured={"table": _quoted(table), "columns": tuple(map(_quoted, columns))},
            fix=f"CREATE INDEX {_quoted('_'.join(['ix', table, *columns]))} ON {_quoted(table)} ({listed});",
        )


def missing_primary_keys(rows: Rows, _context: Context) -> Iterator[Finding]:
    """Tables whose rows are told apart by a number that VACUUM may change."""
    for row in rows:
        yield Finding(
            kind=FindingKind.MISSING_PRIMARY_KEY,
            severity=Severity.INFO,
            subject=_quoted(row["table_name"]),
            reason="no primary key: rows are told apart by a hidden number only, which VACUUM may change",
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
    return [_unanalyzed(name) for name in names[:_MOST_TABLES] if await _is_large(connection, name, context)]


async def _is_large(connection: AsyncConnection, table: str, context: Context) -> bool:
    last = max(context.config.min_analyze_rows, 1) - 1
    # Not as text(): a quoted name may hold a colon.
    found = await connection.exec_driver_sql(f"SELECT 1 FROM {_quoted(table)} LIMIT 1 OFFSET {last}")  # noqa: S608
    return found.first() is not None


def _unanalyzed(table: str) -> Finding:
    return Finding(
        kind=FindingKind.NEVER_ANALYZED,
        severity=Severity.INFO,
        subject=_quoted(table),
        reason="never analyzed: the planner guesses which index to take",
        fix=f"ANALYZE {_quoted(table)};",
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
        table=_quoted(table),
        name=_quoted(name),
        method=method,
        keys=tuple(keys),
        columns=frozenset(keys),
        unique="unique" if first["is_unique"] else "",
        needed=first["origin"] != "c",
    )


def _usable(members: list[Row], columns: list[str]) -> Iterator[list[str | None]]:
    """The columns of each index that sees all rows with a value."""
    if members[0]["row_id"] is not None:
        yield [members[0]["row_id"].casefold()]
    indexes: defaultdict[str, dict[int, str | None]] = defaultdict(dict)
    for row in members:
        if row["index_name"] is not None and (not row["partial"] or _leaves_out_nulls(row["definition"], columns)):
            name = row["index_column"]
            indexes[row["index_name"]][row["seqno"]] = None if name is None else name.casefold()
    yield from (list(each.values()) for each in indexes.values())


def _leaves_out_nulls(definition: str | None, columns: list[str]) -> bool:
    predicate = re.split(r"\bwhere\b", definition or "", flags=re.IGNORECASE)[-1]
    return " ".join(predicate.casefold().replace('"', "").split()) in {f"{column} is not null" for column in columns}


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


def _quoted(name: Any) -> str:
    return '"' + str(name).replace('"', '""') + '"'


CHECKS = (
    Check("duplicate_index", _INDEXES, duplicate_indexes),
    Check("missing_foreign_key_index", _FOREIGN_KEYS, missing_foreign_key_indexes),
    Check("missing_primary_key", _KEYLESS, missing_primary_keys),
    Check("file", _FILE, file_health),
)
FOREIGN_KEYS_ENFORCED = Check("foreign_keys", _ENFORCED, foreign_keys_enforced)
"""Says something only of connections that the application would use."""
