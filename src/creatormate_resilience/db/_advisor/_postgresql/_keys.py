"""Keys: foreign keys without an index and tables without a primary key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._finding import Finding, FindingKind
from creatormate_resilience.db._advisor._index import covered, finds
from creatormate_resilience.db._advisor._postgresql._scope import LOCKED, PARTITIONS, TABLES
from creatormate_resilience.exceptions import Severity

__all__ = ("CHECKS", "missing_foreign_key_indexes", "missing_primary_keys")

# Each partition has the foreign key for itself, with its own numbers of the columns; a search goes through its indexes.
_FOREIGN_KEYS = f"""
WITH RECURSIVE {PARTITIONS}, {TABLES}, {LOCKED},
own(root, id, relation, numbers) AS (
    SELECT con.oid, con.oid, con.conrelid, con.conkey
    FROM pg_constraint con JOIN pg_class c ON c.oid = con.conrelid AND c.relkind = 'p'
    WHERE con.contype = 'f' AND con.conparentid = 0
    UNION ALL
    SELECT own.root, con.oid, con.conrelid, con.conkey
    FROM own JOIN pg_constraint con ON con.conparentid = own.id AND con.contype = 'f'
),
searched AS (
    SELECT o.root, format('%I.%I', n.nspname, c.relname) AS name, EXISTS (
               SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
               JOIN pg_am am ON am.oid = x.relam AND am.amname IN ('btree', 'hash')
               WHERE i.indrelid = o.relation AND i.indisvalid AND i.indpred IS NULL
                 AND i.indnkeyatts >= cardinality(o.numbers)
                 AND o.numbers <@ (CAST(i.indkey AS int2[]))[0:cardinality(o.numbers) - 1]) AS served
    FROM (SELECT DISTINCT root, relation, numbers FROM own) o
    JOIN pg_class c ON c.oid = o.relation AND c.relkind = 'r' JOIN pg_namespace n ON n.oid = c.relnamespace
),
unserved AS (
    SELECT root, array_agg(name ORDER BY name) FILTER (WHERE NOT served) AS names FROM searched GROUP BY root
)
SELECT CAST(con.oid AS bigint) AS id, t.table_name, quote_ident(con.conname) AS constraint_name,
       CAST(con.confrelid AS regclass)::text AS target, coalesce(p.row_count, t.row_count) AS row_count,
       t.relkind = 'p' AS partitioned, u.names AS partitions, u.root IS NOT NULL AND u.names IS NULL AS served,
       ARRAY(SELECT quote_ident(a.attname)
             FROM unnest(con.conkey) WITH ORDINALITY k(number, place)
             JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.number ORDER BY k.place) AS columns,
       con.conkey AS numbers, (CAST(i.indkey AS int2[]))[0:i.indnkeyatts - 1] AS index_numbers,
       CASE WHEN i.indpred IS NULL THEN NULL WHEN t.oid IN (SELECT relation FROM locked) THEN 'unknown'
            ELSE substring(pg_get_indexdef(i.indexrelid) FROM ' WHERE .*$') END AS predicate
FROM pg_constraint con
JOIN tables t ON t.oid = con.conrelid
LEFT JOIN partitions p ON p.root = t.oid
LEFT JOIN unserved u ON u.root = con.oid
LEFT JOIN (pg_index i JOIN pg_class x ON x.oid = i.indexrelid
           JOIN pg_am am ON am.oid = x.relam AND am.amname IN ('btree', 'hash'))
       ON i.indrelid = con.conrelid AND i.indisvalid
WHERE con.contype = 'f' AND con.conparentid = 0
ORDER BY con.oid
"""  # noqa: S608 - constants

_PRIMARY_KEYS = f"""
WITH {TABLES}
SELECT t.table_name, t.relkind = 'p' AS partitioned, t.row_count,
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'id') AS has_id,
       (SELECT ARRAY[format('%I', x.relname), CAST(x.relkind = 'i' AND NOT EXISTS (
                   SELECT FROM pg_constraint con WHERE con.conindid = i.indexrelid AND con.contype <> 'f')
                   AND NOT EXISTS (
                   SELECT FROM generate_series(0, i.indnkeyatts - 1) k
                   JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[k]
                   JOIN pg_opclass o ON o.oid = i.indclass[k]
                   WHERE NOT o.opcdefault OR i.indcollation[k] <> a.attcollation) AS text),
               (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k)
                FROM generate_series(1, i.indnkeyatts) k
                JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[k - 1])]
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
        WHERE i.indrelid = t.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
          AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT i.indisexclusion
          AND 0 = ALL (i.indoption)
          AND NOT EXISTS (SELECT FROM generate_series(1, i.indnkeyatts) k
                          JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[k - 1]
                          WHERE NOT a.attnotnull)
        ORDER BY i.indnkeyatts, x.relname LIMIT 1) AS candidate
