"""What is done to a pool as a whole: opening connections ahead, keeping idle ones alive, awaiting all back, closing."""

from __future__ import annotations

import asyncio

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import QueuePool

from creatormate_resilience.db._pool import FairPool
from creatormate_resilience.exceptions import ResilienceError
from creatormate_resilience.log import get_logger

__all__ = ("dispose", "drained", "keep_alive", "open_connections")

_LOOK = 0.01
_GOODBYE = 1.0
_log = get_logger("db")


async def open_connections(engine: AsyncEngine, connections: int) -> None:
    """Open so many connections at the same time, and leave them idle.

    Raises:
        Exception: What connecting raises; those that were opened stay open.
    """
    opened: list[AsyncConnection] = []

    async def take() -> None:
        opened.append(await engine.connect().start())

    in_use = engine.pool.checkedout() if isinstance(engine.pool, QueuePool) else 0
    try:
        outcomes = await asyncio.gather(*(take() for _ in range(connections - in_use)), return_exceptions=True)
    finally:
        for connection in opened:
            await connection.close()
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def keep_alive(engine: AsyncEngine, seconds: float) -> None:
    """Use each idle connection about this often, so that it is tested and nothing on the way forgets it."""
    while True:
        await asyncio.sleep(seconds)
        pool = engine.pool
        assert isinstance(pool, FairPool)  # noqa: S101 - only started for ours
        try:
            for _ in range(pool.checkedin()):  # the one idle longest comes first, and goes to the end
                if pool.queue.waiting:
                    break
                async with engine.connect() as connection:
                    await connection.rollback()
        except (ResilienceError, SQLAlchemyError, OSError) as error:
            _log.info("an idle connection could not be kept alive", error=type(error).__name__)


async def drained(pool: FairPool, longest: float) -> bool:
    """Wait until nobody has a connection, `longest` seconds at most; tells whether that is so."""
    until = pool.clock.monotonic() + longest
    while pool.checkedout() and pool.clock.monotonic() < until:  # noqa: ASYNC110 - the pool has no event for it
        await asyncio.sleep(_LOOK)
    if held := pool.checkedout():
        _log.warning("connections were in use when the database was closed", connections=held)
    return not held


async def dispose(engine: AsyncEngine) -> None:
    """Close the idle connections of an engine of ours; without waiting for a PostgreSQL that went silent.

    One after the other would be waited for, each for as long as a statement may take.
    """
    if engine.dialect.name != "postgresql":  # SQLite may have a log to fold into its file, which takes its time
        await engine.dispose()
        return
    try:
        async with asyncio.timeout(_GOODBYE):
            await engine.dispose()
    except TimeoutError:
        _log.info("connections were closed without a goodbye: the server does not answer")
        assert isinstance(engine.pool, FairPool)  # noqa: S101 - only called for ours
        for record in engine.pool.queue.items:
            record.info["dead"] = True
        await engine.dispose()
