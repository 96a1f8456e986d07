"""SQLite with real transactions: BEGIN IMMEDIATE for writers, BEGIN DEFERRED for readers, in WAL mode.

Left alone, the driver opens no transaction before a SELECT, so that a read followed by a write loses updates; and a
deferred transaction that turns into a writer fails at once where another has written, whatever the busy timeout.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from creatormate_resilience.db._config import DatabaseConfig

__all__ = ("install", "optimize", "sqlite_connect_args")

_PRAGMAS = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA foreign_keys = ON")


def sqlite_connect_args(config: DatabaseConfig) -> dict[str, Any]:
    """Arguments for the driver. `isolation_level=None` keeps it from opening transactions of its own."""
    return {"isolation_level": None, "timeout": config.busy_timeout, **config.connect_args}


def install(engine: AsyncEngine) -> None:
    """Make this engine set up its connections and begin its transactions as described above."""
    event.listen(engine.sync_engine, "connect", _set_up)
    event.listen(engine.sync_engine, "begin", _begin)


async def optimize(engine: AsyncEngine) -> None:
    """Let SQLite refresh its planner statistics where it thinks that worthwhile; for the end of a connection's life."""
    async with engine.begin() as connection:
        await connection.exec_driver_sql("PRAGMA optimize")


def _set_up(dbapi_connection: Any, _record: ConnectionPoolEntry) -> None:
    cursor = dbapi_connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin(connection: Connection) -> None:
    begin = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
    query_only = begin != "IMMEDIATE"
    if connection.info.get("query_only", False) is not query_only:
        connection.exec_driver_sql(f"PRAGMA query_only = {int(query_only)}")
        connection.info["query_only"] = query_only
    if begin is not None:
        connection.exec_driver_sql(f"BEGIN {begin}")
