"""Bloat, estimated: what a table or an index takes, against what its rows should take.

The rows' width comes from the planner's statistics, so nothing is read but catalogs. Widths are rounded up, so that the
estimate errs towards too little bloat.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._finding import Finding, FindingKind, Note, shown_bytes
from creatormate_resilience.db._advisor._postgresql._indexes import rebuild_index
from creatormate_resilience.db._advisor._postgresql._scope import LOCKED, TABLES, size_of
from creatormate_resilience.exceptions import Severity

__all__ = ("CHECKS", "expected_pages", "index_bloat", "table_bloat")

_PAGE_HEADER = 24
_ROW_HEADER = 23
_INDEX_HEADER = 8
_POINTER = 4  # to each row, at the beginning of a page
_BTREE_SPECIAL = 16  # at the end of each page of a btree

# Of one value: a fixed width is padded to its alignment; a short text takes one byte more, at most.
_WIDTH = """
    (1 - s.null_frac) * CASE WHEN a.attlen < 0 THEN s.avg_width + 1 ELSE
        ceil(s.avg_width / CASE a.attalign WHEN 'd' THEN 8.0 WHEN 'i' THEN 4.0 WHEN 's' THEN 2.0 ELSE 1.0 END)
        * CASE a.attalign WHEN 'd' THEN 8 WHEN 'i' THEN 4 WHEN 's' THEN 2 ELSE 1 END END"""

_TABLE_BLOAT = f"""
WITH {TABLES}, {LOCKED}
SELECT t.table_name, t.row_count, {size_of("t")} AS size, CAST(current_setting('block_size') AS int) AS block_size,
       coalesce((SELECT CAST(option_value AS int) FROM pg_options_to_table(t.reloptions)
                 WHERE option_name = 'fillfactor'), 100) AS fill_factor,
       w.columns, w.known, CAST(w.width AS float8) AS width, w.nulls
FROM tables t
JOIN LATERAL (
    SELECT count(*) AS columns, count(s.avg_width) AS known, sum({_WIDTH}) AS width,
           coalesce(bool_or(s.null_frac > 0), false) AS nulls
    FROM pg_attribute a
    LEFT JOIN pg_stats s ON s.schemaname = t.nspname AND s.tablename = t.relname AND s.attname = a.attname
                            AND NOT s.inherited
    WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
) w ON true
WHERE t.relkind IN ('r', 'm') AND t.row_count > 0 AND t.relpages > 1
  AND t.relpages * CAST(current_setting('block_size') AS bigint) >= CAST(:min_bytes AS bigint)
"""  # noqa: S608 - constants

_INDEX_BLOAT = f"""
WITH {TABLES}, {LOCKED}
SELECT t.table_name, format('%I.%I', n.nspname, x.relname) AS index_name, {size_of("x")} AS size,
       CAST(current_setting('block_size') AS int) AS block_size,
       CAST(CASE WHEN i.indpred IS NULL THEN greatest(x.reltuples, t.row_count) ELSE x.reltuples END AS bigint)
           AS row_count,
       coalesce((SELECT CAST(option_value AS int) FROM pg_options_to_table(x.reloptions)
                 WHERE option_name = 'fillfactor'), 90) AS fill_factor,
       i.indisexclusion AS is_exclusion, i.indnatts AS columns, w.known, CAST(w.width AS float8) AS width, w.nulls
FROM tables t
JOIN pg_index i ON i.indrelid = t.oid AND i.indisvalid AND i.indexprs IS NULL
JOIN pg_class x ON x.oid = i.indexrelid AND x.relkind = 'i'
JOIN pg_namespace n ON n.oid = x.relnamespace
JOIN pg_am am ON am.oid = x.relam AND am.amname = 'btree'
JOIN LATERAL (
    SELECT count(s.avg_width) AS known, sum({_WIDTH}) AS width, coalesce(bool_or(s.null_frac > 0), false) AS nulls
    FROM pg_attribute a
    LEFT JOIN pg_stats s ON s.schemaname = t.nspname AND s.tablename = t.relname AND s.attname = a.attname
                            AND NOT s.inherited
    WHERE a.attrelid = t.oid AND a.attnum = ANY (i.indkey)
) w ON true
WHERE x.reltuples > 0 AND x.relpages > 2
  AND x.relpages * CAST(current_setting('block_size') AS bigint) >= CAST(:min_bytes AS bigint)
