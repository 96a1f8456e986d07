"""One task in this process: its state, its outcome, and those who wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextvars import Context
from datetime import UTC, datetime
from typing import Protocol

from creatormate_resilience.exceptions import (
    ResilienceError,
    TaskCancelledError,
    TaskError,
    TaskResultTimeoutError,
)
from creatormate_resilience.tasks._engine import TaskSpec
from creatormate_resilience.tasks._kinds import Work
from creatormate_resilience.tasks._options import Kind, TagValue
from creatormate_resilience.tasks._record import QUEUED, SCHEDULED, TaskProgress, TaskRecord, TaskStatus

__all__ = ("Job", "Owner")


class Owner(Protocol):
    """Where a task lives."""

    def check_loop(self) -> None:
        """Refuse a call from another event loop than its own."""
        ...

    def cancel(self, job: Job) -> bool:
        """Give a task up; False when it had ended."""
        ...

    def now(self) -> float:
        """Seconds of its clock."""
        ...


class Job:
    """A task. The scheduler alone moves it; it belongs to one event loop.

    Args:
        task_id: Its id.
        spec: Its name, its kind and its options.
        work: The function with its arguments, ready to run.
        context: The submitter's, copied.
        owner: Where it lives.
    """

    __slots__ = (
        "attempts",
        "context",
        "ended_at",
        "error",
        "expiry",
        "id",
        "owner",
        "progress",
        "queued_at",
        "rest",
        "result",
        "spec",
        "started_at",
        "status",
        "submitted_at",
        "timer",
        "waiters",
        "work",
    )

    def __init__(self, task_id: str, spec: TaskSpec, work: Work, context: Context, owner: Owner) -> None:
        self.id = task_id
        self.spec = spec
        self.owner = owner
        self.attempts = 0
        self.submitted_at = time.time()
        self.queued_at: float | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.progress: TaskProgress | None = None
        self.result: object = None
        self.error: BaseException | None = None
        self.waiters: set[asyncio.Future[None]] | None = None
        self.rest = spec.options.delay
        """Seconds to rest before the task joins the queue: at first, and then before each further attempt."""
        self.status = SCHEDULED if self.rest else QUEUED
        # Dropped at the end, so that a finished task holds nothing but its outcome:
        self.work: Work | None = work
        self.context: Context | None = context
        self.timer: asyncio.TimerHandle | None = None
        """Ends its rest."""
        self.expiry: asyncio.TimerHandle | None = None
        """Ends its chances to start; None where it has, or never will."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def kind(self) -> Kind:
        """Where it runs."""
        return self.spec.kind

    @property
    def tags(self) -> Mapping[str, TagValue]:
        """Its tags."""
        return self.spec.options.tags

    def report(self, progress: TaskProgress) -> None:
        """Take note of how far it says it is, unless it was given up."""
        if not self.status.final:
            self.progress = progress

    def end(self, now: float, result: object, error: BaseException | None) -> None:
        """Keep the outcome, drop the rest, wake those who wait."""
        self.ended_at, self.result, self.error = now, result, error
        self.work = self.context = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None
        if self.waiters is not None:
            waiters, self.waiters = self.waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def outcome(self, timeout: float | None) -> object:
        """What the function returned, or raise what stands for its failure, once it has ended.

        Args:
            timeout: Longest wait, in seconds of the event loop's clock; None waits for ever.

        Raises:
            TaskResultTimeoutError: It has not ended within that time.
        """
        if not self.status.final:
            self.owner.check_loop()
            await self._wait(timeout)
            if not self.status.final:
                raise TaskResultTimeoutError(f"task {self.name} ({self.id}) has not ended within {timeout:g} s")
        return self._outcome()

    async def cancel(self) -> bool:
        """Cancel it; False when it had ended."""
        if self.status.final:
            return False
        self.owner.check_loop()
        return self.owner.cancel(self)

    async def record(self) -> TaskRecord:
        """How it stands."""
        return self.snapshot(self.owner.now())

    def snapshot(self, now: float) -> TaskRecord:
        """How it stood at a moment."""
        until = now if self.ended_at is None else self.ended_at
        started = until if self.started_at is None else self.started_at
        options = self.spec.options
        return TaskRecord(
            id=self.id,
            name=self.name,
            status=self.status,
            priority=options.priority,
            run_in=self.kind,
            tags=options.tags,
            key=options.key,
            attempts=self.attempts,
            submitted_at=datetime.fromtimestamp(self.submitted_at, UTC),
            wait_time=0.0 if self.queued_at is None else started - self.queued_at,
            run_time=None if self.started_at is None else until - self.started_at,
            progress=self.progress,
            error=None if self.error is None else TaskError().with_cause(self.error).cause_chain[0],
        )

    async def _wait(self, timeout: float | None) -> None:
        waiter = asyncio.get_running_loop().create_future()
        waiters = self.waiters = self.waiters or set()
        waiters.add(waiter)
        try:
            if timeout is None:
                await waiter
            else:
                await asyncio.wait((waiter,), timeout=timeout)
        finally:
            waiters.discard(waiter)

    def _outcome(self) -> object:
        if self.status is TaskStatus.SUCCEEDED:
            return self.result
        what = f"task {self.name} ({self.id})"
        if self.status is TaskStatus.CANCELLED and self.error is None:
            raise TaskCancelledError(f"{what} was cancelled")
        if isinstance(self.error, ResilienceError):
            raise self.error.with_traceback(None)  # else each raise would add to the last one's
        raise TaskError(f"{what} failed with {type(self.error).__name__}") from self.error

    def __repr__(self) -> str:
        return f"{self.id} {self.name} {self.status.name}"
