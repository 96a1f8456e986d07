"""`Database`: the shell around engine, sessions, transactions and health."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from creatormate_resilience.clock import Clock
from creatormate_resilience.db._access import IsolationLevel
from creatormate_resilience.db._config import DatabaseConfig, DatabaseOptions
from creatormate_resilience.db._events import ConnectionHeldLong
from creatormate_resilience.db._execution import OWN, SOURCE
from creatormate_resilience.db._holders import Holder
from creatormate_resilience.db._owner import Owner
from creatormate_resilience.db._query_statistics import Order, QueryStatistics
from creatormate_resilience.db._replicas import Replica
from creatormate_resilience.db._statistics import DatabaseHealth, PoolStatistics
from creatormate_resilience.db._transaction import Transaction, TransactionRunner
from creatormate_resilience.events import Event, Listener, notify
from creatormate_resilience.exceptions import (
    ConfigurationError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    MissingDependencyError,
)
from creatormate_resilience.log import get_logger
from creatormate_resilience.options import clock_of, listeners_of

_INSTALLED = find_spec("sqlalchemy") is not None and find_spec("greenlet") is not None
if TYPE_CHECKING or _INSTALLED:
    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

    from creatormate_resilience.db._errors import commit_outcome, database_errors
    from creatormate_resilience.db._health import with_replicas
    from creatormate_resilience.db._query_watch import QueryWatch
    from creatormate_resilience.db._router import Router
    from creatormate_resilience.db._server import Server
    from creatormate_resilience.db._session import TrackedSession, committed_session, make_routed_session, make_session
    from creatormate_resilience.db._url import parse_url

__all__ = ("Database",)

T = TypeVar("T")
_DEFAULT_URL = "sqlite+aiosqlite:///app.db"
_ROUTING = frozenset({"sticky_primary", "max_replica_lag"})
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
        replicas: URLs, or engines of your own, of servers that follow this one: reads go there.
        config: The settings; None for the defaults.
        clock: Measures idle times and waits between attempts.
        listeners: Told of `ConnectionHeldLong`, `SlowQuery`, `QueryExplained`, `RepeatedQuery`, `ReplicaLeftOut` and
            `ReplicaReturned`.
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
        replicas: Iterable[str | AsyncEngine] = (),
        config: DatabaseConfig | None = None,
        clock: Clock | None = None,
        listeners: Iterable[Listener] = (),
        **options: Unpack[DatabaseOptions],
    ) -> None:
        self._owner = Owner()
        if not _INSTALLED:
            extra = "postgres" if (url or "").startswith("postgres") else "sqlite"
            raise MissingDependencyError("sqlalchemy[asyncio]", extra=extra, needed_by="Database")
        if engine is not None and (url is not None or config is not None or options.keys() - _ROUTING):
            raise ConfigurationError(
                "engine= brings its own settings; accepted beside it are clock=, listeners=, and replicas= with"
                " sticky_primary= and max_replica_lag="
            )
        self.config = DatabaseConfig.of(config, options)
        self._clock: Clock = clock_of(clock)
        self._listeners = listeners_of(listeners)
        target = engine or parse_url(_DEFAULT_URL if url is None else url)
        if self.config.pgbouncer and isinstance(target, URL) and target.get_backend_name() != "postgresql":
            raise ConfigurationError(f"pgbouncer=True does not go with {target.drivername}; accepted is postgresql")
        self._primary = Server(target, self.config, self._clock, self._held_long)
        self._router = Router(self._primary, replicas, self.config, self._clock, (self._held_long, self._tell))
        self._queries = QueryWatch(self.engine, self._primary.url, self.config, self._listeners)
        if self.config.query_statistics:
            self._router.record(self._queries.recorder)

    # Life -----------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Open the database and look whether it answers.

        Raises:
            ConfigurationError: User, password or database name is wrong, or another event loop has it open.
            DatabaseUnavailableError: It cannot be reached, and no replica can.
        """
        self._owner.reopen()
        self._owner.check()
        await self._router.look(1.0)
        try:
            async with self.connect(primary=True) as connection:
                await connection.exec_driver_sql(f"SELECT 1 {OWN}")
        except (DatabaseUnavailableError, DatabaseTimeoutError) as error:
            if not any(replica.serving for replica in self.replicas):
                raise
            _log.warning("the primary is away; replicas are read from until it comes back", error=error.code)
        self._router.keep_alive()

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
        try:
            await self._queries.aclose()
        finally:
            await self._router.aclose(drain_timeout)

    def _held_long(self, holder: Holder) -> None:
        _log.warning("a connection is held for long", task=holder.task, seconds=holder.seconds, where=holder.where)
        self._tell(ConnectionHeldLong(SOURCE, holder.task, holder.seconds, holder.where))

    def _tell(self, event: Event) -> None:
        notify(self._listeners, event)

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
        if self._owner.holds and self._router.owns_something:
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
        primary: bool = False,
    ) -> AsyncGenerator[AsyncSession]:
        """A transaction, committed when the block ends and rolled back when it raises.

        Args:
            read_only: Writing is refused. On SQLite readers run beside each other and beside a writer.
            isolation_level: Left out, the server's default. SQLite is always SERIALIZABLE.
            timeout: Longest duration of the block, in seconds.
            primary: Read from the primary, where there are replicas. Writing always goes there, and so does
                SERIALIZABLE, which replicas do not have.

        Yields:
            The session.

        Raises:
            ResilienceError: Of the `DatabaseError` family; `CommitOutcomeUnknownError` where the answer to COMMIT was
                lost, `OperationTimeoutError` after `timeout`.
        """
        self._owner.check()
        self._primary.modes.transaction(read_only=read_only, isolation_level=isolation_level)  # is that possible?
        _check_timeout(timeout)
        primary = primary or isolation_level == "SERIALIZABLE"
        opened = self._router.reader(refuses=False, primary=primary) if read_only else self._router.writer()
        note = None if read_only else self._router.writes.note
        with database_errors(self.engine.pool, read_only=read_only):
            async with opened as (server, connection):
                options = server.modes.transaction(read_only=read_only, isolation_level=isolation_level)
                async with committed_session(connection, options, timeout, note) as session:
                    yield session

    @asynccontextmanager
    async def session(self, *, read_only: bool = False, primary: bool = False) -> AsyncGenerator[AsyncSession]:
        """A session that you commit yourself.

        It takes a connection with its first statement, and returns it with each commit.

        Args:
            read_only: Writing is refused. On SQLite a session that may write keeps other writers out from its first
                statement to its commit, even while it only reads.
            primary: Read from the primary, where there are replicas. Else each transaction chooses anew.

        Yields:
            The session. Leaving with changes that were not committed rolls them back and warns.

        Raises:
            ResilienceError: As `begin`.
        """
        self._owner.check()
        with database_errors(self.engine.pool, read_only=read_only):
            async with self._make_session(read_only=read_only, primary=primary) as session:
                tracked = session.sync_session
                assert isinstance(tracked, TrackedSession)  # noqa: S101 - make_session makes no other
                with commit_outcome(tracked):
                    yield session
                if tracked.has_uncommitted_changes:
                    _warn_uncommitted()

    @asynccontextmanager
    async def connect(self, *, primary: bool = False) -> AsyncGenerator[AsyncConnection]:
        """A connection for reading, the fastest way: without BEGIN and COMMIT where the server allows it.

        Args:
            primary: Read from the primary, where there are replicas.

        Yields:
            The connection; writing is refused. (With an engine of your own on another database than PostgreSQL it is
            not: there, what was written is rolled back.)

        Raises:
            ResilienceError: As `begin`.
        """
        self._owner.check()
        with database_errors(self.engine.pool, read_only=True):
            async with self._router.reader(refuses=True, primary=primary) as (server, connection):
                yield await connection.execution_options(**server.modes.reader)

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

    def _make_session(self, *, read_only: bool, primary: bool) -> AsyncSession:
        options = self._primary.modes.transaction(read_only=read_only, isolation_level=None)
        if read_only and not primary and self.replicas:
            return make_routed_session(self.engine, partial(self._router.choose, primary=False))
        note = None if read_only else self._router.writes.note
        return make_session(self.engine.execution_options(**options), note)

    # State ----------------------------------------------------------------------------------------------------------
    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine, the primary's, for Alembic and whatever else wants one."""
        return self._primary.engine

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """The replicas, each with its state, lag, pool and holders, in the order in which they were given."""
        return self._router.replicas

    def pool_statistics(self) -> PoolStatistics:
        """The numbers of the primary's pool at this moment. Each of `replicas` has its own.

        Raises:
            ConfigurationError: An engine of your own has a pool that does not count.
        """
        return self._primary.pool_statistics()

    def holders(self) -> tuple[Holder, ...]:
        """Who has a connection to the primary now, the longest first: task, since when, and what it is doing.

        Raises:
            ConfigurationError: An engine of your own has a pool that does not know.
        """
        return self._primary.holders()

    async def warm_up(self, connections: int | None = None) -> None:
        """Open connections before they are needed, all at the same time; to replicas as well.

        Args:
            connections: How many are to be open to each server; None for the size of the pool, which is 1 for SQLite
                in memory.

        Raises:
            ResilienceError: As `begin`. A replica that is away is no error.
        """
        self._owner.check()
        await self._router.warm_up(connections)

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
        """Look whether the database answers, and its replicas.

        Args:
            timeout: Longest time to take, in seconds.

        Returns:
            Up, degraded (a replica does not serve), saturated (all connections in use, but one outside of the pool
            works) or down (the primary is).
        """
        self._owner.check()
        _check_timeout(timeout)
        found, _ = await asyncio.gather(self._primary.health(timeout), self._router.look(timeout))
        return with_replicas(found, [replica.health() for replica in self.replicas])

    def __repr__(self) -> str:
        if getattr(self, "_router", None) is None:
            return "<Database>"
        state = "closed" if self._owner.closed else "open" if self._owner.holds else "not started"
        serving = sum(replica.serving for replica in self.replicas)
        replicas = f", {serving} of {len(self.replicas)} replicas serve" if self.replicas else ""
        return f"<Database {self._primary.describe(state)}{replicas}>"


def _check_timeout(timeout: Any) -> None:
    if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout <= 86400):
        raise ConfigurationError(f"timeout is {timeout!r}; accepted are seconds above 0, up to 86400")


def _warn_uncommitted() -> None:
    message = "db.session() ended with uncommitted changes, which were rolled back: commit them, or use db.begin()"
    _log.warning(message)
    warnings.warn(message, RuntimeWarning, stacklevel=4)
