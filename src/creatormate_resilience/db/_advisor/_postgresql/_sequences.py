"""Sequences near their end."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._finding import Finding, FindingKind, Note
from creatormate_resilience.exceptions import Severity

__all__ = ("CHECKS", "sequence_exhaustion")

# A column is a sequence's when it owns it (serial, identity) or when its default reads it; those of partitions and
# children are their parent's. Reading the last value waits for whoever alters the sequence.
_SEQUENCES = """
WITH locked AS (
    SELECT relation FROM pg_locks
    WHERE locktype = 'relation'
      AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
), users(sequence, relation, number) AS (
    SELECT objid, refobjid, refobjsubid FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i')
      AND refobjsubid > 0
    UNION
    SELECT d.refobjid, ad.adrelid, ad.adnum
    FROM pg_depend d JOIN pg_attrdef ad ON ad.oid = d.objid
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
)
SELECT format('%I.%I', n.nspname, c.relname) AS sequence_name, s.seqmin AS least, s.seqmax AS most,
       s.seqincrement AS step, s.seqcycle AS cycles, format_type(s.seqtypid, NULL) AS sequence_type,
       has_sequence_privilege(c.oid, 'USAGE,SELECT') AS readable,
       CASE WHEN has_sequence_privilege(c.oid, 'USAGE,SELECT') AND c.oid NOT IN (SELECT relation FROM locked)
                  AND (c.relpersistence = 'p' OR NOT pg_is_in_recovery())
            THEN pg_sequence_last_value(c.oid) END AS last_value,
       CASE WHEN t.oid IS NOT NULL THEN format('%I.%I', tn.nspname, t.relname) END AS table_name,
       quote_ident(a.attname) AS column_name,
       format_type(CASE ty.typtype WHEN 'd' THEN ty.typbasetype ELSE ty.oid END, NULL) AS column_type,
       CASE WHEN ty.typtype = 'd' THEN 'is of a domain'
            WHEN a.attinhcount > 0 THEN 'is inherited'
            WHEN EXISTS (SELECT FROM pg_partitioned_table p WHERE p.partrelid = t.oid AND a.attnum = ANY (p.partattrs))
            THEN 'is part of the partition key' END AS fixed_because,
       coalesce((t.oid, a.attnum) IN (SELECT confrelid, unnest(confkey) FROM pg_constraint WHERE contype = 'f'), false)
           AS is_referenced
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (users u JOIN pg_class t ON t.oid = u.relation JOIN pg_namespace tn ON tn.oid = t.relnamespace
           JOIN pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.number
           JOIN pg_type ty ON ty.oid = a.atttypid)
    ON u.sequence = c.oid AND (a.attinhcount = 0 OR NOT EXISTS (
        SELECT FROM pg_inherits h JOIN users up ON up.relation = h.inhparent AND up.sequence = u.sequence
        JOIN pg_attribute ua ON ua.attrelid = up.relation AND ua.attnum = up.number AND ua.attname = a.attname
        WHERE h.inhrelid = u.relation))
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (CAST(:schemas AS text[]) IS NULL OR n.nspname = ANY (CAST(:schemas AS text[])))
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY sequence_name, table_name, column_name
"""

_LIMITS = MappingProxyType({"smallint": 2**15, "integer": 2**31, "bigint": 2**63})


def sequence_exhaustion(rows: Rows, context: Context) -> Iterator[Finding | Note]:
    """Sequences of which most values are used up, by their own limit or by that of the column they fill."""
    if unread := len({row["sequence_name"] for row in rows if not row["readable"]}):
        yield Note("sequence_exhaustion", f"{unread} sequences may not be read by this role (GRANT SELECT)")
    for row in rows:
        limit, used = _used(row)
        if used < context.config.sequence_warning:
            continue
        critical = used >= context.config.sequence_critical
        short = _is_column_short(row, context)
        yield Finding(
            kind=FindingKind.SEQUENCE_EXHAUSTION,
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            subject=row["sequence_name"],
            reason=_reason(row, used, short=short),
            measured={"last_value": row["last_value"], "limit": limit, "used": round(used, 4)},
            fix=_widen(row, short=short),
        )


def _reason(row: Row, used: float, *, short: bool) -> str:
    filling = f" ({row['column_name']} of {row['table_name']}, {row['column_type']})" if row["column_name"] else ""
    reason = f"{used:.1%} of its values are used up{filling}: at the end every INSERT fails"
    if not short:
        return reason
    if row["fixed_because"]:
        return f"{reason}. The column {row['fixed_because']}, and cannot simply be widened"
    referring = ", and the columns that refer to it want widening too" if row["is_referenced"] else ""
    return f"{reason}. Widening a column rewrites its table under an exclusive lock{referring}"


def _used(row: Row) -> tuple[int, float]:
    """The last possible value, and which share of the way there is behind us."""
    own, column = _limits(row)
    limit = min(own, column) if row["step"] > 0 else max(own, column)
    if row["cycles"] and limit == own:
        return limit, 0.0
    return limit, _share(row, limit)


def _limits(row: Row) -> tuple[int, int]:
    """The last value of the sequence, and of the column."""
    size = _LIMITS.get(row["column_type"], 2**63)
    return (row["most"], size - 1) if row["step"] > 0 else (row["least"], -size)


def _share(row: Row, limit: int) -> float:
    last, first = row["last_value"], row["least"] if row["step"] > 0 else row["most"]
    if last is None:
        return 0.0
    return 1.0 if limit == first else min(1.0, (last - first) / (limit - first))


def _is_column_short(row: Row, context: Context) -> bool:
    """Whether more room for the sequence alone would not do."""
    narrow = row["column_type"] in {"smallint", "integer"}
    return narrow and _share(row, _limits(row)[1]) >= context.config.sequence_warning


def _widen(row: Row, *, short: bool) -> str | None:
    if short and row["fixed_because"]:
        return None
    fix: list[str] = []
    if short:
        fix.append(f"ALTER TABLE {row['table_name']} ALTER COLUMN {row['column_name']} TYPE bigint;")
    end = row["most"] if row["step"] > 0 else row["least"]
    if row["sequence_type"] != "bigint" or end not in {2**63 - 1, -(2**63)}:
        bound = "NO MAXVALUE" if row["step"] > 0 else "NO MINVALUE"
        fix.append(f"ALTER SEQUENCE {row['sequence_name']} AS bigint {bound};")
    return "\n".join(fix) or None


CHECKS = (Check("sequence_exhaustion", _SEQUENCES, sequence_exhaustion),)
