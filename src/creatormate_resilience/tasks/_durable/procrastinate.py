"""All that is asked of Procrastinate: connections, and a worker that survives the restarts of the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast
from weakref import WeakKeyDictionary

from creatormate_resilience.exceptions import (
    ConfigurationError,
    DatabaseError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    MissingDependencyError,
    ResilienceError,
)
from creatormate_resilience.log import get_logger
from creatormate_resilience.tasks._durable._config import DurableConfig
from creatormate_resilience.tasks._durable._lifeline import Lifeline
from creatormate_resilience.tasks._durable._station import Station

_INSTALLED = find_spec("procrastinate") is not None and find_spec("psycopg") is not None
if TYPE_CHECKING or _INSTALLED:
    from procrastinate import App, JobContext, PsycopgConnector, SyncPsycopgConnector, psycopg_connector
    from procrastinate.exceptions import AppNotOpen, ConnectorException
    from procrastinate.jobs import Job, Status
    from procrastinate.manager import JobManager, NotificationCallback
    from procrastinate.schema import SchemaManager
    from procrastinate.worker import Worker

    class _Manager(JobManager):
        """Procrastinate's job manager, where the station writes what became of a task and no outage ends the worker."""

        def __init__(self, connector: PsycopgConnector, station: Station, lifeline: Lifeline) -> None:
            super().__init__(connector)
            self._station = station
            self._lifeline = lifeline

        async def fetch_job(self, queues: Any, worker_id: int) -> Job | None:
            row = await self._station.fetch([*queues], worker_id)
            if row is None:
                return None
            job = row["job"]
            return Job(
                id=job["id"],
                status=job["status"],
                queue=job["queue_name"],
                priority=job["priority"],
                lock=job["lock"],
                queueing_lock=job["queueing_lock"],
                task_name=job["task_name"],
                task_kwargs=job["args"],
                attempts=job["attempts"],
                worker_id=job["worker_id"],
            )

        async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
            if job.task_name != JOB_NAME:  # not ours; somebody put it into our queue
                await super().finish_job(job, status, delete_job)

        async def retry_job(self, job: Job, *args: Any, **kwargs: Any) -> None:
            if job.task_name != JOB_NAME:
                await super().retry_job(job, *args, **kwargs)

        async def register_worker(self) -> int:
            while True:
                try:
                    worker = await super().register_worker()
                except ConnectorException as error:
                    if self._station.stopping:
                        raise _translated(error) from error
                    _log.warning("a worker cannot begin; it tries again", exc_info=error)
                    await asyncio.sleep(_RECONNECT)
                    continue
                self._lifeline.start(asyncio.get_running_loop(), worker)
                return worker

        async def unregister_worker(self, worker_id: int) -> None:
            self._lifeline.stop()
            if self._station.left:  # they still run; the lease frees them when this process has ended
                return
            await asyncio.to_thread(self._lifeline.join)  # a later sign of life would sign on again
            try:
                await super().unregister_worker(worker_id)
            except ConnectorException as error:
                _log.warning("a worker could not sign off; its lease runs out", exc_info=error)

        async def update_heartbeat(self, worker_id: int) -> None:
            """The lifeline's thread does it."""

        async def prune_stalled_workers(self, seconds_since_heartbeat: float) -> list[int]:  # noqa: ARG002
            """The station's care does it."""
            return []

        async def listen_for_jobs(self, *, on_notification: NotificationCallback, queues: Any = None) -> None:
            while True:
                try:
                    await super().listen_for_jobs(on_notification=on_notification, queues=queues)
                except ConnectorException as error:
                    _log.warning("a worker hears of no new tasks; it looks for them", exc_info=error)
                await asyncio.sleep(_RECONNECT)
                await on_notification(
                    channel="", notification={"type": "job_inserted", "job_id": 0}
                )  # meanwhile missed


__all__ = ("Database", "Pulse", "check_installed", "make_worker", "procrastinate_schema")

_log = get_logger("tasks")
JOB_NAME: Final = "creatormate.run"
_UNDEFINED: Final = frozenset({"42883", "42P01", "3F000"})
_AWAY: Final = ("08", "53", "57", "25006")
_RECONNECT: Final = 0.5
_FRESH: Final = 1.0
_ABORT_INTERVAL: Final = 5.0  # a look at the whole queue, in case that the announcement of a cancellation is lost
_STATEMENT_TIMEOUT: Final = 30_000


def check_installed(needed_by: str) -> None:
    """Raise `MissingDependencyError` where Procrastinate or psycopg is missing."""
    if not _INSTALLED:
        raise MissingDependencyError("procrastinate", extra="procrastinate", needed_by=needed_by)


def procrastinate_schema() -> str:
    """SQL that makes Procrastinate's tables."""
    return SchemaManager.get_schema()


def make_worker(
    database: Database, station: Station, lifeline: Lifeline, *, name: str, concurrency: int, queues: Sequence[str]
) -> Worker:
    """Procrastinate's worker, with one task: the station's."""
    app = App(connector=database.connector)
    app.job_manager = _Manager(database.connector, station, lifeline)

    async def run(_context: JobContext, task: str) -> None:
        await station.run(task)

    app.task(name=JOB_NAME, pass_context=True)(run)
    config = database.config
    return Worker(
        app=app,
        queues=queues,
        name=name,
        concurrency=concurrency,
        fetch_job_polling_interval=config.poll_interval,
        abort_job_polling_interval=max(config.poll_interval, _ABORT_INTERVAL),
        install_signal_handlers=False,
        update_heartbeat_interval=config.heartbeat,
    )


