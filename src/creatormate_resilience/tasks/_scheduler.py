"""What happens to tasks between their admission and their end. One event loop, no locks, no user code in between."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from contextvars import Context

from anyio import BrokenWorkerProcess

from creatormate_resilience.clock import Clock
from creatormate_resilience.deadline import Deadline
from creatormate_resilience.events import Event, Listener, notify
from creatormate_resilience.exceptions import TaskExpiredError, TaskTimeoutError, WorkerCrashedError
from creatormate_resilience.log import get_logger
from creatormate_resilience.tasks._admission import Admission
from creatormate_resilience.tasks._deadlines import Deadlines
from creatormate_resilience.tasks._engine import TaskSpec
from creatormate_resilience.tasks._events import TaskFinished, TaskRetrying, TaskStarted
from creatormate_resilience.tasks._history import History, without_tracebacks
from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._key_limits import KeyGate
from creatormate_resilience.tasks._limits import ExecutorLimits
from creatormate_resilience.tasks._options import Kind
from creatormate_resilience.tasks._queue import TaskQueue
from creatormate_resilience.tasks._record import MAY_FOLLOW, QUEUED, RETRYING, RUNNING, SUCCEEDED, TaskStatus
from creatormate_resilience.tasks._run import Run
from creatormate_resilience.tasks._slots import Slots
from creatormate_resilience.tasks._statistics import Totals
from creatormate_resilience.tasks._verdict import judge

__all__ = ("Scheduler",)

_log = get_logger("tasks")


class Scheduler:
    """Starts tasks when their turn and a slot have come, and says what became of them.

    Two moments are kept apart: the *verdict*, when a task's status becomes final and its waiters wake, and the *end of
    the run*, when its slot is free again. At a deadline or a cancellation the verdict comes at once; the end comes when
    the function has really stopped.

    Args:
        name: The executor's; source of the events.
        limits: Its limits.
        clock: Measures durations.
        totals: Counts everything.
        admission: Told when there may be room.
        listeners: Told of the events.
    """

    def __init__(
        self,
        name: str,
        limits: ExecutorLimits,
        clock: Clock,
        totals: Totals,
        admission: Admission,
        *,
        listeners: Iterable[Listener],
    ) -> None:
        self.jobs: dict[str, Job] = {}
        """Tasks that have not ended."""
        self.unique: dict[str, Job] = {}
        """Those of them that have a unique key."""
        self.runs: dict[Job, Run] = {}
        """Attempts that have not ended, also of tasks that have."""
        self.history = History(limits.history)
        self.idle = asyncio.Event()
        """Set while no task is unfinished."""
        self.quiet = asyncio.Event()
        """Set while no attempt runs."""
        self.idle.set()
        self.quiet.set()
        self.slots = Slots(limits.max_concurrent, limits.by_kind)
        self.queue: TaskQueue[Kind, Job] = TaskQueue(limits.by_kind, limits.aging)
        self.gate = KeyGate(limits.key_limits)
        self._name = name
        self._clock = clock
        self._totals = totals
        self._admission = admission
        self._listeners = tuple(listeners)
        self._deadlines = Deadlines(self._deadline_passed)
        self._frees: dict[str, asyncio.TimerHandle] = {}

    def startable(self, spec: TaskSpec) -> int:
        """How many further tasks of this spec would start at once."""
        options = spec.options
        if options.delay or self.queue.size:
            return 0
        free = self.slots.free(spec.kind)
        return free if options.key is None else int(min(free, self.gate.free(options.key, self._clock.monotonic())))

    def most_at_once(self, spec: TaskSpec) -> int:
        """How many tasks of this spec can ever start at once."""
        most = 0 if spec.options.delay else self.slots.most(spec.kind)
        return most if spec.options.key is None else int(min(most, self.gate.most(spec.options.key)))

    def take(self, job: Job) -> None:
        """Take a task that was admitted, and its key opened; `dispatch` starts it when its turn has come."""
        options = job.spec.options
        if not self.jobs:
            self.idle.clear()
        self.jobs[job.id] = job
        if options.unique_key is not None:
            self.unique[options.unique_key] = job
        self._totals.submitted += 1
        self._totals.statuses[job.status] += 1
        if job.rest:
            self._rest(job)
        else:
            job.queued_at = now = self._clock.monotonic()
            self.queue.push(job, job.spec.kind, options.priority, now, options.key)
        if options.expires is not None:
            job.expiry = asyncio.get_running_loop().call_later(options.expires, self._expire, job)

    def dispatch(self) -> None:
        """Start what may start."""
        queue, slots = self.queue, self.slots
        while queue.size and slots.open_kinds and (job := queue.pop(slots.open_kinds)) is not None:
            self._start(job)
        if self._admission.crowded:
            self._admission.let_in()

    def cancel(self, job: Job, error: BaseException | None = None) -> bool:
        """Give a task up; False when it had ended. `error` says why, where nobody has asked for it."""
        if job.status.final:
            return False
        self._finish(job, TaskStatus.CANCELLED, error=error)
        run = self.runs.get(job)
        if run is not None and not run.stopped:
            run.stop()
        return True

    def find(self, task_id: str) -> Job | None:
        """The task, unless it is unknown or forgotten."""
        return self.jobs.get(task_id) or self.history.get(task_id, self._clock.monotonic())

    def abandon(self) -> Sequence[Job]:
        """Leave the attempts that did not end to themselves, and say whose they are."""
        for run in self.runs.values():
            run.close()
        for timer in self._frees.values():
            timer.cancel()
        self._frees.clear()
        return tuple(self.runs)

    def tell(self, event: Event) -> None:
        """Tell the listeners."""
        notify(self._listeners, event)

    def _rest(self, job: Job) -> None:
        if job.rest:
            job.timer = asyncio.get_running_loop().call_later(job.rest, self._rested, job)
        else:
            self._enqueue(job)

    def _rested(self, job: Job) -> None:
        self._enqueue(job)
        self.dispatch()

    def _enqueue(self, job: Job) -> None:
        now = self._clock.monotonic()
        job.timer = None
        if job.queued_at is None:
            job.queued_at = now
        self._move(job, QUEUED)
        options = job.spec.options
        self.queue.push(job, job.spec.kind, options.priority, now, options.key)

    def _expire(self, job: Job) -> None:
        job.expiry = None
        if job.status is not RUNNING and job not in self.runs:
            self._finish_expired(job)
            self.dispatch()

    def _finish_expired(self, job: Job) -> None:
        expired = TaskExpiredError(f"task {job.name} could not start within {job.spec.options.expires:g} s")
        if job.error is not None:
            expired.with_cause(job.error)
        self._finish(job, TaskStatus.EXPIRED, error=expired)

    def _start(self, job: Job) -> None:
        spec, context, work = job.spec, job.context, job.work
        options = spec.options
        assert context is not None and work is not None  # noqa: S101, PT018 - they are dropped at the end only
        now = self._clock.monotonic()
        self._move(job, RUNNING)
        self.slots.take(spec.kind)
        if not self.runs:
            self.quiet.clear()
        job.attempts += 1
        if job.started_at is None:
            job.started_at = now
        if options.key is not None:
            self.gate.start(options.key, now)
            self._hold(options.key, now)
        own_context = context if options.retry is None else context.copy()
        deadline = None if options.timeout is None else Deadline(now + options.timeout, self._clock)
        self.runs[job] = run = Run(job, work, own_context, deadline=deadline, on_end=self._run_ended)
        if options.timeout is not None:
            loop = run.get_loop()
            run.deadline = self._deadlines.add(run, options.timeout, loop.time(), loop)
        if self._listeners:
            waited = job.started_at - (job.queued_at or 0.0)
            own_context.run(self.tell, TaskStarted(self._name, job.id, spec.name, job.attempts, waited))

    def _hold(self, key: str, now: float) -> None:
        """Keep the next tasks of a key back where it has no room for one; time or the end of a run frees them."""
        wait = self.gate.wait(key, now)
        if wait:
            self.queue.hold(key)
            if wait != math.inf and key not in self._frees:
                loop = asyncio.get_running_loop()
                self._frees[key] = loop.call_later(wait, self._free_by_time, key, context=Context())

    def _free_by_time(self, key: str) -> None:
        del self._frees[key]
        self._free(key)
        self.dispatch()

    def _free(self, key: str) -> None:
        self.queue.release(key)
        self._hold(key, self._clock.monotonic())

    def _deadline_passed(self, run: Run) -> None:
        if not run.stopped:  # else given up already
            self._time_out(run.job)
            run.stop()

    def _time_out(self, job: Job) -> None:
        timeout = job.spec.options.timeout
        self._fail(job, TaskStatus.TIMED_OUT, TaskTimeoutError(f"task {job.name} ran longer than {timeout:g} s"))

    def _run_ended(self, run: Run, result: object, error: BaseException | None) -> None:
        job = run.job
        if self.runs.get(job) is not run:
            return
        del self.runs[job]
        if run.stopped:
            run.close()
        if run.deadline is not None:
            self._deadlines.remove(run, job.spec.options.timeout or 0.0)
        self.slots.give_back(job.spec.kind)
        if not run.stopped:
            if error is None and (run.deadline is None or not run.late):
                self._finish(job, SUCCEEDED, result=result)
            else:
                self._settle(run, error)
        if job.status is RETRYING:
            self._rest_again(job)
        key = job.spec.options.key
        if key is not None:
            self.gate.end(key, self._clock.monotonic())
            self._free(key)
        self.dispatch()
        if not self.runs:
            self.quiet.set()

    def _settle(self, run: Run, error: BaseException | None) -> None:
        """Say what became of an attempt that did not succeed and was not stopped by us."""
        job = run.job
        if isinstance(error, asyncio.CancelledError):  # by the event loop's end, or by the function itself
            self._finish(job, TaskStatus.CANCELLED)
        elif run.late or error is None:
            self._time_out(job)
        elif job.spec.kind == "process" and isinstance(error, BrokenWorkerProcess):
            # Not retried: whether its work was done is not known, and delivery here is at most once.
            what = "could not start" if error.args else "died"
            crash = WorkerCrashedError(f"the worker process of task {job.name} {what}").with_cause(error)
            self._finish(job, TaskStatus.LOST, error=crash)
        else:
            self._fail(job, TaskStatus.FAILED, error)

    def _fail(self, job: Job, status: TaskStatus, error: BaseException) -> None:
        verdict = judge(job.spec.options.retry, job.attempts, status, error)
        if verdict.status is not RETRYING:
            self._finish(job, verdict.status, error=error)
            return
        without_tracebacks(error)
        job.rest, job.error = verdict.delay, error
        if verdict.counts:
            self._totals.retries += 1
        else:
            self._totals.postponed += 1
        self._move(job, RETRYING)  # it rests from the end of the run on: never two attempts at once
        self.tell(TaskRetrying(self._name, job.id, job.name, job.attempts, verdict.delay))
        if not verdict.counts:
            job.attempts -= 1

    def _rest_again(self, job: Job) -> None:
        if job.spec.options.expires is not None and job.expiry is None:
            self._finish_expired(job)
        else:
            self._rest(job)

    def _finish(
        self, job: Job, status: TaskStatus, *, result: object = None, error: BaseException | None = None
    ) -> None:
        now = self._clock.monotonic()
        spec = job.spec
        options = spec.options
        if job.status is QUEUED:
            self.queue.remove(job, spec.kind, options.priority, options.key)
        self._move(job, status)
        if error is not None:
            _log.error("a task ended badly", task=spec.name, id=job.id, status=status.value, exc_info=error)
            without_tracebacks(error)
        run_time = None
        if job.started_at is not None:
            run_time = now - job.started_at
            waited = job.started_at - (job.queued_at or 0.0)
            self._totals.ended(spec.name, options.priority, waited, run_time, succeeded=status is SUCCEEDED)
        self._totals.throughput.count(now)
        del self.jobs[job.id]
        if options.unique_key is not None:
            self.unique.pop(options.unique_key, None)
        if options.key is not None:
            self.gate.close(options.key, now)
        job.end(now, result, error)
        self.history.add(job, now)
        if not self.jobs:
            self.idle.set()
        if self._listeners:
            self.tell(TaskFinished(self._name, job.id, spec.name, job.attempts, status, run_time))

    def _move(self, job: Job, status: TaskStatus) -> None:
        old = job.status
        if status not in MAY_FOLLOW[old]:  # a bug of ours
            raise AssertionError(f"task {job.id} cannot go from {old.name} to {status.name}")
        statuses = self._totals.statuses
        statuses[old] -= 1
        statuses[status] += 1
        job.status = status
