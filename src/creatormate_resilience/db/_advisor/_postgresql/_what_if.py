"""What an index would change, asked of the planner: hypopg shows it an index that does not exist."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from creatormate_resilience.db._advisor._check import Check
from creatormate_resilience.db._advisor._finding import Finding, FindingKind, shown_bytes
from creatormate_resilience.exceptions import Severity

__all__ = ("FORGET_TRIALS", "suggested_index", "trials", "what_if")

_MOST_TRIALS = 20
"""Each takes a few statements."""

FORGET_TRIALS = Check("suggested_index", "SELECT {extension}.hypopg_reset()", lambda _rows, _context: (), "hypopg")


def trials(findings: Iterable[Finding]) -> list[Finding]:
    """The missing indexes worth a trial; hypopg knows none on partitioned tables."""
    missing = [one for one in findings if one.kind is FindingKind.MISSING_FOREIGN_KEY_INDEX and one.fix]
    plain = (one for one in missing if "CONCURRENTLY" in str(one.fix) and "\n" not in str(one.fix))
    return sorted(plain, key=lambda one: -one.severity)[:_MOST_TRIALS]


async def what_if(connection: AsyncConnection, schema: str, finding: Finding) -> AsyncIterator[Finding]:
    """Compare the planner's cost of finding the rows of one foreign key, without and with an index.

    The hypothetical index lives in this session only, and is gone afterwards. Runs inside a savepoint of the caller.

    Args:
        connection: In a transaction.
        schema: That of hypopg, quoted.
        finding: A missing index on a foreign key.

    Yields:
        A suggestion, where the planner would use the index.
    """
    table, columns = str(finding.measured["table"]), _texts(finding.measured["columns"])
    # The subquery stands for a value that the planner does not know.
    wanted = " AND ".join(f"{each} = (SELECT x.{each} FROM {table} x WHERE false)" for each in columns)  # noqa: S608 - quoted by the server
    question = f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {table} WHERE {wanted}"  # noqa: S608 - quoted by the server
    function = schema.replace(":", r"\:")
    create = text(f"SELECT {function}.hypopg_relation_size(indexrelid) FROM {function}.hypopg_create_index(:sql)")  # noqa: S608
    before = await _cost(connection, question)
    made = await connection.execute(create, {"sql": f"CREATE INDEX ON {table} ({', '.join(columns)})"})
    size = int(made.scalar_one())
    after = await _cost(connection, question)
    if suggestion := suggested_index(finding, before, after, size):
        yield suggestion


def suggested_index(finding: Finding, before: float, after: float, size: int) -> Finding | None:
    """What the two costs say.

    Args:
        finding: The missing index.
        before: The planner's cost without it.
        after: The planner's cost with it.
        size: Its estimated size in bytes.

    Returns:
        A suggestion, or None where the planner would not gain half.
    """
    if after > before / 2:
        return None
    return Finding(
        kind=FindingKind.SUGGESTED_INDEX,
        severity=Severity.INFO,
        subject=finding.subject,
        reason=f"with an index of about {shown_bytes(size)} the planner finds its rows for {after:,.1f} instead of"
        f" {before:,.1f} (cost units, hypopg)",
        measured={"cost_before": before, "cost_after": after, "size": size, "estimate": True},
        fix=finding.fix,
    )


async def _cost(connection: AsyncConnection, question: str) -> float:
    # Not as text(): a quoted name may hold a colon.
    answer: Any = (await connection.exec_driver_sql(question)).scalar_one()
    return float(answer[0]["Plan"]["Total Cost"])


def _texts(value: object) -> Sequence[str]:
    return [str(each) for each in value] if isinstance(value, tuple) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
