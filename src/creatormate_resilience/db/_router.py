"""Which server a connection comes from: the shell around the decision in `_routing`."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from creatormate_resilience.clock import Clock
from creatormate_resilience.db._config import DatabaseConfig
from creatormate_resilience.db._execution import Recorder
from creatormate_resilience.db._holders import Holder
from creatormate_resilience.db._replica_watch import ReplicaWatch, reason_of
from creatormate_resilience.db._replicas import Follower
from creatormate_resilience.db._routing import PRIMARY, Candidate, route
from creatormate_resilience.db._server import Server
from creatormate_resilience.db._statement_tap import tap_of
from creatormate_resilience.db._statistics import ReplicaState
from creatormate_resilience.db._sticky import RecentWrites
from creatormate_resilience.db._targets import replica_targets
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import PoolExhaustedError, ResilienceError
from creatormate_resilience.log import get_logger

__all__ = ("Router",)

_log = get_logger("db")


class Router:
    """A primary and its replicas, and which of them a connection comes from.

    Args:
        primary: Takes what writes, and whatever nobody else can take.
        replicas: URLs and engines of those that take what reads.
        config: Pools, timeouts, and how far behind a replica may be.
        clock: Measures all that.
        told: Who is told of a connection that is held for long, and who of what happens to replicas.

    Attributes:
        replicas: The replicas.
        writes: Knows who must read from the primary.

    Raises:
        ConfigurationError: A replica is none.
    """

    def __init__(
        self,
        primary: Server,
        replicas: Iterable[str | AsyncEngine],
        config: DatabaseConfig,
        clock: Clock,
        told: tuple[Callable[[Holder], object], Callable[[Event], object]],
    ) -> None:
        held, happened = told
        self._primary = primary
        self._followers = tuple(
            Follower(name, Server(target, config, clock, held, reads_only=True), happened)
            for name, target in replica_targets(replicas, primary.url or primary.engine)
        )
        self._servers = (primary, *(follower.server for follower in self._followers))
        self.replicas = tuple(follower.replica for follower in self._followers)
        self.writes = RecentWrites(config.sticky_primary if self.replicas else 0.0, clock)
        self._watch = ReplicaWatch(primary, self._followers, config, clock)
        self._turn = 0

    # Connections ----------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def writer(self) -> AsyncGenerator[tuple[Server, AsyncConnection]]:
        """The primary, and a connection of it."""
        async with AsyncExitStack() as stack:
            yield self._primary, await self._primary.open(stack, reads=False)

    @asynccontextmanager
    async def reader(self, *, refuses: bool, primary: bool) -> AsyncGenerator[tuple[Server, AsyncConnection]]:
        """A connection for reading, of the first server that gives one.

        Args:
            refuses: Whether it must refuse to write, in autocommit too. Those of replicas always do.
            primary: Whether it must be the primary's.

        Yields:
            The server, and the connection.

        Raises:
            PoolExhaustedError: All connections of the server that was chosen are in use. One that is busy is not away:
                a rush of reads does not go on to take the writers' connections.
            ResilienceError: No server gives one; it is the primary's error.
        """
        async with AsyncExitStack() as stack:
            if primary or not self.replicas:
                yield self._primary, await self._primary.open(stack, reads=refuses)
            else:
                yield await self._first(stack, refuses=refuses)

    async def choose(self, *, primary: bool) -> Engine:
        """The engine of a server that has just given a connection for reading."""
        async with self.reader(refuses=False, primary=primary) as (server, _):
            options = server.modes.transaction(read_only=True, isolation_level=None)
            return server.engine.sync_engine.execution_options(**options)

    async def _first(self, stack: AsyncExitStack, *, refuses: bool) -> tuple[Server, AsyncConnection]:
        self._watch.begin()
        self._turn += 1
        candidates = [Candidate(each.replica.serving, each.server.load) for each in self._followers]
        failure: Exception | None = None
        for index in route(candidates, self._turn, pinned=self.writes.made_here()):
            try:
                if index == PRIMARY:
                    return self._primary, await self._primary.open(stack, reads=refuses)
                follower = self._followers[index]
                return follower.server, await follower.open(stack)
            except PoolExhaustedError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it gave no connection, and another may
                await stack.aclose()
                failure = self._failed(index, error) or failure
        assert failure is not None  # noqa: S101 - the primary is always among them
        raise failure

    def _failed(self, index: int, error: Exception) -> Exception | None:
        if index == PRIMARY:
            return error
        self._followers[index].judge(ReplicaState.AWAY, reason_of(error))
        return None

    # Life -----------------------------------------------------------------------------------------------------------
    @property
    def owns_something(self) -> bool:
        """Whether there is something to close."""
        return any(server.url is not None for server in self._servers)

    def keep_alive(self) -> None:
        """Use idle connections and look at replicas from now on. Needs an event loop."""
        for server in self._servers:
            server.keep_alive()
        self._watch.begin()

    async def look(self, longest: float) -> None:
        """Look at all replicas now, for `longest` seconds at most."""
        await self._watch.look(longest)

    async def warm_up(self, connections: int | None) -> None:
        """Open connections to all servers at the same time. A replica that is away is left out."""
        replicas = (self._warm_up(follower, connections) for follower in self._followers)
        await asyncio.gather(self._primary.warm_up(connections), *replicas)

    async def aclose(self, drain_timeout: float) -> None:
        """Close all connections, but those of engines of the application."""
        await self._watch.aclose()
        await asyncio.gather(*(server.aclose(drain_timeout) for server in self._servers))

    def record(self, recorder: Recorder) -> None:
        """Tell this one of statements on replicas."""
        for follower in self._followers:
            tap = tap_of(follower.server.engine.sync_engine)
            tap.attach(recorder)
            weakref.finalize(self, tap.detach, recorder).atexit = False  # an engine of the application lives on

    async def _warm_up(self, follower: Follower, connections: int | None) -> None:
        try:
            await follower.server.warm_up(connections)
        except (ResilienceError, OSError) as error:
            _log.info("a replica could not be warmed up", replica=follower.replica.name, error=reason_of(error))
