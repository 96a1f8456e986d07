"""SQLite with real transactions: BEGIN IMMEDIATE for writers, BEGIN DEFERRED for readers, in WAL mode.

Left alone, the driver opens no transaction before a SELECT, so that a read followed by a write loses updates; and a
deferred transaction that turns into a writer fails at once where another has written, whatever the busy timeout.
"""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from creatormate_resilience.db._config import DatabaseConfig
from creatormate_resilience.db._execution import OWN

__all__ = ("install", "optimize", "sqlite_connect_args")

_PRAGMAS = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA foreign_keys = ON")
_LOOK_EVERY = 100_000
"""Steps of SQLite's machine, some milliseconds, after which a statement notices that its task was cancelled."""


def sqlite_connect_args(config: DatabaseConfig) -> dict[str, Any]:
    """Arguments for the driver. `isolation_level=None` keeps it from opening transactions of its own."""
    return {"isolation_level": None, "timeout": config.busy_timeout, **config.connect_args}


def install(engine: AsyncEngine) -> None:
    """Make this engine set up its connections and begin its transactions as described above."""
    event.listen(engine.sync_engine, "connect", _set_up)
    event.listen(engine.sync_engine, "begin", _begin)
    event.listen(engine.sync_engine.pool, "close", _closing)


async def optimize(engine: AsyncEngine) -> None:
    """Let SQLite refresh its planner statistics where it thinks that worthwhile; for the end of a connection's life."""
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"PRAGMA optimize {OWN}")


def _set_up(dbapi_connection: Any, record: ConnectionPoolEntry) -> None:
    ended = record.info["ended"] = threading.Event()
    cursor = dbapi_connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()

    async def look_up(driver: Any) -> None:
        await driver.set_progress_handler(ended.is_set, _LOOK_EVERY)

    dbapi_connection.run_async(look_up)


def _closing(_dbapi_connection: Any, record: ConnectionPoolEntry) -> None:
    """End what the connection is doing, before SQLAlchemy closes it.

    SQLite lets a closed connection live on as long as a cursor is open, and the cursor of a cancelled task is: with it
    would live the transaction, and with that the lock that keeps all other writers out. (`interrupt` would not do: it
    holds for all statements until no cursor is open, so for the ROLLBACK too.)
    """
    driver: Any = record.driver_connection
    ended: threading.Event = record.info["ended"]

    def roll_back() -> None:
        ended.clear()
        if driver._connection is not None:
            driver._connection.rollback()

    ended.set()
    # Not `await driver.rollback()`: nobody may be left to wait, and the thread does one thing after the other.
    driver._tx.put_nowait((None, roll_back))


def _begin(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    if driver.in_transaction:  # a COMMIT that is refused leaves its transaction open, and SQLAlchemy takes it for ended
        connection.exec_driver_sql(f"ROLLBACK {OWN}")
    begin = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
    query_only = begin != "IMMEDIATE"
    if connection.info.get("query_only", False) is not query_only:
        connection.exec_driver_sql(f"PRAGMA query_only = {int(query_only)} {OWN}")
        connection.info["query_only"] = query_only
    if begin is not None:
        connection.exec_driver_sql(f"BEGIN {begin} {OWN}")
