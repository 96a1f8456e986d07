"""The durable engine: tasks in PostgreSQL, in the queue of Procrastinate, run by workers on any number of machines."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping, Sequence

from creatormate_resilience.clock import Clock, SystemClock
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import ConfigurationError, TaskError
from creatormate_resilience.redaction import redact_url
from creatormate_resilience.tasks._durable._attempts import AttemptEngine
from creatormate_resilience.tasks._durable._config import DurableConfig, check_queue, conninfo_of
from creatormate_resilience.tasks._durable._ending import record_of
from creatormate_resilience.tasks._durable._ends import Ends
from creatormate_resilience.tasks._durable._lifeline import Lifeline, Vitals
from creatormate_resilience.tasks._durable._shift import Shift
from creatormate_resilience.tasks._durable._station import Station
from creatormate_resilience.tasks._durable._statistics import QueueStatistics, WorkerSight, queue_statistics
from creatormate_resilience.tasks._durable._store import Store
from creatormate_resilience.tasks._durable._submission import Taken, batch_of, submit_within
from creatormate_resilience.tasks._durable._tracked import DurableTask, not_found
from creatormate_resilience.tasks._durable.procrastinate import (
    Database,
    Pulse,
    check_installed,
    make_worker,
    procrastinate_schema,
)
from creatormate_resilience.tasks._engine import Capability, TaskRequest, check_supported
from creatormate_resilience.tasks._history import HistoryLimits
from creatormate_resilience.tasks._lifecycle import Lifecycle
from creatormate_resilience.tasks._limits import ExecutorLimits
from creatormate_resilience.tasks._options import TagValue, check_count, check_seconds
from creatormate_resilience.tasks._record import TaskRecord, TaskStatus
from creatormate_resilience.tasks._shutdown import ShutdownReport
from creatormate_resilience.tasks._statistics import TaskStatistics, Totals

__all__ = ("ProcrastinateEngine", "QueueStatistics", "Vitals", "WorkerSight")

_CAPABILITIES = frozenset(Capability) - {Capability.ANY_FUNCTION, Capability.RETRY}


class ProcrastinateEngine:
    """Keeps tasks in PostgreSQL and runs them in workers, at least once each: `TaskExecutor(engine=...)`.

    What was taken survives the end of every process. A worker that dies is noticed when its lease is over, and its
    tasks run again elsewhere; so a task may run twice, and must bear it.

    Functions are declared with `task()` and stand at the top of a module; arguments and results are JSON. A retry
    policy is declared with the function, because it cannot travel. Tasks of one `key` run one at a time, in their
    order; one that rests between two attempts keeps the others waiting.

    Args:
        dsn: `postgresql://user@host:5432/database`. SQLAlchemy's names of drivers are left out.
        name: In statistics, events and logs.
        schema: Where the tables are. Two engines in one schema share their queues.
        queue: Where tasks wait for which `routes` has no other queue.
        routes: Queues by task name, so that heavy ones have workers of their own.
        lease: Seconds without a sign of life after which a worker's tasks go to others; the same for all workers. A
            task may take as long as it likes.
        max_freeze: Seconds that a worker's event loop may stand still before it gives no more signs of life.
        max_rescues: How often a task goes to another worker because its own died; then it is LOST.
        poll_interval: Seconds between two looks for tasks that nobody announces: delayed and retried ones.
        result_ttl: Seconds that ended tasks are kept.
        failure_ttl: Seconds that tasks that ended badly are kept.
        pool_size: Most connections of this process, a worker's two others apart.
        connect_timeout: Longest wait for a connection, in seconds.
        max_loop_lag: See `TaskExecutor`; a worker's own.
        clock: Measures durations.
        listeners: Told of what this process's worker does; see `TaskExecutor`.

    Raises:
        MissingDependencyError: Procrastinate is not installed.
        ConfigurationError: `dsn`, `schema` or a queue is not what is accepted.
        ValueError: A number is out of its range.
        TypeError: A number is not one.
    """

    def __init__(
        self,
        dsn: str,
        *,
        name: str = "tasks",
        schema: str = "public",
        queue: str = "creatormate",
        routes: Mapping[str, str] | None = None,
        lease: float = 30.0,
        max_freeze: float = 60.0,
        max_rescues: int = 5,
        poll_interval: float = 1.0,
        result_ttl: float = 86_400.0,
        failure_ttl: float = 604_800.0,
        pool_size: int = 5,
        connect_timeout: float = 10.0,
        max_loop_lag: float | None = 0.5,
        clock: Clock | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        check_installed("ProcrastinateEngine")
        self._lifecycle = Lifecycle(name)
        self.name = name
        self._config = config = DurableConfig(
            schema, queue, routes or {}, lease, max_freeze, max_rescues, poll_interval, result_ttl, failure_ttl,
            pool_size, connect_timeout,
        )  # fmt: skip
        self._conninfo = conninfo_of(dsn)
        self._where = f"{redact_url(self._conninfo)} schema {schema}"
        self._max_loop_lag = max_loop_lag
        self._clock = clock or SystemClock()
        self._listeners = tuple(listeners)
        self._database = Database(self._conninfo, config)
        self._store = Store(self._database, config)
        self._ends = Ends(self._store)
        self._totals = Totals()
        self._shift: Shift | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All but running any function, and a retry policy given at the submission."""
        return _CAPABILITIES

    @property
    def phase(self) -> str:
        """In words."""
        return self._lifecycle.phase

    @property
    def left_open(self) -> bool:
        """Whether it was started and not closed."""
        return self._lifecycle.left_open

    @property
    def lease(self) -> float:
        """Seconds without a sign of life after which a worker's tasks go to others."""
        return self._config.lease

    async def migrate(self) -> None:
        """Make the tables that are missing. It may run twice, and in two processes at once.

        Raises:
            DatabaseUnavailableError: The database cannot be reached.
            ConfigurationError: It has an older version of Procrastinate's tables.
        """
        database = Database(self._conninfo, self._config)
        store = Store(database, self._config)
        async with database:
            await store.migrate(procrastinate_schema())
            await store.check()

    async def start(self) -> None:
        """Connect, and look whether the tables are those that this process knows.

        Raises:
            DatabaseUnavailableError: The database cannot be reached.
            ConfigurationError: The tables are missing or of another version; or it was started before.
        """
        self._lifecycle.start()
        try:
            await self._database.open()
            await self._store.check()
        except BaseException:
            self._lifecycle.close()
            await self._database.close()
            raise

    async def submit(self, requests: Sequence[TaskRequest]) -> Sequence[DurableTask]:
        """Take tasks of one spec, all or none; see `TaskExecutor.submit`."""
        self._lifecycle.check_open()
        if not requests:
            return ()
        spec = requests[0].spec
        check_supported(spec.options, self.name, _CAPABILITIES)
        batch = batch_of(requests, self._config.queue_of(spec.name))
        if spec.options.connection is None:
            taken: Sequence[Taken] = await self._store.submit(batch)
        else:
            taken = await submit_within(spec.options.connection, self._config.schema, batch)
        joined = sum(each.joined for each in taken)
        self._totals.joined += joined
        self._totals.submitted += len(taken) - joined
        return [DurableTask(each.id, spec.name, self._store, self._ends) for each in taken]

    async def claim(self, name: str, occurrence: str, /) -> bool:
        """Say whether this process is the one to submit an occurrence of a periodic task; of all processes one is."""
        self._lifecycle.check_open()
        return await self._store.claim(name, occurrence)

    async def find(self, task_id: str) -> DurableTask:
        """The task of an id, whichever process took it."""
        self._lifecycle.check_loop()
        try:
            canonical = str(uuid.UUID(task_id))
        except ValueError:
            raise not_found(task_id) from None
        row = await self._store.get(canonical)
        if row is None:
            raise not_found(task_id)
        return DurableTask(canonical, row["name"], self._store, self._ends)

    async def list(self, status: TaskStatus | None, tags: Mapping[str, TagValue], limit: int) -> Sequence[TaskRecord]:
        """Snapshots of the newest tasks."""
        self._lifecycle.check_loop()
        return [record_of(row) for row in await self._store.list(status, tags, limit)]

    async def dead_letters(self, limit: int = 100) -> Sequence[TaskRecord]:
        """Snapshots of the tasks that ended badly, the last one first; until `failure_ttl` is over.

        Args:
            limit: Most of them.
        """
        self._lifecycle.check_loop()
        check_count("limit", limit)
        return [record_of(row) for row in await self._store.dead_letters(limit)]

    async def requeue(self, task_id: str) -> None:
        """Queue a task that ended badly or was cancelled once more, with all its attempts before it.

        Args:
            task_id: Its id.

        Raises:
            TaskNotFoundError: There is no such task.
            TaskError: It has not ended, it succeeded, or another one has its unique key.
        """
        task = await self.find(task_id)
        answer = await self._store.requeue(task.id)
        if answer is None:
            raise not_found(task_id)
        if answer == "taken":
            raise TaskError(f"task {task.name} ({task.id}) is not queued: an unfinished one has its unique key")
        if answer == "unsuitable":
            raise TaskError(f"task {task.name} ({task.id}) is not queued: it has not ended, or it succeeded")

    async def queue_statistics(self) -> QueueStatistics:
        """The queues and the workers, of all processes."""
        self._lifecycle.check_loop()
        tasks, workers = await self._store.statistics(), await self._store.workers()
        return queue_statistics(tasks, workers, self._config.lease)

    def statistics(self) -> TaskStatistics:
        """What this process took and what its worker ran."""
        taken = self._totals.picture(self.name, now=self._clock.monotonic(), used=0, oldest=None)
        if self._shift is None:
            return taken
        ran = self._shift.engine.statistics()
        return dataclasses.replace(ran, submitted=taken.submitted, joined=taken.joined)

    def vitals(self) -> Vitals | None:
        """How this process's worker is, from any thread; None where none works."""
        return None if self._shift is None else self._shift.lifeline.vitals()

    async def work(
        self, *, concurrency: int = 10, queues: Sequence[str] | None = None, drain: float = 30.0, grace: float = 5.0
    ) -> None:
        """Run tasks, until `drain` or `shutdown` is called or this call is cancelled.

        Args:
            concurrency: Most tasks at once.
            queues: Take tasks from these only; None takes all that this engine submits to.
            drain: When this call is cancelled: longest wait for running tasks, in seconds. Then they are given back.
            grace: Longest wait for cancelled functions to stop, in seconds.

        Raises:
            ConfigurationError: The engine is not started, or works already.
        """
        self._lifecycle.check_open()
        check_count("concurrency", concurrency)
        check_seconds("drain", drain, zero=True)
        check_seconds("grace", grace, zero=True)
        if self._shift is not None:
            raise ConfigurationError(f"task executor {self.name!r} works already; one engine has one worker")
        chosen = sorted({self._config.queue, *self._config.routes.values()}) if queues is None else [*queues]
        for queue in chosen:
            check_queue(queue)
        limits = ExecutorLimits(concurrency, concurrency, concurrency, 1, "raise", 10.0, history=HistoryLimits(1))
        engine = AttemptEngine(self.name, limits, self._clock, self._listeners, self._max_loop_lag)
        pulse = Pulse(self._conninfo, self._config)
        lifeline = Lifeline(self.name, pulse, self._config.heartbeat, self._config.max_freeze)
        station = Station(self._store, engine, self._config, lifeline)
        worker = make_worker(self._database, station, lifeline, name=self.name, concurrency=concurrency, queues=chosen)
        self._shift = Shift(worker, station, engine, lifeline)
        try:
            await self._shift.run(drain, grace)
        finally:
            self._shift = None

    async def drain(self, timeout: float | None) -> bool:
        """Take no more, and wait for what this process's worker runs; what is queued waits for others."""
        self._lifecycle.check_loop()
        self._lifecycle.drain()
        return True if self._shift is None else await self._shift.stop(timeout)

    async def shutdown(self, drain: float, grace: float) -> ShutdownReport:
        """End this process's part; its worker's tasks finish within `drain` seconds or are given back."""
        report = ShutdownReport()
        if not self._lifecycle.started:
            self._lifecycle.close()
            return report
        self._lifecycle.check_loop()
        self._lifecycle.drain()
        if self._shift is not None:
            report = await self._shift.end(drain, grace)
        self._lifecycle.close()
        await self._ends.aclose()
        await self._database.close()
        return report

    def __repr__(self) -> str:
        return f"<ProcrastinateEngine {self.name!r} {self.phase}: {self._where}>"
