"""How pool and database are, as frozen snapshots."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from creatormate_resilience.latencies import LatencyQuantiles

__all__ = ("DatabaseHealth", "DatabaseState", "PoolStatistics", "ReplicaHealth", "ReplicaState")


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Connections of a pool at one moment.

    Attributes:
        size: Connections that the pool keeps.
        max_overflow: Connections that it may open beyond; -1 for no limit.
        in_use: Connections handed out.
        idle: Connections open and free.
        overflow: Connections open beyond `size`.
        waiting: Tasks that wait for one. This and the next are counted by our own pool only.
        timeouts: Tasks that waited in vain, since the start; so are the next two.
        created: Connections opened.
        closed: Connections closed.
        wait_time: How long tasks waited for a connection; None before the first.
        use_time: How long connections were in use; None before the first.
    """

    size: int
    max_overflow: int
    in_use: int
    idle: int
    overflow: int
    waiting: int = 0
    timeouts: int = 0
    created: int = 0
    closed: int = 0
    wait_time: LatencyQuantiles | None = None
    use_time: LatencyQuantiles | None = None

    @property
    def saturated(self) -> bool:
        """Whether the next caller would have to wait."""
        return self.max_overflow >= 0 and self.in_use >= self.size + self.max_overflow

    def as_metrics(self) -> dict[str, float]:
        """The numbers under the names that OpenTelemetry gives them (semantic conventions for database clients).

        Returns:
            Name to number; a state stands in brackets, a quantile of seconds as its suffix.
        """
        metrics: dict[str, float] = {
            "db.client.connection.count[used]": self.in_use,
            "db.client.connection.count[idle]": self.idle,
            "db.client.connection.idle.max": self.size,
            "db.client.connection.max": self.size + max(0, self.max_overflow),
            "db.client.connection.pending_requests": self.waiting,
            "db.client.connection.timeouts": self.timeouts,
        }
        for name, seen in (("wait_time", self.wait_time), ("use_time", self.use_time)):
            if seen is not None:
                quantiles = {"p50": seen.p50, "p95": seen.p95, "p99": seen.p99, "max": seen.longest}
                metrics |= {f"db.client.connection.{name}.{which}": value for which, value in quantiles.items()}
        return metrics


class DatabaseState(enum.StrEnum):
    """How the database is."""

    UP = "up"
    DEGRADED = "degraded"
    """The primary is up, but not every replica serves: reads go to the others, or to the primary."""
    SATURATED = "saturated"
    """It may well be alive, but all connections of the pool are in use."""
    DOWN = "down"
    """The primary does not answer. Replicas that serve are still read from."""


class ReplicaState(enum.StrEnum):
    """How a replica is. Reads go to one that serves."""

    UNKNOWN = "unknown"
    """Nobody has looked yet."""
    SERVING = "serving"
    LAGGING = "lagging"
    """It is further behind than `max_replica_lag`."""
    PROMOTED = "promoted"
    """It follows no primary: it has become one, or was none."""
    AWAY = "away"
    """It cannot be reached, refuses, or does not answer in time."""


@dataclass(frozen=True, slots=True)
class ReplicaHealth:
    """A replica at one moment.

    Attributes:
        name: Host, port and database.
        state: Whether it serves, and if not, why.
        lag: How far it is behind, in seconds; None where that is not known.
        detail: For operators, without secrets; None where all is well.
        pool: The numbers of its pool; None for an engine without a counting pool.
    """

    name: str
    state: ReplicaState
    lag: float | None
    detail: str | None
    pool: PoolStatistics | None


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """What a look at the database showed.

    Attributes:
        state: Up, degraded, saturated or down.
        latency: Seconds that the look at the primary took; None where it failed or there was none.
        detail: For operators, without secrets; None where all is well.
        pool: The numbers of the primary's pool; None for an engine without a counting pool.
        replicas: The replicas, in the order in which they were given.
    """

    state: DatabaseState
    latency: float | None
    detail: str | None
    pool: PoolStatistics | None
    replicas: tuple[ReplicaHealth, ...] = ()
