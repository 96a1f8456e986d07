"""Reading SQLAlchemy's pool."""

from __future__ import annotations

from sqlalchemy.pool import Pool, QueuePool

from creatormate_resilience.db._statistics import PoolStatistics

__all__ = ("read_pool",)


def read_pool(pool: Pool) -> PoolStatistics | None:
    """The pool's numbers, or None for a kind of pool that has none (`NullPool`, `StaticPool`)."""
    if not isinstance(pool, QueuePool):
        return None
    return PoolStatistics(
        size=pool.size(),
        max_overflow=pool._max_overflow,  # pyright: ignore[reportPrivateUsage] - there is no other way to know
        in_use=pool.checkedout(),
        idle=pool.checkedin(),
        overflow=max(0, pool.overflow()),
    )
