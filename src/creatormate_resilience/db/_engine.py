"""Making the SQLAlchemy engine."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from creatormate_resilience.clock import Clock
from creatormate_resilience.db import _errors, _postgresql, _sqlite
from creatormate_resilience.db._config import DatabaseConfig
from creatormate_resilience.db._holders import Holder, Holders
from creatormate_resilience.db._pool import FairPool, PoolCounters
from creatormate_resilience.db._url import is_in_memory

__all__ = ("make_engine", "make_spare_engine")

_JITTER = 0.1


def make_engine(
    url: URL,
    config: DatabaseConfig,
    clock: Clock,
    tell: Callable[[Holder], object],
    *,
    reads_only: bool = False,
) -> AsyncEngine:
    """An engine with a pool; it connects when first used.

    Args:
        url: Where to; from `parse_url`.
        config: Pool and timeouts.
        clock: Measures how long connections are idle, in use and waited for.
        tell: Is told who has held a connection for longer than `leak_threshold`.
        reads_only: Whether each of its connections refuses to write. PostgreSQL only.

    Returns:
        The engine. SQLAlchemy's own ping stays off: it is unbounded, and ours replaces it.
    """
    alone = url.get_backend_name() == "sqlite" and is_in_memory(url)
    counters = PoolCounters()
    engine = _create(
        url,
        config,
        poolclass=FairPool,
        max_waiting=config.max_waiting,
        holders=Holders(clock, config.leak_threshold, tell),
        counters=counters,
        clock=clock,
        pool_size=1 if alone else config.pool_size,
        max_overflow=0 if alone else config.max_overflow,
        pool_timeout=config.pool_timeout,
        pool_recycle=-1 if alone else config.pool_recycle,  # the data would go with the connection
    )
    event.listen(engine.sync_engine.pool, "connect", partial(_opened, counters, config.pool_recycle))
    event.listen(engine.sync_engine.pool, "close", partial(_closed, counters))
    if url.get_backend_name() == "postgresql":
        _postgresql.install(engine, config, clock, reads_only=reads_only)
    return engine


def _opened(counters: PoolCounters, recycle: float, _dbapi_connection: Any, record: Any) -> None:
    counters.created += 1
    # As if it were a little older, so that connections opened together are not replaced together.
    record.starttime -= max(0.0, recycle) * _JITTER * random.random()  # noqa: S311 - guards nothing


def _closed(counters: PoolCounters, _dbapi_connection: Any, _record: Any) -> None:
    counters.closed += 1


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