"""  # noqa: S608 - constants


def table_bloat(rows: Rows, context: Context) -> Iterator[Finding | Note]:
    """Tables that take far more room than their rows."""
    yield from _unknown("table_bloat", rows)
    for row in rows:
        nulls = math.ceil(row["columns"] / 8) if row["nulls"] else 0
        wasted, share = _wasted(row, _aligned(_ROW_HEADER + nulls), 0)
        if not _is_bloat(row, wasted, share, context):
            continue
        yield Finding(
            kind=FindingKind.TABLE_BLOAT,
            severity=Severity.WARNING,
            subject=row["table_name"],
            reason=f"about {shown_bytes(wasted)} of {shown_bytes(row['size'])} hold no rows (an estimate). VACUUM FULL"
            " locks the table while it runs; pg_repack does the same beside the work",
            measured={"size": row["size"], "wasted": wasted, "share": round(share, 2), "estimate": True},
            fix=f"VACUUM (FULL, ANALYZE) {row['table_name']};",
        )


def index_bloat(rows: Rows, context: Context) -> Iterator[Finding | Note]:
    """Indexes that take far more room than their entries."""
    for row in rows:
        wasted, share = _wasted(row, _aligned(_INDEX_HEADER) if not row["nulls"] else 16, _BTREE_SPECIAL)
        if not _is_bloat(row, wasted, share, context):
            continue
        yield Finding(
            kind=FindingKind.INDEX_BLOAT,
            severity=Severity.WARNING,
            subject=row["index_name"],
            reason=f"about {shown_bytes(wasted)} of {shown_bytes(row['size'])} hold no entries (an estimate)",
            measured={"size": row["size"], "wasted": wasted, "share": round(share, 2), "estimate": True},
            fix=rebuild_index(row),
        )


def expected_pages(rows: int, row_bytes: int, page_bytes: int, fill_factor: int) -> int:
    """Pages that so many rows of one width fill.

    Args:
        rows: How many.
        row_bytes: Of each, with header and pointer.
        page_bytes: Of a page, without its header.
        fill_factor: How full pages are made, in percent.
    """
    fitting = max(1, page_bytes * fill_factor // (100 * row_bytes))
    return math.ceil(rows / fitting)


def _wasted(row: Row, header: int, special: int) -> tuple[int, float]:
    """Bytes beyond what is expected, and their share of the size."""
    block: int = row["block_size"]
    size: int = row["size"]
    row_bytes = header + _aligned(math.ceil(row["width"] or 0)) + _POINTER
    pages = expected_pages(row["row_count"], row_bytes, block - _PAGE_HEADER - special, row["fill_factor"])
    wasted = max(0, size - pages * block)
    return wasted, wasted / max(size, 1)


def _is_bloat(row: Row, wasted: int, share: float, context: Context) -> bool:
    config = context.config
    return row["known"] == row["columns"] and wasted >= max(config.min_bloat_bytes, 1) and share >= config.bloat_share


def _unknown(check: str, rows: Rows) -> Iterator[Note]:
    if unknown := sum(row["known"] < row["columns"] for row in rows):
        yield Note(check, f"{unknown} tables have no statistics that this role may read (ANALYZE, or GRANT SELECT)")


def _aligned(size: int) -> int:
    return math.ceil(size / 8) * 8


CHECKS = (Check("table_bloat", _TABLE_BLOAT, table_bloat), Check("index_bloat", _INDEX_BLOAT, index_bloat))
