"""How pool and database are, as frozen snapshots."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ("DatabaseHealth", "DatabaseState", "PoolStatistics")


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Connections of a pool at one moment.

    Attributes:
        size: Connections that the pool keeps.
        max_overflow: Connections that it may open beyond; -1 for no limit.
        in_use: Connections handed out.
        idle: Connections open and free.
        overflow: Connections open beyond `size`.
    """

    size: int
    max_overflow: int
    in_use: int
    idle: int
    overflow: int

    @property
    def saturated(self) -> bool:
        """Whether the next caller would have to wait."""
        return self.max_overflow >= 0 and self.in_use >= self.size + self.max_overflow


class DatabaseState(enum.StrEnum):
    """How the database is."""

    UP = "up"
    SATURATED = "saturated"
    """It may well be alive, but all connections of the pool are in use."""
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """What a look at the database showed.

    Attributes:
        state: Up, saturated or down.
        latency: Seconds that the look took; None where it failed or there was none.
        detail: For operators, without secrets; None where all is well.
        pool: The pool's numbers; None for an engine without a counting pool.
    """

    state: DatabaseState
    latency: float | None
    detail: str | None
    pool: PoolStatistics | None
