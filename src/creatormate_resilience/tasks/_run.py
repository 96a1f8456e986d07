"""One attempt of one task: the asyncio task that carries it, and how it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context

import anyio

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
        context: The context to run it in.
        on_deadline: Called when the attempt's time is over.
        on_end: Called when the attempt has really ended.

    The deadline stands on the event loop's clock, because only the event loop can wake us at it. What is *measured* is
    measured by the executor's clock.
    """

    __slots__ = ("_again", "_loop", "_scope", "_timer", "deadline", "job", "stopped", "task")

    def __init__(
        self,
        job: Job,
        work: Work,
        context: Context,
        *,
        on_deadline: Callable[[Run], None],
        on_end: Callable[[Run], None],
    ) -> None:
        self.job = job
        self.stopped = False
        self.deadline: float | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        # Threads and processes hang on a cancel scope: it is what `anyio.from_thread.check_cancelled` looks at and what
        # kills a worker process, while a cancelled asyncio task would walk away from its thread.
        self._scope = None if job.kind == "async" else anyio.CancelScope()
        body = work() if self._scope is None else _inside(self._scope, work)
        self.task = self._loop.create_task(body, name=job.id, context=context)
        # A callback, not the end of `body`: a task cancelled before its first step never gets into its body.
        self.task.add_done_callback(lambda _: on_end(self), context=context)
        if job.timeout is not None:
            self.deadline = self._loop.time() + job.timeout
            self._timer = self._loop.call_at(self.deadline, on_deadline, self, context=context)

    @property
    def late(self) -> bool:
        """Whether an attempt on the event loop, now at its end, has passed its deadline: it blocked the loop."""
        return self._scope is None and self.deadline is not None and self._loop.time() >= self.deadline

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
        """Drop the timers; when it has ended, or is left to itself."""
        for timer in (self._timer, self._again):
            if timer is not None:
                timer.cancel()

    def _cancel(self, pause: float) -> None:
        if not self.task.done():
            self.task.cancel()
            self._again = self._loop.call_later(pause, self._cancel, min(2 * pause, _LONGEST_PAUSE))


async def _inside(scope: anyio.CancelScope, work: Work) -> object:
    with scope:
        return await work()
    return None  # stopped; who stopped it has already said what became of the task
