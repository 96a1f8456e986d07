"""What goes on right now: long statements, idle transactions, who blocks whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._finding import Finding, FindingKind, Note, shown_seconds
from creatormate_resilience.db._advisor._statement import shown_statement
from creatormate_resilience.exceptions import Severity
from creatormate_resilience.redaction import redact_text

__all__ = ("CHECKS", "blocking_locks", "sessions")

_SESSIONS = """
SELECT pid, state, query, application_name,
       extract(epoch FROM clock_timestamp() - query_start)::float8 AS statement_age,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_age,
       extract(epoch FROM clock_timestamp() - state_change)::float8 AS state_age
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND (backend_type = 'client backend' OR backend_type IS NULL)
"""

# When a wait began is told by servers from 14 on; before, the statement's beginning has to do.
_LOCKS = """
WITH waiting AS (
    SELECT DISTINCT ON (l.pid) l.pid, l.locktype, l.mode, c.relname, n.nspname,
           CAST(to_jsonb(l) ->> 'waitstart' AS timestamptz) AS since
    FROM pg_locks l
    LEFT JOIN pg_class c ON c.oid = l.relation
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT l.granted
    ORDER BY l.pid, l.relation NULLS LAST
)
SELECT w.pid, b.pid AS blocker, w.locktype, w.mode,
       CASE WHEN w.relname IS NOT NULL THEN format('%I.%I', w.nspname, w.relname) END AS table_name,
       extract(epoch FROM clock_timestamp() - coalesce(w.since, a.query_start))::float8 AS waited,
       a.query AS statement, h.query AS blocker_statement, h.state AS blocker_state,
       extract(epoch FROM clock_timestamp() - h.xact_start)::float8 AS blocker_age
FROM waiting w
JOIN pg_stat_activity a ON a.pid = w.pid AND a.datname = current_database()
CROSS JOIN LATERAL (SELECT DISTINCT unnest(pg_blocking_pids(w.pid)) AS pid) b
LEFT JOIN pg_stat_activity h ON h.pid = b.pid
"""


def sessions(rows: Rows, context: Context) -> Iterator[Finding | Note]:
    """Statements that run for long, and transactions that do nothing while they hold locks and back up vacuum."""
    if not context.sees_all and any(row["state"] is None for row in rows):
        yield Note("sessions", "the sessions of other roles are hidden from this role (GRANT pg_read_all_stats)")
    for row in rows:
        idle = (row["state"] or "").startswith("idle in transaction")
        if idle and (row["state_age"] or 0) >= context.config.idle_in_transaction:
            yield _idle(row)
        elif row["state"] == "active" and (row["statement_age"] or 0) >= context.config.long_query:
            yield _long(row)


def blocking_locks(rows: Rows, context: Context) -> Iterator[Finding]:
    """Sessions that keep others waiting, each with those it blocks. One that itself waits is not the cause."""
    waiting = {row["pid"] for row in rows}
    held: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        held[row["blocker"]].append(row)
    for blocker, blocked in held.items():
        longest = max((row["waited"] or 0.0) for row in blocked)
        if blocker in waiting or longest < context.config.lock_wait:
            continue
        yield _blocking(blocker, blocked, longest, longest >= context.config.lock_wait_critical)


def _long(row: Row) -> Finding:
    return Finding(
        kind=FindingKind.LONG_RUNNING_QUERY,
        severity=Severity.WARNING,
        subject=_session(row),
        reason=f"has run for {shown_seconds(row['statement_age'])}: {shown_statement(row['query'])}",
        measured={"pid": row["pid"], "age": row["statement_age"], "transaction_age": row["transaction_age"]},
        fix=f"SELECT pg_cancel_backend({row['pid']});",
    )


def _idle(row: Row) -> Finding:
    return Finding(
        kind=FindingKind.IDLE_IN_TRANSACTION,
        severity=Severity.WARNING,
        subject=_session(row),
        reason=f"has left its transaction open and idle for {shown_seconds(row['state_age'])}; its locks stay, and"
        f" vacuum cannot pass it. Last: {shown_statement(row['query'])}",
        measured={"pid": row["pid"], "age": row["state_age"], "transaction_age": row["transaction_age"]},
        fix=f"SELECT pg_terminate_backend({row['pid']});",
    )


def _blocking(blocker: int, blocked: Sequence[Row], longest: float, critical: bool) -> Finding:
    pids = tuple(sorted({row["pid"] for row in blocked}))
    first = max(blocked, key=lambda row: row["waited"] or 0.0)
    what = first["table_name"] or f"a lock of type {first['locktype']}"
    if blocker:
        who, state = f"session {blocker}", first["blocker_state"] or "state unknown"
        stop = "terminate" if state.startswith("idle") else "cancel"
        fix = f"SELECT pg_{stop}_backend({blocker});"
    else:  # that is how the server reports it
        who, state, fix = "a prepared transaction", "prepared", None
    names = ", ".join(map(str, pids))
    return Finding(
        kind=FindingKind.BLOCKING_LOCK,
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        subject=who,
        reason=f"({state}) blocks {names}, for {shown_seconds(longest)} at the longest, on {what}."
        f" It runs: {shown_statement(first['blocker_statement'])} Waiting: {shown_statement(first['statement'])}",
        measured={
            "blocked": pids,
            "waited": longest,
            "blocker_age": first["blocker_age"],
            "mode": first["mode"],
            "locked": what,
        },
        fix=fix,
    )


def _session(row: Row) -> str:
    name = redact_text(row["application_name"] or "", 64)
    return f"session {row['pid']} ({name})" if name else f"session {row['pid']}"


CHECKS = (Check("sessions", _SESSIONS, sessions), Check("blocking_locks", _LOCKS, blocking_locks))
