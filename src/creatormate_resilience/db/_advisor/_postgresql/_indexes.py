"""Indexes: superfluous, unused and invalid ones."""

from __future__ import annotations

from collections.abc import Iterator

from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._finding import Finding, FindingKind, Note, shown_bytes, shown_seconds
from creatormate_resilience.db._advisor._index import Index, redundant_indexes
from creatormate_resilience.db._advisor._postgresql._scope import LOCKED, TABLES, size_of
from creatormate_resilience.exceptions import Severity

__all__ = (
    "CHECKS",
    "drop_index",
    "duplicate_indexes",
    "invalid_indexes",
    "rebuild_index",
    "superfluous_indexes",
    "unused_indexes",
)

_INDEX = f"""
WITH {TABLES}, {LOCKED}
SELECT t.table_name, format('%I.%I', n.nspname, x.relname) AS index_name, x.relname AS bare_name,
       x.relkind = 'I' AS partitioned, x.relispartition AS attached, i.indisvalid AND i.indisready AS valid,
       i.indisunique AS is_unique, i.indisreplident AS is_identity, i.indisexclusion AS is_exclusion,
       i.indisclustered AS is_clustered,
       i.indexrelid IN (SELECT conindid FROM pg_constraint) AS backs_constraint,
       {size_of("x")} AS size"""  # noqa: S608 - constants
_FROM = """
FROM tables t
JOIN pg_index i ON i.indrelid = t.oid
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = x.relnamespace
JOIN pg_am am ON am.oid = x.relam"""

# A column is told by its number, an expression by its text: asking for the text of all of them takes ten times as long.
# A key's operator class with its options, collation and order stand before it. pg_get_indexdef would wait for a lock.
_COLUMN = "CASE i.indkey[k - 1] WHEN 0 THEN pg_get_indexdef(i.indexrelid, k, true) ELSE i.indkey[k - 1]::text END"
_VALID = f"""{_INDEX},
    am.amname AS method, coalesce(array_to_string(x.reloptions, ','), '') AS options,
    ARRAY(SELECT concat_ws(' ', i.indclass[k - 1], o.attoptions, i.indcollation[k - 1], i.indoption[k - 1], {_COLUMN})
          FROM generate_series(1, i.indnkeyatts) k
          JOIN pg_attribute o ON o.attrelid = i.indexrelid AND o.attnum = k ORDER BY k) AS keys,
    ARRAY(SELECT {_COLUMN} FROM generate_series(1, i.indnatts) k) AS columns,
    CASE WHEN i.indpred IS NOT NULL THEN substring(pg_get_indexdef(i.indexrelid) FROM ' WHERE .*$') END AS predicate,
    concat_ws(' ', i.indimmediate, to_jsonb(i) ->> 'indnullsnotdistinct') AS uniqueness,
    pg_stat_get_numscans(i.indexrelid) AS scans,
    EXISTS (SELECT FROM pg_constraint f WHERE f.contype = 'f' AND f.conrelid = t.oid
            AND f.conkey <@ (CAST(i.indkey AS int2[]))[0:cardinality(f.conkey) - 1]) AS serves_foreign_key
{_FROM}
WHERE t.oid NOT IN (SELECT relation FROM locked)
"""  # noqa: S608 - constants

# Being built right now is not a defect. Which index a session of another role builds is hidden, what it locks is not.
_INVALID = f"""{_INDEX}
{_FROM}
WHERE NOT (i.indisvalid AND i.indisready)
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p JOIN pg_locks l ON l.pid = p.pid AND l.granted
                  WHERE l.relation = t.oid)
"""


def superfluous_indexes(rows: Rows, context: Context) -> Iterator[Finding | Note]:
    """Duplicates and unused ones. What a duplicate would be dropped in favour of is not called unused as well."""
    duplicates = list(duplicate_indexes(rows, context))
    kept = {finding.measured["covered_by"] for finding in duplicates}
    yield from duplicates
    yield from unused_indexes([row for row in rows if row["index_name"] not in kept], context)


