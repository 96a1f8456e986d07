"""Making the SQLAlchemy engine."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from creatormate_resilience.clock import Clock
from creatormate_resilience.db import _errors, _postgresql, _sqlite
from creatormate_resilience.db._config import DatabaseConfig
from creatormate_resilience.db._url import is_in_memory

__all__ = ("make_engine", "make_spare_engine")


def make_engine(url: URL, config: DatabaseConfig, clock: Clock) -> AsyncEngine:
    """An engine with a pool; it connects when first used.

    Args:
        url: Where to; from `parse_url`.
        config: Pool and timeouts.
        clock: Measures how long a connection was idle.

    Returns:
        The engine. SQLAlchemy's own ping stays off: it is unbounded, and ours replaces it.
    """
    alone = url.get_backend_name() == "sqlite" and is_in_memory(url)
    engine = _create(
        url,
        config,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1 if alone else config.pool_size,
        max_overflow=0 if alone else config.max_overflow,
        pool_timeout=config.pool_timeout,
        pool_recycle=-1 if alone else config.pool_recycle,  # the data would go with the connection
    )
    if url.get_backend_name() == "postgresql":
        _postgresql.install(engine, config, clock)
    return engine


def make_spare_engine(url: URL, config: DatabaseConfig) -> AsyncEngine:
    """An engine without a pool, to look at the database while the pool is exhausted."""
    return _create(url, config, poolclass=NullPool)


def _create(url: URL, config: DatabaseConfig, **pool: Any) -> AsyncEngine:
    sqlite = url.get_backend_name() == "sqlite"
    connect_args = _sqlite.sqlite_connect_args(config) if sqlite else _postgresql.postgresql_connect_args(config)
    engine = create_async_engine(url, connect_args=connect_args, hide_parameters=True, **pool)
    _errors.install(engine)
    if sqlite:
        _sqlite.install(engine)
    return engine
