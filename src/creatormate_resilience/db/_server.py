"""One database server: an engine, and what is done with its pool as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import QueuePool

from creatormate_resilience.clock import Clock
from creatormate_resilience.db._access import AccessModes, access_modes_of
from creatormate_resilience.db._config import DatabaseConfig
from creatormate_resilience.db._engine import make_engine, make_spare_engine
from creatormate_resilience.db._errors import database_errors
from creatormate_resilience.db._health import HealthProbe
from creatormate_resilience.db._holders import Holder
from creatormate_resilience.db._pool import FairPool, read_pool
from creatormate_resilience.db._postgresql import read_only_connections
from creatormate_resilience.db._sqlite import optimize
from creatormate_resilience.db._statistics import DatabaseHealth, PoolStatistics
from creatormate_resilience.db._targets import name_of
from creatormate_resilience.db._upkeep import dispose, drained, keep_alive, open_connections
from creatormate_resilience.exceptions import ConfigurationError, ResilienceError
from creatormate_resilience.log import get_logger
from creatormate_resilience.options import check_whole
from creatormate_resilience.time_limit import time_limit

__all__ = ("Server",)

_log = get_logger("db")


class Server:
    """A server and the connections to it.

    Args:
        target: Where it is, from `parse_url`; or an engine of the application, which is used as it is and left open.
        config: Pool and timeouts.
        clock: Measures idle times, waits and latencies.
        tell: Is told who has held a connection for longer than `leak_threshold`.
        reads_only: Whether each of its connections refuses to write.

    Attributes:
        url: Where it is; None for an engine of the application.
        engine: SQLAlchemy's engine.
        modes: What it can do.
    """

    def __init__(
        self,
        target: URL | AsyncEngine,
        config: DatabaseConfig,
        clock: Clock,
        tell: Callable[[Holder], object],
        *,
        reads_only: bool = False,
    ) -> None:
        self._config = config
        self._clock = clock
        self._keeping: asyncio.Task[None] | None = None
        if isinstance(target, URL):
            self.url: URL | None = target
            self.engine = make_engine(target, config, clock, tell, reads_only=reads_only)
        else:
            self.url, self.engine = None, target
        self.modes: AccessModes = access_modes_of(
            self.engine.dialect.name, ours=self.url is not None, pgbouncer=config.pgbouncer
        )

    @property
    def load(self) -> int:
        """How many have a connection or wait for one; 0 where the pool does not count."""
        pool = self.engine.pool
        if not isinstance(pool, QueuePool):
            return 0
        return pool.checkedout() + (pool.queue.waiting if isinstance(pool, FairPool) else 0)

    async def open(self, stack: AsyncExitStack, *, reads: bool) -> AsyncConnection:
        """Take a connection.

        Args:
            stack: Gives it back.
            reads: Whether it refuses to write, in autocommit too.

        Raises:
            ResilienceError: There is none.
        """
        with database_errors(self.engine.pool):
            if not reads:
                return await stack.enter_async_context(self.engine.connect())
            with read_only_connections():
                return await stack.enter_async_context(self.engine.connect())

    # Life -----------------------------------------------------------------------------------------------------------
    def keep_alive(self) -> None:
        """Use idle connections from now on, so that nothing on the way forgets them. Needs an event loop."""
        if self.url is not None and self._config.keepalive and self._keeping is None:
            self._keeping = asyncio.create_task(keep_alive(self.engine, self._config.keepalive))

    async def aclose(self, drain_timeout: float) -> None:
        """Close all connections. An engine of the application is left alone."""
        if self.url is None:
            return
        pool = self.engine.pool
        try:
            await self._stop_keeping()
            if drain_timeout and isinstance(pool, FairPool):
                await drained(pool, drain_timeout)
            await self._optimize()
        finally:
            if isinstance(pool, FairPool):
                pool.holders.close()
            await dispose(self.engine)

    async def warm_up(self, connections: int | None) -> None:
        """Open connections, all at the same time; None for the size of the pool."""
        numbers = self.pool_statistics()
        wanted = numbers.size if connections is None else connections
        check_whole("connections", wanted, 1, numbers.size + numbers.max_overflow)
        with database_errors(self.engine.pool):
            await open_connections(self.engine, wanted)

    async def _stop_keeping(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _optimize(self) -> None:
        if self.engine.dialect.name != "sqlite":
            return
        try:
            with database_errors(self.engine.pool):
                async with time_limit(1.0, what="PRAGMA optimize"):
                    await optimize(self.engine)
        except ResilienceError as error:  # another writer is at work, or the file is gone: closing goes on
            _log.debug("PRAGMA optimize was left out", error=str(error))

    # State ----------------------------------------------------------------------------------------------------------
    def numbers(self) -> PoolStatistics | None:
        """The pool's numbers at this moment; None where it does not count."""
        return read_pool(self.engine.pool)

    def pool_statistics(self) -> PoolStatistics:
        """The pool's numbers at this moment.

        Raises:
            ConfigurationError: The pool does not count.
        """
        statistics = self.numbers()
        if statistics is None:
            raise ConfigurationError(f"{type(self.engine.pool).__name__} has no statistics; accepted is a QueuePool")
        return statistics

    def holders(self) -> tuple[Holder, ...]:
        """Who has a connection in use now, the longest first.

        Raises:
            ConfigurationError: The pool does not know.
        """
        pool = self.engine.pool
        if not isinstance(pool, FairPool):
            raise ConfigurationError(f"{type(pool).__name__} does not know who holds its connections; ours does")
        return pool.holders.snapshot()

    async def health(self, timeout: float) -> DatabaseHealth:
        """Look whether it answers, in `timeout` seconds at most."""
        spare = None if self.url is None else make_spare_engine(self.url, self._config)
        return await HealthProbe(self.engine, spare, self.modes.reader, self._clock).look(timeout)

    def describe(self, state: str) -> str:
        """Driver, address, state and use, for operators."""
        url, pool = self.engine.url, self.numbers()
        used = f", {pool.in_use} of {pool.size}+{pool.max_overflow} in use" if pool else ""
        return f"{url.drivername} {name_of(url)} {state}{used}"