FROM tables t
WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition
  AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary)
"""  # noqa: S608 - constants


def missing_foreign_key_indexes(rows: Rows, context: Context) -> Iterator[Finding]:
    """Foreign keys whose every check, on deleting or changing the target, reads the whole table."""
    tables: defaultdict[str, dict[int, Row]] = defaultdict(dict)
    for key, group in groupby(rows, itemgetter("id")):
        candidates = list(group)
        if not candidates[0]["served"] and not any(map(_supports, candidates)):
            tables[candidates[0]["table_name"]][key] = candidates[0]
    for missing in tables.values():
        served = covered({key: row["numbers"] for key, row in missing.items()})
        for key, row in missing.items():
            yield _missing(row, missing[served[key]] if key in served else None, context)


def _missing(row: Row, wider: Row | None, context: Context) -> Finding:
    columns = ", ".join(row["columns"])
    shared = "" if wider is None else f"; the index for {wider['constraint_name']} would serve here too"
    return Finding(
        kind=FindingKind.MISSING_FOREIGN_KEY_INDEX,
        severity=Severity.WARNING if row["row_count"] >= context.config.large_table_rows else Severity.INFO,
        subject=f"{row['table_name']} ({columns})",
        reason=f"{row['constraint_name']} has no index that begins with its columns: deleting from {row['target']}"
        f" reads this whole table for each row{shared}",
        measured={
            "constraint": row["constraint_name"],
            "table": row["table_name"],
            "columns": tuple(row["columns"]),
            "rows": row["row_count"],
        },
        fix=_create_index(row, columns) if wider is None else None,
    )


def missing_primary_keys(rows: Rows, _context: Context) -> Iterator[Finding]:
    """Tables whose rows have no name: they cannot be replicated logically, nor deduplicated."""
    for row in rows:
        index, usable, columns = row["candidate"] or (None, None, None)
        yield Finding(
            kind=FindingKind.MISSING_PRIMARY_KEY,
            severity=Severity.INFO if columns else Severity.WARNING,
            subject=row["table_name"],
            reason="no primary key"
            + (
                f", though {columns} could be it"
                if columns
                else ": rows cannot be told apart, nor replicated logically"
            ),
            measured={"rows": row["row_count"]},
            fix=_add_primary_key(row, index if usable == "true" else None, columns),
        )


def _supports(row: Row) -> bool:
    """Whether the index of this row finds what the foreign key looks for. There it is never NULL."""
    harmless = {None, "unknown", *(f" WHERE ({column} IS NOT NULL)" for column in row["columns"])}
    index = row["index_numbers"]
    return index is not None and row["predicate"] in harmless and finds(row["numbers"], index)


def _create_index(row: Row, columns: str) -> str:
    """Of a partitioned table: on each partition that has none, without blocking; then one that takes them all in."""
    if not row["partitioned"]:
        return f"CREATE INDEX CONCURRENTLY ON {row['table_name']} ({columns});"
    each = [f"CREATE INDEX CONCURRENTLY ON {name} ({columns});" for name in row["partitions"] or ()]
    return "\n".join([*each, f"CREATE INDEX ON {row['table_name']} ({columns});"])


def _add_primary_key(row: Row, index: str | None, columns: str | None) -> str | None:
    alter = f"ALTER TABLE {row['table_name']} ADD"
    if index is not None:
        return f"{alter} PRIMARY KEY USING INDEX {index};"
    if columns is not None:
        return f"{alter} PRIMARY KEY ({columns});"
    if row["partitioned"]:  # the key must hold the columns that it is partitioned by
        return None
    if row["has_id"]:
        return f"{alter} PRIMARY KEY (id);"
    return f"{alter} COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;"


CHECKS = (
    Check("missing_foreign_key_index", _FOREIGN_KEYS, missing_foreign_key_indexes),
    Check("missing_primary_key", _PRIMARY_KEYS, missing_primary_keys),
)
