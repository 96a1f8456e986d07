"""One task inside the executor: its state, its outcome, and those who wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextvars import Context, copy_context
from datetime import UTC, datetime

from creatormate_resilience.exceptions import ResilienceError, TaskCancelledError, TaskError
from creatormate_resilience.tasks._kinds import Kind, Work
from creatormate_resilience.tasks._options import RetryAdvice, TagValue, TaskOptions, TaskPriority
from creatormate_resilience.tasks._record import TaskProgress, TaskRecord, TaskStatus, may_follow

__all__ = ("Job",)


class Job:
    """A task. The scheduler alone moves it; it belongs to one event loop.

    Args:
        task_id: Its id.
        name: Its name.
        kind: Where it runs.
        options: As submitted.
        work: The function with its arguments, ready to run.
    """

    __slots__ = (
        "attempts",
        "context",
        "delay",
        "ended_at",
        "error",
        "id",
        "kind",
        "name",
        "priority",
        "progress",
        "queued_at",
        "result",
        "retry",
        "started_at",
        "status",
        "submitted_at",
        "tags",
        "timeout",
        "timer",
        "waiters",
        "work",
    )

    def __init__(self, task_id: str, name: str, kind: Kind, options: TaskOptions, work: Work) -> None:
        self.id = task_id
        self.name = name
        self.kind: Kind = kind
        self.priority: TaskPriority = options.priority
        self.tags: Mapping[str, TagValue] = options.tags
        self.timeout: float | None = options.timeout
        self.delay: float = options.delay
        """Seconds to rest before the task joins the queue: at first, and then before each further attempt."""
        self.status = TaskStatus.SCHEDULED
        self.attempts = 0
        self.submitted_at = time.time()
        self.queued_at: float | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.progress: TaskProgress | None = None
        self.result: object = None
        self.error: BaseException | None = None
        self.waiters: set[asyncio.Future[None]] | None = None
        # Dropped at the end, so that a finished task holds nothing but its outcome:
        self.work: Work | None = work
        self.context: Context | None = copy_context()
        self.retry: RetryAdvice | None = options.retry
        self.timer: asyncio.TimerHandle | None = None

    def move(self, status: TaskStatus) -> None:
        """Go to a status that may follow the present one; anything else is a bug of ours and raises."""
        if not may_follow(self.status, status):
            raise AssertionError(f"task {self.id} cannot go from {self.status.name} to {status.name}")
        self.status = status

    def end(self, now: float, result: object, error: BaseException | None) -> None:
        """Keep the outcome, drop the rest, wake those who wait."""
        self.ended_at, self.result, self.error = now, result, error
        self.work = self.context = self.retry = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        waiters, self.waiters = self.waiters or (), None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout: float | None) -> bool:
        """Wait for the end, at most `timeout` seconds of the event loop's clock; True when it has come."""
        if self.status.final:
            return True
        waiter = asyncio.get_running_loop().create_future()
        waiters = self.waiters = self.waiters or set()
        waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout)
        finally:
            waiters.discard(waiter)
        return self.status.final

    def outcome(self) -> object:
        """What the function returned, or raise what stands for its failure. Only for a task that has ended."""
        if self.status is TaskStatus.SUCCEEDED:
            return self.result
        if self.status is TaskStatus.CANCELLED:
            raise TaskCancelledError(f"task {self.name} ({self.id}) was cancelled")
        if isinstance(self.error, ResilienceError):
            raise self.error.with_traceback(None)  # else each raise would add to the last one's
        raise TaskError(f"task {self.name} ({self.id}) failed with {type(self.error).__name__}") from self.error

    def snapshot(self, now: float) -> TaskRecord:
        """How it stands."""
        until = now if self.ended_at is None else self.ended_at
        started = until if self.started_at is None else self.started_at
        return TaskRecord(
            id=self.id,
            name=self.name,
            status=self.status,
            priority=self.priority,
            run_in=self.kind,
            tags=self.tags,
            attempts=self.attempts,
            submitted_at=datetime.fromtimestamp(self.submitted_at, UTC),
            wait_time=0.0 if self.queued_at is None else started - self.queued_at,
            run_time=None if self.started_at is None else until - self.started_at,
            progress=self.progress,
            error=None if self.error is None else TaskError().with_cause(self.error).cause_chain[0],
        )
