"""The plans of slow statements: plain EXPLAIN, which runs nothing, on a connection of its own, in the background."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from contextvars import Context
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from creatormate_resilience.db._execution import SOURCE, Execution
from creatormate_resilience.db._fingerprint import Syntax, mask_literals, syntax_of
from creatormate_resilience.db._slow_queries import Nulls, QueryExplained, RateLimit
from creatormate_resilience.events import Listener, notify
from creatormate_resilience.exceptions import ResilienceError
from creatormate_resilience.log import get_logger
from creatormate_resilience.time_limit import time_limit

__all__ = ("Explainer",)

_TIMEOUT = 5.0
_INTERVAL = 60.0
"""Seconds between two plans of one statement."""
_log = get_logger("db")


class Explainer:
    """Asks for one plan at a time; what comes meanwhile is left out.

    Args:
        engine: Without a pool, for one connection each time.
        listeners: Who is told.
        options: Execution options for reading.
    """

    def __init__(self, engine: AsyncEngine, listeners: Sequence[Listener], options: Mapping[str, Any]) -> None:
        self._engine, self._listeners, self._options = engine, listeners, options
        self._limit = RateLimit(_INTERVAL)
        self._task: asyncio.Task[None] | None = None

    def submit(self, run: Execution, fingerprint: str, parameters: Nulls) -> None:
        """Explain this statement in the background, if it is a single SELECT and its turn."""
        if (self._task is not None and not self._task.done()) or not _is_select(fingerprint):
            return
        if self._limit.suppressed(fingerprint, run.ended) is None:
            return
        explaining = self._explain(run.statement, parameters, fingerprint)
        self._task = asyncio.get_running_loop().create_task(explaining, context=Context())

    async def aclose(self) -> None:
        """End what is under way."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def _explain(self, statement: str, parameters: Nulls, fingerprint: str) -> None:
        try:
            async with time_limit(_TIMEOUT, what="EXPLAIN"), self._engine.connect() as plain:
                connection = await plain.execution_options(**self._options)
                lines = await _plan(connection, statement, parameters)
        except (SQLAlchemyError, ResilienceError, OSError) as error:
            # Its text holds the statement.
            _log.debug("a slow statement could not be explained", fingerprint=fingerprint, error=type(error).__name__)
            return
        plan = "\n".join(_without_literals(line, syntax_of(self._engine.dialect.name)) for line in lines)
        notify(self._listeners, QueryExplained(SOURCE, fingerprint, plan))


async def _plan(connection: AsyncConnection, statement: str, parameters: Nulls) -> list[str]:
    """The plan for any parameters: theirs are not kept."""
    if connection.dialect.name == "sqlite":
        rows: Any = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [str(row[3]) for row in rows]
    name = f"creatormate_resilience_{secrets.token_hex(4)}"  # a pooler may give this session to somebody else later
    await connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
    await connection.exec_driver_sql(f"PREPARE {name} AS {statement}")
    arguments = f"({', '.join(['NULL'] * len(parameters))})" if parameters else ""
    rows = await connection.exec_driver_sql(f"EXPLAIN EXECUTE {name}{arguments}")
    lines = [str(row[0]) for row in rows]
    await connection.exec_driver_sql(f"DEALLOCATE {name}")
    return lines


def _is_select(fingerprint: str) -> bool:
    """Whether it is one SELECT, whole."""
    whole = fingerprint.rstrip("; ")
    return whole[:7].upper() == "SELECT " and ";" not in whole and not whole.endswith("…")


def _without_literals(line: str, syntax: Syntax) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    node, costs, numbers = line.strip().partition("  (cost=")  # these numbers are the planner's own
    return f"{indent}{mask_literals(node, syntax)}{costs}{numbers}"
