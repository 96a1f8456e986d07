"""Common table expressions of several checks: which tables are looked at, and how large they are.

Nothing here opens a relation that somebody has locked: the advisor is most wanted while something is stuck.
"""

from __future__ import annotations

__all__ = ("LOCKED", "PARTITIONS", "TABLES", "size_of")

TABLES = """
tables AS (
    SELECT c.oid, c.relkind, c.relpages, c.reltuples, c.relispartition, c.reloptions, c.relnatts,
           n.nspname, c.relname, format('%I.%I', n.nspname, c.relname) AS table_name,
           CAST(greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0) AS bigint) AS row_count
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm')
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND (CAST(:schemas AS text[]) IS NULL OR n.nspname = ANY (CAST(:schemas AS text[])))
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
)"""
"""Tables of users, without temporary ones and those that belong to an extension. Rows are estimates."""

LOCKED = """
locked AS (
    SELECT relation FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)"""
"""Relations whose size cannot be asked for without waiting."""

PARTITIONS = """
tree(root, member) AS (
    SELECT oid, oid FROM pg_class WHERE relkind = 'p' AND NOT relispartition
    UNION ALL
    SELECT tree.root, i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.member
),
partitions AS (
    SELECT tree.root, array_agg(format('%I.%I', n.nspname, c.relname) ORDER BY n.nspname, c.relname) AS names,
           CAST(sum(greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)) AS bigint) AS row_count
    FROM tree JOIN pg_class c ON c.oid = tree.member JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r'
    GROUP BY tree.root
)"""
"""The partitions that hold rows, of each partitioned table. Wants WITH RECURSIVE."""


def size_of(alias: str) -> str:
    """SQL for the bytes of a relation's main fork, from the last count of pages where it is locked.

    Args:
        alias: Of `pg_class` or `tables`, beside `LOCKED`.
    """
    counted = f"{alias}.relpages * CAST(current_setting('block_size') AS bigint)"
    unlocked = f"{alias}.oid NOT IN (SELECT relation FROM locked)"  # noqa: S608 - constants
    return f"coalesce(CASE WHEN {unlocked} THEN pg_relation_size({alias}.oid) END, {counted})"
