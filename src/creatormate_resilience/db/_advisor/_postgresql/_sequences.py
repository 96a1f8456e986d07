"""Sequences near their end."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._finding import Finding, FindingKind, Note
from creatormate_resilience.exceptions import Severity

__all__ = ("CHECKS", "sequence_exhaustion")

# A column is a sequence's when it owns it (serial, identity) or when its default reads it. Reading the last value
# waits for whoever alters the sequence.
_SEQUENCES = """
WITH locked AS (
    SELECT relation FROM pg_locks
    WHERE locktype = 'relation'
      AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
), users(sequence, relation, number, is_identity) AS (
    SELECT objid, refobjid, refobjsubid, deptype = 'i' FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i')
      AND refobjsubid > 0
    UNION
    SELECT d.refobjid, ad.adrelid, ad.adnum, false
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
       format_type(a.atttypid, NULL) AS column_type, coalesce(u.is_identity, false) AS is_identity
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (users u JOIN pg_class t ON t.oid = u.relation JOIN pg_namespace tn ON tn.oid = t.relnamespace
           JOIN pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.number) ON u.sequence = c.oid
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
        filling = f" ({row['column_name']} of {row['table_name']}, {row['column_type']})" if row["column_name"] else ""
        yield Finding(
            kind=FindingKind.SEQUENCE_EXHAUSTION,
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            subject=row["sequence_name"],
            reason=f"{used:.1%} of its values are used up{filling}: at the end every INSERT fails. Widening a column"
            " rewrites its table under an exclusive lock",
            measured={"last_value": row["last_value"], "limit": limit, "used": round(used, 4)},
            fix=_widen(row),
        )


def _used(row: Row) -> tuple[int, float]:
    """The last possible value, and which share of the way there is behind us."""
    last = row["last_value"]
    size = _LIMITS.get(row["column_type"], 2**63)
    up = row["step"] > 0
    limit = min(row["most"], size - 1) if up else max(row["least"], -size)
    own_limit = row["most"] if up else row["least"]
    if last is None or (row["cycles"] and limit == own_limit):
        return limit, 0.0
    first = row["least"] if up else row["most"]
    return limit, 1.0 if limit == first else min(1.0, (last - first) / (limit - first))


def _widen(row: Row) -> str | None:
    fix: list[str] = []
    if row["column_type"] in {"smallint", "integer"}:
        fix.append(f"ALTER TABLE {row['table_name']} ALTER COLUMN {row['column_name']} TYPE bigint;")
    end = row["most"] if row["step"] > 0 else row["least"]
    if row["sequence_type"] != "bigint" or end not in {2**63 - 1, -(2**63)}:
        bound = "NO MAXVALUE" if row["step"] > 0 else "NO MINVALUE"
        fix.append(f"ALTER SEQUENCE {row['sequence_name']} AS bigint {bound};")
    return "\n".join(fix) or None


CHECKS = (Check("sequence_exhaustion", _SEQUENCES, sequence_exhaustion),)
