"""PostgreSQL: bounded connections and statements, and a pool that hands out only connections that work."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from creatormate_resilience.clock import Clock
from creatormate_resilience.db._config import DatabaseConfig
from creatormate_resilience.exceptions import DatabaseUnavailableError

__all__ = ("install", "postgresql_connect_args", "read_only_connections")

_RECENTLY = 1.0
"""A connection used less than this many seconds ago is not pinged."""
_PING_TIMEOUT = 1.0

_read_only: ContextVar[bool] = ContextVar("creatormate_resilience_read_only_connection", default=False)


@contextmanager
def read_only_connections() -> Generator[None]:
    """Connections taken from the pool in this block refuse to write, in autocommit too."""
    token = _read_only.set(True)
    try:
        yield
    finally:
        _read_only.reset(token)


def postgresql_connect_args(config: DatabaseConfig) -> dict[str, Any]:
    """Arguments for asyncpg."""
    settings = {
        "statement_timeout": config.command_timeout,
        "idle_in_transaction_session_timeout": config.idle_in_transaction_timeout,
        "client_connection_check_interval": config.client_check_interval,
    }
    given = dict(config.connect_args)
    if config.pgbouncer:  # it refuses settings at the start, and hands each transaction to another connection
        own = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        return {"timeout": config.connect_timeout, "command_timeout": config.command_timeout, **own, **given}
    server_settings = {name: str(round(seconds * 1000)) for name, seconds in settings.items() if seconds}
    server_settings.update(given.pop("server_settings", {}))
    return {
        "timeout": config.connect_timeout,
        # A second more than the server takes: where the server ends the statement the connection stays usable.
        "command_timeout": config.command_timeout + 1,
        "server_settings": server_settings,
        **given,
    }


def install(engine: AsyncEngine, config: DatabaseConfig, clock: Clock, *, reads_only: bool = False) -> None:
    """Make this engine's pool test what it hands out."""
    checkout = _Checkout(config.pool_pre_ping, clock, sets_read_only=not config.pgbouncer, reads_only=reads_only)
    pool = engine.sync_engine.pool
    event.listen(pool, "connect", checkout.connected)
    event.listen(pool, "checkin", checkout.returned)
    event.listen(pool, "checkout", checkout.taken)
    event.listen(pool, "close", checkout.closing)


@dataclass(slots=True)
class _Checkout:
    """What happens when a connection is made, taken, returned and closed."""

    pre_ping: bool
    clock: Clock
    sets_read_only: bool = True
    """Whether a connection may be given a setting of its own."""
    reads_only: bool = False
    """Whether all connections refuse to write, whoever takes them."""
    lost_at: float = float("-inf")
    """When a connection was last found dead. Older ones are closed without waiting for an answer."""

    def connected(self, _dbapi_connection: Any, record: ConnectionPoolEntry) -> None:
        now = self.clock.monotonic()
        record.info.update(fresh=True, connected_at=now, used_at=now, read_only=False)

    def returned(self, _dbapi_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = self.clock.monotonic()

    def taken(self, dbapi_connection: Any, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        fresh: bool = record.info.pop("fresh", False)
        try:
            dbapi_connection.run_async(partial(self._prepare, record))
        except Exception as exc:
            self.lost_at = self.clock.monotonic()
            record.info["dead"] = True
            if fresh:
                raise DatabaseUnavailableError("the new connection was lost before it could be used") from exc
            # SQLAlchemy connects anew, and drops all connections made before now when their turn comes.
            raise InvalidatePoolError from exc

    def closing(self, _dbapi_connection: Any, record: ConnectionPoolEntry) -> None:
        if record.info.get("dead") or record.info.get("connected_at", self.lost_at) < self.lost_at:
            driver: Any = record.driver_connection
            driver.terminate()  # its peer may be frozen, and would be waited for

    async def _prepare(self, record: ConnectionPoolEntry, driver: Any) -> None:
        if driver.is_closed():
            raise ConnectionError("the connection was closed while idle")
        if self.pre_ping and self.clock.monotonic() - record.info["used_at"] >= _RECENTLY:
            await driver.execute("SELECT 1", timeout=_PING_TIMEOUT)  # it takes no empty statement
        wanted = self.reads_only or _read_only.get()
        if self.sets_read_only and record.info["read_only"] is not wanted:
            mode = "on" if wanted else "off"
            await driver.execute(f"SET default_transaction_read_only = {mode}", timeout=_PING_TIMEOUT)
            record.info["read_only"] = wanted