def duplicate_indexes(rows: Rows, _context: Context) -> Iterator[Finding]:
    """Indexes that another one makes superfluous: the same again, or the beginning of a wider one."""
    found = {row["index_name"]: row for row in rows}
    for index, kept in redundant_indexes(map(_index, rows)):
        same = (index.keys, index.columns) == (kept.keys, kept.columns)
        how = "the same columns" if same else "all its columns, and more"
        yield Finding(
            kind=FindingKind.DUPLICATE_INDEX,
            severity=Severity.WARNING if same else Severity.INFO,
            subject=index.name,
            reason=f"{kept.name} on {index.table} has {how}; each write keeps both, {shown_bytes(index.size)} of disk",
            measured={"covered_by": kept.name, "table": index.table, "size": index.size, "kept_size": kept.size},
            fix=drop_index(found[index.name]),
        )


def unused_indexes(rows: Rows, context: Context) -> Iterator[Finding | Note]:
    """Indexes that no query has read since the server began to count, and that nothing else needs."""
    age = context.stats_age
    if age is None or age < context.config.min_stats_age:
        counted = "an unknown time" if age is None else shown_seconds(age)
        wanted = shown_seconds(context.config.min_stats_age)
        yield Note("unused_index", f"the server has counted for {counted} only, less than {wanted} (min_stats_age)")
        return
    for row in rows:
        if row["scans"] or row["size"] < context.config.min_unused_bytes or not _is_for_queries(row):
            continue
        yield Finding(
            kind=FindingKind.UNUSED_INDEX,
            severity=Severity.WARNING,
            subject=row["index_name"],
            reason=f"not read in {shown_seconds(age)} on this server; it costs {shown_bytes(row['size'])} and part of"
            f" every write to {row['table_name']} (replicas count on their own, and a new index starts at 0)",
            measured={"table": row["table_name"], "size": row["size"], "scans": 0, "stats_age": round(age)},
            fix=drop_index(row),
        )


def invalid_indexes(rows: Rows, _context: Context) -> Iterator[Finding]:
    """Indexes that are kept up to date but not used, mostly left by a concurrent build that failed."""
    for row in rows:
        if row["partitioned"]:
            reason = f"not all partitions of {row['table_name']} have their part of it: make and ATTACH what is missing"
            fix = None
        else:
            reason = f"queries on {row['table_name']} cannot use it, while writes may keep it up: a build has failed"
            reason += " (it is unique: look for values that occur twice)" if row["is_unique"] else ""
            leftover = row["bare_name"].rstrip("0123456789").endswith(("_ccnew", "_ccold"))
            fix = drop_index(row) if leftover else rebuild_index(row)
        yield Finding(
            kind=FindingKind.INVALID_INDEX,
            severity=Severity.WARNING,
            subject=row["index_name"],
            reason=reason,
            measured={"table": row["table_name"], "size": row["size"]},
            fix=fix,
        )


def drop_index(row: Row) -> str:
    """The statement that drops an index; that of a partitioned table cannot be dropped concurrently."""
    how = "" if row["partitioned"] else "CONCURRENTLY "
    return f"DROP INDEX {how}{row['index_name']};"


def rebuild_index(row: Row) -> str:
    """The statement that builds an index again; one of an exclusion constraint cannot be built concurrently."""
    how = "" if row["is_exclusion"] else "CONCURRENTLY "
    return f"REINDEX INDEX {how}{row['index_name']};"


def _is_for_queries(row: Row) -> bool:
    """Whether nothing but queries needs the index. That of a partitioned table has no size and no scans itself."""
    spared = row["is_unique"] or row["partitioned"] or row["serves_foreign_key"] or not row["valid"]
    return not spared and not _is_needed(row)


def _is_needed(row: Row) -> bool:
    return any(row[each] for each in ("backs_constraint", "is_identity", "is_clustered", "is_exclusion", "attached"))


def _index(row: Row) -> Index:
    return Index(
        table=row["table_name"],
        name=row["index_name"],
        method=row["method"],
        keys=tuple(row["keys"]),
        columns=frozenset(row["columns"]),
        predicate=row["predicate"],
        options=row["options"],
        unique=row["uniqueness"] if row["is_unique"] else "",
        needed=_is_needed(row),
        valid=row["valid"],
        size=row["size"],
    )


CHECKS = (
    Check("superfluous_index", _VALID, superfluous_indexes),
    Check("invalid_index", _INVALID, invalid_indexes),
)
