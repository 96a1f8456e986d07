"""What happens to tasks between their submission and their end. One event loop, no locks, no user code in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from anyio import BrokenWorkerProcess

from creatormate_resilience.clock import Clock
from creatormate_resilience.deadline import Deadline, replace_deadline
from creatormate_resilience.events import Event, Listener, notify
from creatormate_resilience.exceptions import TaskQueueFullError, TaskTimeoutError, WorkerCrashedError
from creatormate_resilience.log import get_logger
from creatormate_resilience.tasks._current import CurrentTask, running_task
from creatormate_resilience.tasks._events import TaskFinished, TaskRejected, TaskRetrying, TaskStarted
from creatormate_resilience.tasks._history import History, without_tracebacks
from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._kinds import Kind
from creatormate_resilience.tasks._limits import ExecutorLimits
from creatormate_resilience.tasks._options import check_seconds
from creatormate_resilience.tasks._queue import TaskQueue
from creatormate_resilience.tasks._record import TaskStatus
from creatormate_resilience.tasks._run import Run
from creatormate_resilience.tasks._slots import Slots
from creatormate_resilience.tasks._statistics import TaskStatistics, Totals

__all__ = ("Scheduler",)

_log = get_logger("tasks")


class Scheduler:
    """Takes tasks, starts them when their turn and a slot have come, and says what became of them.

    Two moments are kept apart: the *verdict*, when a task's status becomes final and its waiters wake, and the *end of
    the run*, when its slot is free again. At a deadline or a cancellation the verdict comes at once; the end comes when
    the function has really stopped.

    Args:
        name: The executor's; source of the events.
        limits: Its limits.
        clock: Measures durations.
        listeners: Told of the events.
    """

    def __init__(self, name: str, limits: ExecutorLimits, clock: Clock, listeners: Iterable[Listener]) -> None:
        self.jobs: dict[str, Job] = {}
        """Tasks that have not ended."""
        self.runs: dict[Job, Run] = {}
        """Attempts that have not ended, also of tasks that have."""
        self.history = History(limits.history)
        self.idle = asyncio.Event()
        """Set while no task is unfinished."""
        self.quiet = asyncio.Event()
        """Set while no attempt runs."""
        self.idle.set()
        self.quiet.set()
        self._name = name
        self._clock = clock
        self._listeners = tuple(listeners)
        self._max_queue = limits.max_queue
        self._max_concurrent = limits.max_concurrent
        self._slots = Slots(limits.max_concurrent, limits.by_kind)
        self._queue: TaskQueue[Kind, Job] = TaskQueue(limits.by_kind, limits.aging)
        self._totals = Totals()

    def admit(self, jobs: Sequence[Job]) -> None:
        """Take tasks of one kind and one delay: all of them or, when the queue has no room for all, none.

        Raises:
            TaskQueueFullError: There is no room.
        """
        if not jobs:
            return
        self._check_room(jobs[0], len(jobs))
        self.idle.clear()
        for job in jobs:
            self.jobs[job.id] = job
            self._totals.submitted += 1
            self._totals.moved(None, job.status)
            self._rest(job)
        self._dispatch()

    def cancel(self, job: Job) -> bool:
        """Give a task up; False when it had ended."""
        run = self.runs.get(job)
        if run is not None and run.task.done():
            self._run_ended(run)  # it has ended before us, and only the news was still on its way
        if job.status.final:
            return False
        self._finish(job, TaskStatus.CANCELLED)
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
        return tuple(self.runs)

    def statistics(self) -> TaskStatistics:
        """A snapshot."""
        totals, statuses = self._totals, self._totals.statuses
        oldest = self._queue.oldest()
        return TaskStatistics(
            name=self._name,
            submitted=totals.submitted,
            succeeded=statuses[TaskStatus.SUCCEEDED],
            failed=statuses[TaskStatus.FAILED],
            timed_out=statuses[TaskStatus.TIMED_OUT],
            cancelled=statuses[TaskStatus.CANCELLED],
            lost=statuses[TaskStatus.LOST],
            retries=totals.retries,
            rejected=totals.rejected,
            scheduled=statuses[TaskStatus.SCHEDULED],
            queued=statuses[TaskStatus.QUEUED],
            running=statuses[TaskStatus.RUNNING],
            retrying=statuses[TaskStatus.RETRYING],
            zombies=self._slots.used - statuses[TaskStatus.RUNNING],
            oldest_wait=0.0 if oldest is None else self._clock.monotonic() - oldest,
            mean_wait=totals.mean_wait,
            mean_run=totals.mean_run,
        )

    def _check_room(self, job: Job, count: int) -> None:
        starting = 0 if job.delay else self._slots.free(job.kind)
        if count <= starting or self._totals.waiting + count - starting <= self._max_queue:
            return
        self._totals.rejected += count
        retry_after = self._totals.relief(self._max_concurrent)
        self._tell(TaskRejected(self._name, count, retry_after))
        raise TaskQueueFullError(
            f"the queue of {self._name!r} holds {self._totals.waiting} of {self._max_queue} tasks",
            retry_after=retry_after,
        )

    def _rest(self, job: Job) -> None:
        if job.delay:
            job.timer = asyncio.get_running_loop().call_later(job.delay, self._rested, job)
        else:
            self._enqueue(job)

    def _rested(self, job: Job) -> None:
        self._enqueue(job)
        self._dispatch()

    def _enqueue(self, job: Job) -> None:
        now = self._clock.monotonic()
        job.timer = None
        if job.queued_at is None:
            job.queued_at = now
        self._move(job, TaskStatus.QUEUED)
        self._queue.push(job, job.kind, job.priority, now)

    def _dispatch(self) -> None:
        while (kinds := self._slots.open_kinds()) and (job := self._queue.pop(kinds)) is not None:
            self._start(job)

    def _start(self, job: Job) -> None:
        assert job.context is not None  # noqa: S101 - they are dropped at the end only
        assert job.work is not None  # noqa: S101
        now = self._clock.monotonic()
        context = job.context.copy()
        context.run(running_task.set, CurrentTask(job))
        # The submitter's deadline is over long before a background task is: each attempt gets its own, or none.
        context.run(replace_deadline, None if job.timeout is None else Deadline(now + job.timeout, self._clock))
        self._move(job, TaskStatus.RUNNING)
        self._slots.take(job.kind)
        self.quiet.clear()
        job.attempts += 1
        if job.started_at is None:
            job.started_at = now
            self._totals.started += 1
            self._totals.wait_seconds += now - (job.queued_at or now)
        self.runs[job] = Run(job, job.work, context, on_deadline=self._deadline_passed, on_end=self._run_ended)
        if self._listeners:
            waited = job.started_at - (job.queued_at or now)
            self._tell(TaskStarted(self._name, job.id, job.name, job.attempts, waited))

    def _deadline_passed(self, run: Run) -> None:
        if run.stopped or run.task.done():  # given up already, or its end is on the way
            return
        self._time_out(run.job)
        run.stop()

    def _time_out(self, job: Job) -> None:
        self._fail(job, TaskStatus.TIMED_OUT, TaskTimeoutError(f"task {job.name} ran longer than {job.timeout:g} s"))

    def _run_ended(self, run: Run) -> None:
        job = run.job
        if self.runs.get(job) is not run:
            return
        del self.runs[job]
        run.close()
        self._slots.give_back(job.kind)
        error = None if run.task.cancelled() else run.task.exception()
        if not run.stopped:
            self._settle(run, error)
        if job.status is TaskStatus.RETRYING:
            self._rest(job)
        self._dispatch()
        if not self.runs:
            self.quiet.set()

    def _settle(self, run: Run, error: BaseException | None) -> None:
        job = run.job
        if run.task.cancelled():  # by the event loop's end, or by the function itself
            self._finish(job, TaskStatus.CANCELLED)
        elif run.late:
            self._time_out(job)
        elif error is None:
            self._finish(job, TaskStatus.SUCCEEDED, result=run.task.result())
        elif job.kind == "process" and isinstance(error, BrokenWorkerProcess):
            # Not retried: whether its work was done is not known, and delivery here is at most once.
            crash = WorkerCrashedError(f"the worker process of task {job.name} died").with_cause(error)
            self._finish(job, TaskStatus.LOST, error=crash)
        else:
            self._fail(job, TaskStatus.FAILED, error)

    def _fail(self, job: Job, status: TaskStatus, error: BaseException) -> None:
        delay = self._delay_before_next(job, error)
        if delay is None:
            self._finish(job, status, error=error)
            return
        job.delay = delay
        self._totals.retries += 1
        self._move(job, TaskStatus.RETRYING)  # it rests from the end of the run on: never two attempts at once
        self._tell(TaskRetrying(self._name, job.id, job.name, job.attempts, delay))

    def _delay_before_next(self, job: Job, error: BaseException) -> float | None:
        retry = job.retry
        try:
            if retry is None or job.attempts >= retry.max_attempts:
                return None
            delay = retry.delay_before(job.attempts, error)
            if delay is not None:
                check_seconds("the delay from the retry policy", delay, zero=True)
        except Exception as fault:  # noqa: BLE001 - the policy is the caller's; its fault must not lose the task's end
            _log.error("a retry policy raised; the task is not tried again", task=job.name, id=job.id, exc_info=fault)
            return None
        return delay

    def _finish(
        self, job: Job, status: TaskStatus, *, result: object = None, error: BaseException | None = None
    ) -> None:
        now = self._clock.monotonic()
        if job.status is TaskStatus.QUEUED:
            self._queue.remove(job, job.kind, job.priority)
        self._move(job, status)
        if error is not None:
            _log.error("a task ended badly", task=job.name, id=job.id, status=status.value, exc_info=error)
            without_tracebacks(error)
        run_time = None if job.started_at is None else now - job.started_at
        if run_time is not None:
            self._totals.ran += 1
            self._totals.run_seconds += run_time
        del self.jobs[job.id]
        job.end(now, result, error)
        self.history.add(job, now)
        if not self.jobs:
            self.idle.set()
        if self._listeners:
            self._tell(TaskFinished(self._name, job.id, job.name, job.attempts, status, run_time))

    def _move(self, job: Job, status: TaskStatus) -> None:
        self._totals.moved(job.status, status)
        job.move(status)

    def _tell(self, event: Event) -> None:
        notify(self._listeners, event)
