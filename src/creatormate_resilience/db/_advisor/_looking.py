"""Looking at a database through a connection: the checks one by one, each in a savepoint of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from creatormate_resilience.db._advisor import _sqlite
from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._config import AdvisorConfig
from creatormate_resilience.db._advisor._finding import Finding, Note
from creatormate_resilience.db._advisor._postgresql import _catalog
from creatormate_resilience.db._advisor._postgresql._what_if import FORGET_TRIALS, trials, what_if
from creatormate_resilience.db._advisor._report import Report
from creatormate_resilience.db._execution import OWN
from creatormate_resilience.db._sqlstate import sqlstate_of
from creatormate_resilience.log import get_logger

__all__ = ("look", "only_looking")

_log = get_logger("db")
_REASONS = MappingProxyType(
    {
        "42501": "this role lacks the permission",
        "55P03": "something was locked for longer than lock_timeout",
        "57014": "it took longer than statement_timeout",
        "55000": "the extension is installed, but not loaded (shared_preload_libraries)",
        "42703": "the extension is of an older version (ALTER EXTENSION ... UPDATE)",
    }
)
# The options are each dialect's own; one that does not know an option passes it by.
_READ_ONLY = MappingProxyType({"sqlite_begin": "DEFERRED"})
_READ_ONLY_POSTGRESQL = MappingProxyType({"isolation_level": "READ COMMITTED", "postgresql_readonly": True})


@asynccontextmanager
async def only_looking(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """A connection in a transaction that may not write, rolled back at the end."""
    options = _READ_ONLY_POSTGRESQL if engine.dialect.name == "postgresql" else _READ_ONLY
    async with engine.connect() as connection:
        reading = await connection.execution_options(**options)
        async with reading.begin() as transaction:
            yield reading
            await transaction.rollback()


async def look(connection: AsyncConnection, config: AdvisorConfig, *, own: bool) -> Report:
    """Run all checks.

    Args:
        connection: From `only_looking`.
        config: Limits and thresholds.
        own: Whether the connection is the advisor's own, so that its settings say nothing of the application's.
    """
    if connection.dialect.name == "sqlite":
        return await _look_at_sqlite(connection, config, own)
    return await _look_at_postgresql(connection, config)


async def _look_at_sqlite(connection: AsyncConnection, config: AdvisorConfig, own: bool) -> Report:
    version = (
        await connection.execute(text("SELECT sqlite_version() FROM (SELECT count(*) FROM sqlite_master)"))
    ).scalar()
    context = Context(config=config)
    results: list[Finding | Note] = []
    for check in _sqlite.CHECKS if own else (*_sqlite.CHECKS, _sqlite.FOREIGN_KEYS_ENFORCED):
        results += await _run(connection, check, context)
    try:
        results += await _sqlite.never_analyzed(connection, context)
    except DBAPIError as exc:
        results.append(_failed("never_analyzed", exc))
    if own:
        results.append(Note("foreign_keys", "each connection sets this for itself; pass the application's engine"))
    return Report.of(f"SQLite {version}", results, config.max_findings)


async def _look_at_postgresql(connection: AsyncConnection, config: AdvisorConfig) -> Report:
    await connection.execute(text(_catalog.LIMITS), _catalog.limits(config))
    facts = cast("Row", (await connection.execute(text(_catalog.FACTS))).mappings().one())
    context = _catalog.context_of(facts, config)
    results: list[Finding | Note] = list(_catalog.notes_of(facts, config))
    for check in _catalog.CHECKS:
        results += await _run(connection, check, context)
    results += await _try_indexes(connection, context, results)
    return Report.of(f"PostgreSQL {facts['shown_version'].split()[0]}", results, config.max_findings)


async def _run(connection: AsyncConnection, check: Check, context: Context) -> list[Finding | Note]:
    schema = context.extensions.get(check.extension or "")
    if check.extension is not None and schema is None:
        return [Note(check.name, f"the extension {check.extension} is not installed")]
    sql = check.sql.replace("{extension}", (schema or "").replace(":", r"\:"))
    statement = text(f"{sql}\n{OWN}")
    parameters = {name: value for name, value in _parameters(context).items() if f":{name}" in check.sql}
    try:
        async with _savepoint(connection):
            rows = cast("Rows", (await connection.execute(statement, parameters)).mappings().all())
    except DBAPIError as exc:
        return [_failed(check.name, exc)]
    return list(check.judge(rows, context))


def _parameters(context: Context) -> Mapping[str, Any]:
    config = context.config
    schemas = None if config.schemas is None else list(config.schemas)
    return {"schemas": schemas, "min_bytes": config.min_bloat_bytes, "top": config.top_statements}


def _failed(check: str, exc: DBAPIError) -> Note:
    """What to say of a check that could not be done. Where the connection is lost there is no report."""
    if exc.connection_invalidated:
        raise exc
    code = sqlstate_of(exc)
    _log.debug("a check of the advisor failed", check=check, code=code, exc_info=exc)
    return Note(check, _REASONS.get(code or "", f"the server refused ({code})"))


@asynccontextmanager
async def _savepoint(connection: AsyncConnection) -> AsyncGenerator[None]:
    """Rolled back in any case, so that its locks go and a failure of one check is not the end of the others."""
    if connection.dialect.name == "sqlite":  # an error there does not end the transaction
        yield
        return
    async with connection.begin_nested() as savepoint:
        yield
        await savepoint.rollback()


async def _try_indexes(
    connection: AsyncConnection, context: Context, results: list[Finding | Note]
) -> list[Finding | Note]:
    """Let hypopg show what missing indexes would change."""
    schema = context.extensions.get("hypopg")
    if schema is None:
        return [Note("suggested_index", "the extension hypopg is not installed")]
    tried: list[Finding | Note] = []
    missing = trials(one for one in results if isinstance(one, Finding))
    for finding in missing:
        try:
            async with _savepoint(connection):
                tried += [each async for each in what_if(connection, schema, finding)]
        except DBAPIError as exc:
            tried.append(_failed("suggested_index", exc))
    if missing:  # hypothetical indexes belong to the session, which the pool may hand to others
        tried += await _run(connection, FORGET_TRIALS, context)
    return tried
