"""One attempt of one task: the asyncio task that carries it, and how it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context

import anyio

from creatormate_resilience.clock import Clock
from creatormate_resilience.deadline import Deadline, replace_deadline
from creatormate_resilience.tasks._current import running_task
from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._kinds import Work

__all__ = ("Run",)

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class Run:
    """An attempt from its start to its real end, which may come long after the task was given up.

    Args:
        job: The task.
        work: Its function and arguments.
        context: The context to run it in, its own.
        clock: What the attempt's deadline is shown on.
        on_end: Called when the attempt has really ended.
    """

    __slots__ = ("_again", "_on_end", "_scope", "deadline", "job", "stopped", "task")

    def __init__(self, job: Job, work: Work, context: Context, *, clock: Clock, on_end: Callable[[Run], None]) -> None:
        self.job = job
        self.stopped = False
        self.deadline: float | None = None
        """Seconds of the event loop's clock, because only the event loop can wake us at it."""
        self._on_end = on_end
        self._again: asyncio.TimerHandle | None = None
        timeout = job.spec.options.timeout
        # The submitter's deadline is over long before a background task is: each attempt gets its own, or none.
        shown = None if timeout is None else Deadline(clock.monotonic() + timeout, clock)
        # Threads and processes hang on a cancel scope: it is what `anyio.from_thread.check_cancelled` looks at and what
        # kills a worker process, while a cancelled asyncio task would walk away from its thread.
        self._scope = None if job.spec.kind == "async" else anyio.CancelScope()
        body = _carry(job, shown, work) if self._scope is None else _inside(self._scope, job, shown, work)
        # Not `loop.create_task`: an eager task factory would run the function in the middle of our own work.
        self.task = asyncio.Task(body, name=job.id, context=context)
        # A callback, not the end of `body`: a task cancelled before its first step never gets into its body.
        self.task.add_done_callback(self._ended, context=context)

    @property
    def late(self) -> bool:
        """Whether an attempt on the event loop, now at its end, has passed its deadline: it blocked the loop."""
        return self.deadline is not None and self._scope is None and self.task.get_loop().time() >= self.deadline

    def stop(self) -> None:
        """Ask it to end, as hard as its kind allows.

        On the event loop it is cancelled, and again after growing pauses as long as it goes on. A thread is asked: it
        ends when it looks at `anyio.from_thread.check_cancelled()`, or by itself. A worker process is killed.
        """
        self.stopped = True
        if self._scope is not None:
            self._scope.cancel()
        else:
            self._cancel(_FIRST_PAUSE)

    def close(self) -> None:
        """Cancel it no more; when it has ended, or is left to itself."""
        if self._again is not None:
            self._again.cancel()

    def _ended(self, _task: asyncio.Task[object]) -> None:
        self._on_end(self)

    def _cancel(self, pause: float) -> None:
        if not self.task.done():
            self.task.cancel()
            self._again = self.task.get_loop().call_later(pause, self._cancel, min(2 * pause, _LONGEST_PAUSE))


async def _carry(job: Job, deadline: Deadline | None, work: Work) -> object:
    running_task.set(job)
    replace_deadline(deadline)
    return await work()


async def _inside(scope: anyio.CancelScope, job: Job, deadline: Deadline | None, work: Work) -> object:
    with scope:
        return await _carry(job, deadline, work)
    return None  # stopped; who stopped it has already said what became of the task
