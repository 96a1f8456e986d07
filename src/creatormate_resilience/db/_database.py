"""`Database`: the shell around engine, sessions, transactions and health."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from creatormate_resilience.clock import Clock
from creatormate_resilience.db._access import AccessModes, IsolationLevel, access_modes_of
from creatormate_resilience.db._config import DatabaseConfig, DatabaseOptions
from creatormate_resilience.db._events import ConnectionHeldLong
from creatormate_resilience.db._execution import OWN
from creatormate_resilience.db._holders import Holder
from creatormate_resilience.db._owner import Owner
from creatormate_resilience.db._query_statistics import Order, QueryStatistics
from creatormate_resilience.db._statistics import DatabaseHealth, PoolStatistics
from creatormate_resilience.db._transaction import Transaction, TransactionRunner
from creatormate_resilience.events import Listener, notify
from creatormate_resilience.exceptions import ConfigurationError, MissingDependencyError, ResilienceError
from creatormate_resilience.log import get_logger
from creatormate_resilience.options import check_whole, clock_of, listeners_of
from creatormate_resilience.time_limit import time_limit

_INSTALLED = find_spec("sqlalchemy") is not None and find_spec("greenlet") is not None
if TYPE_CHECKING or _INSTALLED:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

    from creatormate_resilience.db._engine import make_engine, make_spare_engine
    from creatormate_resilience.db._errors import commit_outcome, database_errors
    from creatormate_resilience.db._health import HealthProbe
    from creatormate_resilience.db._pool import FairPool, read_pool
    from creatormate_resilience.db._postgresql import read_only_connections
    from creatormate_resilience.db._query_watch import QueryWatch
    from creatormate_resilience.db._session import TrackedSession, committed_session, make_session
    from creatormate_resilience.db._sqlite import optimize
    from creatormate_resilience.db._upkeep import drained, keep_alive, open_connections
    from creatormate_resilience.db._url import parse_url

__all__ = ("Database",)

T = TypeVar("T")
_DEFAULT_URL = "sqlite+aiosqlite:///app.db"
_log = get_logger("db")


class Database:
    """A database that its application survives: SQLite by default, PostgreSQL by URL.

    The constructor opens nothing. Use it as `async with Database(url) as db`, or call `start()` and `aclose()`. It
    belongs to the event loop that uses it first. What the database raises leaves `begin`, `session`, `connect` and
    `run_transaction` as an error of the `DatabaseError` family, `from` the original; an application's own errors pass
    unchanged.

    Args:
        url: `sqlite:///file.db` or `postgresql://user:password@host:5432/name`; see `parse_url`.
        engine: An `AsyncEngine` of your own, instead of a URL. It is used as it is, and not disposed of.
        config: The settings; None for the defaults.
        clock: Measures idle times and waits between attempts.
        listeners: Told of `ConnectionHeldLong`, `SlowQuery`, `QueryExplained` and `RepeatedQuery`.
        **options: Fields of `DatabaseConfig`, such as `pool_size=20`; they win over `config`.

    Raises:
        ConfigurationError: The URL is malformed, or a setting unknown or out of its range.
        MissingDependencyError: SQLAlchemy or the driver is not installed.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        engine: AsyncEngine | None = None,
        config: DatabaseConfig | None = None,
        clock: Clock | None = None,
        listeners: Iterable[Listener] = (),
        **options: Unpack[DatabaseOptions],
    ) -> None:
        self._owner = Owner()
        if not _INSTALLED:
            extra = "postgres" if (url or "").startswith("postgres") else "sqlite"
            raise MissingDependencyError("sqlalchemy[asyncio]", extra=extra, needed_by="Database")
        if engine is not None and (url is not None or config is not None or options):
            raise ConfigurationError("engine= brings its own settings; accepted beside it are clock= and listeners=")
        self.config = DatabaseConfig.of(config, options)
        self._clock: Clock = clock_of(clock)
        self._listeners = listeners_of(listeners)
        self._url = parse_url(_DEFAULT_URL if url is None else url) if engine is None else None
        if self.config.pgbouncer and self._url is not None and self._url.get_backend_name() != "postgresql":
            raise ConfigurationError(f"pgbouncer=True does not go with {self._url.drivername}; accepted is postgresql")
        self._engine = (
            engine if self._url is None else make_engine(self._url, self.config, self._clock, self._held_long)
        )
        self._keeping: asyncio.Task[None] | None = None
        self._modes: AccessModes = access_modes_of(
            self.engine.dialect.name, ours=self._url is not None, pgbouncer=self.config.pgbouncer
        )
        self._queries = QueryWatch(self.engine, self._url, self.config, self._listeners)

    # Life -----------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Open the database and look whether it answers.

        Raises:
            ConfigurationError: User, password or database name is wrong, or another event loop has it open.
            DatabaseUnavailableError: It cannot be reached.
        """
        self._owner.reopen()
        async with self.connect() as connection:
            await connection.exec_driver_sql(f"SELECT 1 {OWN}")
        if self._url is not None and self.config.keepalive:
            self._keeping = asyncio.create_task(keep_alive(self.engine, self.config.keepalive))

    async def aclose(self, drain_timeout: float = 0.0) -> None:
        """Close all connections. An engine of your own is left alone.

        Args:
            drain_timeout: Longest wait for those in use to come back, in seconds; meanwhile nobody gets a new one.
                Who still has one then may go on, and its connection is closed when it comes back.
        """
        if not self._owner.holds:
            return
        self._owner.check()
        self._owner.release()
        if self._url is None:
            return
        pool = self.engine.pool
        try:
            await self._stop_keeping()
            await self._queries.aclose()
            if drain_timeout and isinstance(pool, FairPool):
                await drained(pool, drain_timeout)
            await self._optimize()
        finally:
            if isinstance(pool, FairPool):
                pool.holders.close()
            await self.engine.dispose()

    async def _stop_keeping(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    def _held_long(self, holder: Holder) -> None:
        _log.warning("a connection is held for long", task=holder.task, seconds=holder.seconds, where=holder.where)
        notify(self._listeners, ConnectionHeldLong("db", holder.task, holder.seconds, holder.where))

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._owner.holds and self._url is not None:
            warnings.warn(f"{self!r} was not closed: use `async with` or aclose()", ResourceWarning, stacklevel=2)

    @property
    def opened(self) -> bool:
        """Whether it was used or started, and not closed since."""
        return self._owner.holds

    # Work -----------------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def begin(
        self,
        *,
        read_only: bool = False,
        isolation_level: IsolationLevel | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[AsyncSession]:
        """A transaction, committed when the block ends and rolled back when it raises.

        Args:
            read_only: Writing is refused. On SQLite readers run beside each other and beside a writer.
            isolation_level: Left out, the server's default. SQLite is always SERIALIZABLE.
            timeout: Longest duration of the block, in seconds.

        Yields:
            The session.

        Raises:
            ResilienceError: Of the `DatabaseError` family; `CommitOutcomeUnknownError` where the answer to COMMIT was
                lost, `OperationTimeoutError` after `timeout`.
        """
        self._owner.check()
        options = self._modes.transaction(read_only=read_only, isolation_level=isolation_level)
        _check_timeout(timeout)
        with database_errors(self.engine.pool, read_only=read_only):
            async with committed_session(self.engine, options, timeout) as session:
                yield session

    @asynccontextmanager
    async def session(self, *, read_only: bool = False) -> AsyncGenerator[AsyncSession]:
        """A session that you commit yourself.

        It takes a connection with its first statement, and returns it with each commit.

        Args:
            read_only: Writing is refused. On SQLite a session that may write keeps other writers out from its first
                statement to its commit, even while it only reads.

        Yields:
            The session. Leaving with changes that were not committed rolls them back and warns.

        Raises:
            ResilienceError: As `begin`.
        """
        self._owner.check()
        options = self._modes.transaction(read_only=read_only, isolation_level=None)
        engine = self.engine.execution_options(**options)
        with database_errors(self.engine.pool, read_only=read_only):
            async with make_session(engine) as session:
                tracked = session.sync_session
                assert isinstance(tracked, TrackedSession)  # noqa: S101 - make_session makes no other
                with commit_outcome(tracked):
                    yield session
                if tracked.has_uncommitted_changes:
                    _warn_uncommitted()

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[AsyncConnection]:
        """A connection for reading, the fastest way: without BEGIN and COMMIT where the server allows it.

        Yields:
            The connection; writing is refused. (With an engine of your own on another database than PostgreSQL it is
            not: there, what was written is rolled back.)

        Raises:
            ResilienceError: As `begin`.
        """
        self._owner.check()
        with database_errors(self.engine.pool, read_only=True):
            async with AsyncExitStack() as stack:
                with read_only_connections():
                    connection = await stack.enter_async_context(self.engine.connect())
                yield await connection.execution_options(**self._modes.reader)

    async def run_transaction(
        self,
        fn: Callable[[Transaction], Awaitable[T]],
        *,
        isolation_level: IsolationLevel | None = None,
        max_attempts: int = 5,
    ) -> T:
        """Run a function in a transaction, again where that is safe.

        It is run again, with a fresh session, after a serialization failure, a deadlock, a busy SQLite, and where the
        connection was lost before COMMIT; after a short random wait, and only while the current deadline allows it.
        So it may do nothing that cannot be done twice; that belongs into `transaction.on_commit`.

        Args:
            fn: Called as `await fn(transaction)`; works on `transaction.session`.
            isolation_level: Left out, the server's default.
            max_attempts: How often to try, 1 to 1000.

        Returns:
            What `fn` returned in the attempt that was committed.

        Raises:
            CommitOutcomeUnknownError: The answer to COMMIT was lost; this is never run again.
            DeadlineExceededError: The deadline had passed before the first attempt.
            ResilienceError: The last attempt's error.
        """
        if isinstance(max_attempts, bool) or not 1 <= max_attempts <= 1000:
            raise ConfigurationError(f"max_attempts is {max_attempts!r}; accepted are 1 to 1000")
        runner = TransactionRunner(lambda: self.begin(isolation_level=isolation_level), max_attempts, self._clock)
        return await runner.run(fn)

    # State ----------------------------------------------------------------------------------------------------------
    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine, for Alembic and whatever else wants one."""
        assert self._engine is not None  # noqa: S101 - the constructor set or made one
        return self._engine

    def pool_statistics(self) -> PoolStatistics:
        """The pool's numbers at this moment.

        Raises:
            ConfigurationError: An engine of your own has a pool that does not count.
        """
        statistics = read_pool(self.engine.pool)
        if statistics is None:
            raise ConfigurationError(f"{type(self.engine.pool).__name__} has no statistics; accepted is a QueuePool")
        return statistics

    def holders(self) -> tuple[Holder, ...]:
        """Who has a connection in use now, the longest first: task, since when, and what it is doing.

        Raises:
            ConfigurationError: An engine of your own has a pool that does not know.
        """
        pool = self.engine.pool
        if not isinstance(pool, FairPool):
            raise ConfigurationError(f"{type(pool).__name__} does not know who holds its connections; ours does")
        return pool.holders.snapshot()

    async def warm_up(self, connections: int | None = None) -> None:
        """Open connections before they are needed, all at the same time.

        Args:
            connections: How many are to be open; None for the size of the pool, which is 1 for SQLite in memory.

        Raises:
            ResilienceError: As `begin`.
        """
        self._owner.check()
        numbers = self.pool_statistics()
        wanted = numbers.size if connections is None else connections
        check_whole("connections", wanted, 1, numbers.size + numbers.max_overflow)
        with database_errors(self.engine.pool):
            await open_connections(self.engine, wanted)

    def query_statistics(self, *, top: int = 10, by: Order = "total_time") -> tuple[QueryStatistics, ...]:
        """Which statements ran, how often and for how long; those too that failed or were cancelled.

        Args:
            top: How many.
            by: What puts them in order, the largest first.

        Returns:
            A row for each statement without its literals; as the last, where there were too many, `(other)`.

        Raises:
            ConfigurationError: An argument is out of its range, or `query_statistics` is switched off.
        """
        return self._queries.recorder.top(top, by)

    def reset_query_statistics(self) -> None:
        """Count from zero."""
        self._queries.recorder.reset()

    async def health(self, *, timeout: float = 1.0) -> DatabaseHealth:
        """Look whether the database answers.

        Args:
            timeout: Longest time to take, in seconds.

        Returns:
            Up, saturated (all connections in use, but one outside of the pool works) or down.
        """
        self._owner.check()
        _check_timeout(timeout)
        spare = None if self._url is None else make_spare_engine(self._url, self.config)
        return await HealthProbe(self.engine, spare, self._modes.reader, self._clock).look(timeout)

    def __repr__(self) -> str:
        if self._engine is None:
            return "<Database>"
        url = self._engine.url
        where = f"{url.host}:{url.port or 5432}/{url.database}" if url.host else str(url.database)
        pool = read_pool(self._engine.pool)
        state = "closed" if self._owner.closed else "open" if self._owner.holds else "not started"
        used = f", {pool.in_use} of {pool.size}+{pool.max_overflow} in use" if pool else ""
        return f"<Database {url.drivername} {where} {state}{used}>"

    async def _optimize(self) -> None:
        if self.engine.dialect.name != "sqlite":
            return
        try:
            with database_errors(self.engine.pool):
                async with time_limit(1.0, what="PRAGMA optimize"):
                    await optimize(self.engine)
        except ResilienceError as error:  # another writer is at work, or the file is gone: closing goes on
            _log.debug("PRAGMA optimize was left out", error=str(error))


def _check_timeout(timeout: Any) -> None:
    if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout <= 86400):
        raise ConfigurationError(f"timeout is {timeout!r}; accepted are seconds above 0, up to 86400")


def _warn_uncommitted() -> None:
    message = "db.session() ended with uncommitted changes, which were rolled back: commit them, or use db.begin()"
    _log.warning(message)
    warnings.warn(message, RuntimeWarning, stacklevel=4)
