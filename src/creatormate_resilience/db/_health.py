"""Is the database well? Saturated is not dead: where the pool is exhausted, a connection outside of it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from creatormate_resilience.clock import Clock
from creatormate_resilience.db._errors import database_errors
from creatormate_resilience.db._execution import OWN
from creatormate_resilience.db._pool import read_pool
from creatormate_resilience.db._statistics import DatabaseHealth, DatabaseState, ReplicaHealth, ReplicaState
from creatormate_resilience.exceptions import ResilienceError
from creatormate_resilience.redaction import redact_text
from creatormate_resilience.time_limit import time_limit

__all__ = ("HealthProbe", "with_replicas")


@dataclass(frozen=True, slots=True)
class HealthProbe:
    """Looks at a database.

    Attributes:
        engine: The engine with the pool.
        spare: An engine without a pool; None where the engine is not ours.
        options: Execution options for reading.
        clock: Measures the latency.
    """

    engine: AsyncEngine
    spare: AsyncEngine | None
    options: Mapping[str, Any]
    clock: Clock

    async def look(self, timeout: float) -> DatabaseHealth:
        """Run `SELECT 1`, or say why that failed; never raises for the database's sake.

        Args:
            timeout: Longest time to take, in seconds.

        Returns:
            What was seen.
        """
        pool = read_pool(self.engine.pool)
        saturated = pool is not None and pool.saturated
        target = self.spare if saturated else self.engine
        detail = "all connections of the pool are in use" if saturated else None
        if target is None:
            return DatabaseHealth(DatabaseState.SATURATED, None, detail, pool)
        started = self.clock.monotonic()
        try:
            async with time_limit(timeout, what="the health check"):
                await self._select(target)
        except (ResilienceError, OSError) as error:
            return DatabaseHealth(DatabaseState.DOWN, None, redact_text(str(error), 300), pool)
        state = DatabaseState.SATURATED if saturated else DatabaseState.UP
        return DatabaseHealth(state, self.clock.monotonic() - started, detail, pool)

    async def _select(self, engine: AsyncEngine) -> None:
        with database_errors(engine.pool):
            async with engine.connect() as plain:
                connection = await plain.execution_options(**self.options)
                await connection.exec_driver_sql(f"SELECT 1 {OWN}")


def with_replicas(found: DatabaseHealth, replicas: Sequence[ReplicaHealth]) -> DatabaseHealth:
    """What was seen of the primary, and of its replicas: one that does not serve is no reason to call it down."""
    out = [f"{each.name} is {each.state}" for each in replicas if each.state is not ReplicaState.SERVING]
    state = DatabaseState.DEGRADED if out and found.state is DatabaseState.UP else found.state
    details = [found.detail, f"not every replica serves: {', '.join(out)}" if out else None]
    detail = "; ".join(filter(None, details)) or None
    return replace(found, state=state, detail=detail, replicas=tuple(replicas))