def _arguments(conninfo: str, config: DurableConfig) -> dict[str, Any]:
    """Of a connection pool of psycopg's."""
    patience = max(round(config.connect_timeout), 2)
    return {
        "conninfo": conninfo,
        "timeout": config.connect_timeout,
        "kwargs": {
            "connect_timeout": patience,
            "tcp_user_timeout": patience * 1000,
            "keepalives_idle": patience,
            "application_name": "creatormate-tasks",
            "options": f"-c search_path={config.schema} -c statement_timeout={_STATEMENT_TIMEOUT}",
        },
    }


def _pool_class() -> Any:
    return cast("Any", psycopg_connector).psycopg_pool.AsyncConnectionPool


async def _statement_by_statement(connection: Any) -> None:
    """Every statement of ours is whole by itself; BEGIN and COMMIT around it would only be two more round trips."""
    await connection.set_autocommit(True)


class Database:
    """Statements through Procrastinate's connector, with this library's errors.

    Args:
        conninfo: See `conninfo_of`.
        config: The engine's settings.
    """

    def __init__(self, conninfo: str, config: DurableConfig) -> None:
        self.config = config
        self._used: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        """When connections came back, on the monotonic clock."""
        self.connector = PsycopgConnector(
            min_size=1,
            max_size=config.pool_size,
            configure=_statement_by_statement,
            pool_factory=self._make_pool,
            **_arguments(conninfo, config),
        )

    def _make_pool(self, **arguments: Any) -> Any:
        """A pool that asks a connection for a sign of life only after a rest: asking costs as much as a statement."""
        return _pool_class()(**arguments | {"check": self._check, "reset": self._returned})

    async def _check(self, connection: Any) -> None:
        if time.monotonic() - self._used.get(connection, 0.0) > _FRESH:
            await _pool_class().check_connection(connection)

    async def _returned(self, connection: Any) -> None:
        self._used[connection] = time.monotonic()

    async def open(self) -> None:
        """Connect.

        Raises:
            DatabaseUnavailableError: The database does not answer.
        """
        try:
            async with asyncio.timeout(self.config.connect_timeout):
                await self.connector.open_async()
        except Exception as error:
            await self.close()
            raise DatabaseUnavailableError("the database of tasks cannot be reached").with_cause(error) from error

    async def close(self) -> None:
        """Close the connections."""
        await self.connector.close_async()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def rows(self, query: str, **arguments: Any) -> Sequence[Mapping[str, Any]]:
        """See `Queries`."""
        for _ in range(self.config.pool_size):  # after a restart all connections of the pool are dead
            try:
                return await self.once(query, **arguments)
            except DatabaseUnavailableError as error:
                if not _was_cut(error):
                    raise
        return await self.once(query, **arguments)

    async def once(self, query: str, **arguments: Any) -> Sequence[Mapping[str, Any]]:
        """See `Queries`."""
        try:
            rows: list[dict[str, Any]] = await self.connector.execute_query_all_async(cast("Any", query), **arguments)
        except (ConnectorException, AppNotOpen) as error:
            raise _translated(error) from error
        return rows

    async def script(self, text: str) -> None:
        """See `Queries`."""
        try:
            await self.connector.execute_query_async(cast("Any", text.replace("%", "%%")))
        except (ConnectorException, AppNotOpen) as error:
            raise _translated(error) from error


class Pulse:
    """Signs of life on a connection of their own; for a thread.

    Args:
        conninfo: See `conninfo_of`.
        config: The engine's settings.
    """

    def __init__(self, conninfo: str, config: DurableConfig) -> None:
        own: dict[str, Any] = {"min_size": 1, "max_size": 1, "num_workers": 1}
        self._arguments = own | _arguments(conninfo, config)
        self._connector: SyncPsycopgConnector | None = None

    def beat(self, worker: int) -> None:
        """Write one down. After a failure the connection is made anew: a pool would wait longer and longer for it."""
        try:
            if self._connector is None:
                self._connector = SyncPsycopgConnector(**self._arguments)
                self._connector.open()
            self._connector.execute_query_all(cast("Any", "SELECT creatormate_beat(%(worker)s)"), worker=worker)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        connector, self._connector = self._connector, None
        if connector is not None:
            connector.close()


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error.__cause__, "sqlstate", None)
    return state if isinstance(state, str) else None


def _names(error: BaseException | None) -> frozenset[str]:
    """Of an error's types: psycopg itself is not imported here."""
    return frozenset(each.__name__ for each in type(error).__mro__)


def _was_cut(error: BaseException) -> bool:
    """Whether a connection was lost, so that another one may do; not so where none can be had."""
    cause = error.__cause__.__cause__ if error.__cause__ is not None else None
    return cause is not None and "PoolTimeout" not in _names(cause)


def _translated(error: ConnectorException | AppNotOpen) -> ResilienceError | ValueError:
    state, names = _sqlstate(error), _names(error.__cause__)
    if isinstance(error, AppNotOpen):
        return ConfigurationError("the engine of these tasks is not open; start it, and do not use it after its end")
    if state in _UNDEFINED:
        return ConfigurationError(
            "the tables of tasks are missing or of another version; run `creatormate-resilience tasks migrate "
            "module:executor`"
        )
    if state == "57014":
        return DatabaseTimeoutError("PostgreSQL took too long over a statement about tasks")
    if state is not None and state.startswith("22"):
        return ValueError("a name, tag or key of the task holds a character that PostgreSQL cannot store")
    if "OperationalError" in names or "InterfaceError" in names or (state or "").startswith(_AWAY):
        return DatabaseUnavailableError("the database of tasks cannot be reached")
    return DatabaseError(f"PostgreSQL refused a statement about tasks ({state or 'no code'})")
