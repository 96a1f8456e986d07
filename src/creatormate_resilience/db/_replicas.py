"""A replica: a server to read from, and what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from creatormate_resilience.db._execution import SOURCE
from creatormate_resilience.db._holders import Holder
from creatormate_resilience.db._statistics import PoolStatistics, ReplicaHealth, ReplicaState
from creatormate_resilience.events import Event
from creatormate_resilience.log import get_logger

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from creatormate_resilience.db._server import Server

__all__ = ("Follower", "Replica", "ReplicaLeftOut", "ReplicaReturned")

_log = get_logger("db")


@dataclass(frozen=True, slots=True)
class ReplicaLeftOut(Event):
    """Reads do not go to a replica any more, until it is well again.

    Attributes:
        replica: Host, port and database.
        state: `away`, `lagging` or `promoted`.
        reason: For operators, without secrets.
    """

    replica: str
    state: ReplicaState
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaReturned(Event):
    """Reads go to a replica again.

    Attributes:
        replica: Host, port and database.
    """

    replica: str


class Replica:
    """A replica of a `Database`, from `Database.replicas`.

    Attributes:
        name: Host, port and database.
        state: Whether it serves, and if not, why.
        lag: How far it is behind, in seconds; None where that is not known.
        detail: Why it does not serve, for operators; None where it does.
    """

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.state = ReplicaState.UNKNOWN
        self.lag: float | None = None
        self.detail: str | None = None
        self._server = server

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine."""
        return self._server.engine

    @property
    def serving(self) -> bool:
        """Whether reads go there."""
        return self.state is ReplicaState.SERVING

    def pool_statistics(self) -> PoolStatistics:
        """As `Database.pool_statistics`, for this replica's pool."""
        return self._server.pool_statistics()

    def holders(self) -> tuple[Holder, ...]:
        """As `Database.holders`, for this replica's pool."""
        return self._server.holders()

    def health(self) -> ReplicaHealth:
        """What is known now; nobody is asked."""
        return ReplicaHealth(self.name, self.state, self.lag, self.detail, self._server.numbers())

    def __repr__(self) -> str:
        return f"<Replica {self.name} {self.state}>"


class Follower:
    """What the library does with a replica.

    Args:
        name: Host, port and database.
        server: The replica's server.
        tell: Is told when it is left out, and when it is read from again.

    Attributes:
        server: The replica's server.
        replica: What the application sees of it.
    """

    __slots__ = ("_opening", "_tell", "replica", "server")

    def __init__(self, name: str, server: Server, tell: Callable[[Event], object]) -> None:
        self.server = server
        self.replica = Replica(name, server)
        self._tell = tell
        self._opening: set[asyncio.Timeout] = set()

    async def open(self, stack: AsyncExitStack) -> AsyncConnection:
        """Take a connection; given up as soon as the replica is found to be away.

        Args:
            stack: Gives it back.

        Raises:
            ResilienceError: There is none.
            TimeoutError: The replica was found to be away meanwhile.
        """
        async with asyncio.timeout(None) as waiting:
            self._opening.add(waiting)
            try:
                return await self.server.open(stack, reads=True)
            finally:
                self._opening.discard(waiting)

    def judge(self, state: ReplicaState, reason: str | None = None, lag: float | None = None) -> None:
        """Take note of how the replica is."""
        replica, before = self.replica, self.replica.state
        replica.state, replica.lag, replica.detail = state, lag, reason
        if state is before:
            return
        if state is ReplicaState.AWAY:
            self._give_up()
        if state is not ReplicaState.SERVING:
            _log.warning("a replica is left out", replica=replica.name, state=str(state), reason=reason)
            self._tell(ReplicaLeftOut(SOURCE, replica.name, state, reason or ""))
        elif before is not ReplicaState.UNKNOWN:
            _log.info("a replica serves again", replica=replica.name)
            self._tell(ReplicaReturned(SOURCE, replica.name))

    def _give_up(self) -> None:
        now = asyncio.get_running_loop().time()
        for waiting in self._opening:
            if not waiting.expired():
                waiting.reschedule(now)
