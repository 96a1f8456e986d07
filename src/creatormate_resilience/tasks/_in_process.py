"""The engine of this process: tasks in memory, delivered at most once."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextvars import copy_context
from typing import NoReturn

from creatormate_resilience.clock import Clock
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import TaskCancelledError, TaskNotFoundError, TaskQueueFullError
from creatormate_resilience.log import get_logger
from creatormate_resilience.tasks._admission import Admission
from creatormate_resilience.tasks._engine import Capability, TaskRequest, TaskSpec, check_supported
from creatormate_resilience.tasks._envelope import check_portable
from creatormate_resilience.tasks._events import LoopBlocked, TaskRejected
from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._kinds import bind
from creatormate_resilience.tasks._lifecycle import Lifecycle
from creatormate_resilience.tasks._limits import ExecutorLimits
from creatormate_resilience.tasks._loop_watch import LoopWatch
from creatormate_resilience.tasks._options import TagValue
from creatormate_resilience.tasks._record import RUNNING, TaskRecord, TaskStatus
from creatormate_resilience.tasks._scheduler import Scheduler
from creatormate_resilience.tasks._shutdown import ShutdownReport
from creatormate_resilience.tasks._statistics import TaskStatistics, Totals
from creatormate_resilience.tasks._waiting import set_within

__all__ = ("InProcessEngine",)

_log = get_logger("tasks")


class InProcessEngine:
    """Takes tasks into memory and runs them on the event loop, in threads and in worker processes.

    Args:
        name: The executor's; source of the events.
        limits: What it may take and run.
        clock: Measures durations.
        listeners: Told of the events.
        max_loop_lag: Seconds the event loop may stand still before that is told; None does not watch it.
    """

    def __init__(
        self,
        name: str,
        limits: ExecutorLimits,
        clock: Clock,
        listeners: Iterable[Listener],
        max_loop_lag: float | None,
    ) -> None:
        self.name = name
        self.node = secrets.token_hex(4)
        """Begins the ids of its tasks."""
        self._tokens = _tokens()
        self._clock = clock
        self._totals = Totals()
        self._limits = limits
        self._admission = Admission(name, limits.max_queue, limits.max_concurrent, self._totals)
        self._scheduler = Scheduler(name, limits, clock, self._totals, self._admission, listeners=listeners)
        self._lifecycle = Lifecycle(name)
        self._watch = None if max_loop_lag is None else LoopWatch(name, max_loop_lag, self._loop_blocked)
        self.check_loop = self._lifecycle.check_loop
        self.check_open = self._lifecycle.check_open
        self.now = clock.monotonic

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All but what needs a memory beyond this process."""
        return frozenset(Capability) - {Capability.TRANSACTION, Capability.DURABLE}

    @property
    def phase(self) -> str:
        """In words."""
        return self._lifecycle.phase

    @property
    def left_open(self) -> bool:
        """Whether it was started and not closed."""
        return self._lifecycle.left_open

    async def start(self) -> None:
        """Begin to take tasks, on the running event loop; see `TaskExecutor.start`."""
        loop = self._lifecycle.start()
        if self._watch is not None:
            self._watch.start(loop)

    async def submit(self, requests: Sequence[TaskRequest]) -> Sequence[Job]:
        """Take tasks of one spec, all or none; see `TaskExecutor.submit`."""
        if asyncio._get_running_loop() is not self._lifecycle.open_on:
            self._lifecycle.check_open()
        if not requests:
            return ()
        scheduler, spec = self._scheduler, requests[0].spec
        options = spec.options
        if options.connection is not None:
            check_supported(options, "in this process", self.capabilities)
        if options.unique_key is not None and (twin := self._twin(options.unique_key)) is not None:
            return (twin,)
        jobs = [self._make(request) for request in requests]
        if options.key is not None and scheduler.gate.open(options.key, len(jobs)):
            self._check_places(spec, len(jobs), options.key)
        missing = 0
        if not self._admission.fits(len(jobs)):
            missing = self._admission.excess(len(jobs), scheduler.startable(spec))
        if missing and (twin := await self._make_room(spec, len(jobs), missing)) is not None:
            return (twin,)
        for job in jobs:
            scheduler.take(job)
        if scheduler.slots.open_kinds:
            scheduler.dispatch()
        return jobs

    async def find(self, task_id: str) -> Job:
        """The task of an id; see `TaskExecutor.get`."""
        job = self._scheduler.find(task_id)
        if job is not None:
            return job
        node, separator, _ = task_id.partition("-")
        if separator and node != self.node:
            raise TaskNotFoundError(
                f"task {task_id!r:.100} was not submitted here: it names executor {node!r:.40}, this is {self.node!r}, "
                "and tasks in memory are known only to the process that took them"
            )
        raise TaskNotFoundError(f"task {task_id!r:.100} was never submitted, or it ended and was forgotten since")

    async def claim(self, _name: str, _occurrence: str, /) -> bool:
        """Always: nobody else has these tasks."""
        return True

    async def list(self, status: TaskStatus | None, tags: Mapping[str, TagValue], limit: int) -> Sequence[TaskRecord]:
        """Snapshots of the tasks that are known, unfinished ones and then those that ended last first."""
        now, wanted, found = self._clock.monotonic(), tags.items(), list[TaskRecord]()
        for jobs in (reversed(self._scheduler.jobs.values()), self._scheduler.history.all(now)):
            for job in jobs:
                if len(found) >= limit:
                    return found
                if (status is None or job.status is status) and wanted <= job.tags.items():
                    found.append(job.snapshot(now))
        return found

    def cancel(self, job: Job) -> bool:
        """Give a task up; False when it had ended."""
        cancelled = self._scheduler.cancel(job)
        self._scheduler.dispatch()  # there may be room now for who waits to be taken
        return cancelled

    def statistics(self) -> TaskStatistics:
        """A snapshot."""
        scheduler = self._scheduler
        return self._totals.picture(
            self.name, now=self._clock.monotonic(), used=scheduler.slots.used, oldest=scheduler.queue.oldest()
        )

    async def drain(self, timeout: float | None) -> bool:
        """Take no more tasks and wait for those there are; False when `timeout` seconds were not enough."""
        self._lifecycle.check_loop()
        self._lifecycle.drain()
        self._admission.refuse_all(self._lifecycle.shutting_down())
        return await set_within(self._scheduler.idle, timeout)

    async def shutdown(self, drain: float, grace: float) -> ShutdownReport:
        """End everything, in bounded time, and say what became of each task; see `TaskExecutor.shutdown`."""
        unfinished = tuple(self._scheduler.jobs.values())
        if drain and self._lifecycle.started:
            await self.drain(drain)
        if self._lifecycle.started:
            self._lifecycle.check_loop()
        self._lifecycle.close()
        self._admission.refuse_all(self._lifecycle.shutting_down())
        running = frozenset(job for job in unfinished if job in self._scheduler.runs)
        for job in unfinished:
            self._scheduler.cancel(job)
        try:
            await set_within(self._scheduler.quiet, grace)
        finally:  # also for who has no patience for the grace
            left = frozenset(self._scheduler.abandon())
            if self._watch is not None:
                self._watch.stop()
        return self._report(unfinished, running, left)

    def _report(self, unfinished: Sequence[Job], running: Set[Job], left: Set[Job]) -> ShutdownReport:
        groups: dict[str, list[TaskRecord]] = {}
        now = self._clock.monotonic()
        for job in (*unfinished, *(left - set(unfinished))):
            groups.setdefault(_fate(job, running, left), []).append(job.snapshot(now))
        report = ShutdownReport(**groups)
        if set(groups) - {"finished"}:
            names = sorted({job.name for job in left})
            log = _log.error if left else _log.warning
            log(
                "an executor was closed before its tasks had ended",
                executor=self.name,
                tasks=str(report),
                left=names[:20],
            )
        return report

    def _make(self, request: TaskRequest) -> Job:
        fn, args, kwargs, spec = request
        if spec.options.portable:
            check_portable(request)
        return Job(f"{self.node}-{next(self._tokens)}", spec, bind(fn, args, kwargs, spec.kind), copy_context(), self)

    async def _make_room(self, spec: TaskSpec, count: int, missing: int) -> Job | None:
        """Find places for tasks; None when they are theirs, or the task that came before them with their unique key."""
        options, twin, found = spec.options, None, False
        try:
            if (
                self._limits.when_full == "drop_lowest"
                and self._scheduler.queue.count_below(options.priority) >= missing
            ):
                for _ in range(missing):
                    self._drop_lowest()
            elif (
                self._limits.when_full == "wait"
                and count <= self._scheduler.most_at_once(spec) + self._limits.max_queue
            ):
                await self._admission.wait(count, functools.partial(self._scheduler.startable, spec))
                self._lifecycle.check_open()
                twin = None if options.unique_key is None else self._twin(options.unique_key)
            else:
                self._refuse(count, self._admission.full(count))
            found = twin is None
        finally:
            if not found:
                if options.key is not None:
                    self._scheduler.gate.close(options.key, self._clock.monotonic(), count)
                self._scheduler.dispatch()  # the places are free for others
        return twin

    def _check_places(self, spec: TaskSpec, count: int, key: str) -> None:
        """Refuse tasks of a key, counted already, if more of them would wait than may."""
        scheduler = self._scheduler
        unfinished, most = scheduler.gate.places(key)
        running = sum(job.status is RUNNING and job.spec.options.key == key for job in scheduler.runs)
        waiting = unfinished - count - running
        if waiting + max(0, count - scheduler.startable(spec)) > most:
            scheduler.gate.close(key, self._clock.monotonic(), count)
            self._refuse(count, self._admission.full_for(key, waiting, most, count))

    def _refuse(self, count: int, full: TaskQueueFullError) -> NoReturn:
        self._totals.rejected += count
        self._scheduler.tell(TaskRejected(self.name, count, full.retry_after or 0.0))
        raise full

    def _twin(self, unique_key: str) -> Job | None:
        twin = self._scheduler.unique.get(unique_key)
        self._totals.joined += twin is not None
        return twin

    def _drop_lowest(self) -> None:
        job = self._scheduler.queue.lowest()
        assert job is not None  # noqa: S101 - it was counted
        why = f"task {job.name} ({job.id}) was dropped from a full queue, because a more urgent one came"
        self._totals.dropped += 1
        self._scheduler.cancel(job, TaskCancelledError(why))

    def _loop_blocked(self, task_name: str | None, where: str, seconds: float) -> None:
        self._totals.blocked += 1
        job = None if task_name is None else self._scheduler.find(task_name)
        name = task_name if job is None else job.name
        _log.warning(
            "the event loop stood still", executor=self.name, task=name, where=where, seconds=round(seconds, 3)
        )
        self._scheduler.tell(LoopBlocked(self.name, None if job is None else job.id, name, where, seconds))


def _tokens() -> Iterator[str]:
    """Ids that cannot be guessed: who knows an id may ask for the result."""
    while True:
        digits = os.urandom(4096).hex()  # asking the kernel for each costs more than all else about an id
        yield from (digits[start : start + 16] for start in range(0, len(digits), 16))


def _fate(job: Job, running: Set[Job], left: Set[Job]) -> str:
    if job in left:
        return "left"
    if job.status is not TaskStatus.CANCELLED:
        return "finished"
    if job.started_at is None:
        return "never_started"
    return "killed" if job.spec.kind == "process" and job in running else "stopped"
