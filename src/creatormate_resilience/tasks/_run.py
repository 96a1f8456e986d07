"""One attempt of one task: the asyncio task that carries it, and how it is stopped."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from contextvars import Context
from types import CoroutineType
from typing import Any, cast

import anyio

from creatormate_resilience.deadline import Deadline, replace_deadline
from creatormate_resilience.exceptions import TaskError
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
        deadline: Shown to the function; the submitter's is over long before a background task is.
        on_end: Called when the attempt has really ended.
    """

    __slots__ = ("_again", "_scope", "deadline", "job", "stopped", "task")

    def __init__(
        self,
        job: Job,
        work: Work,
        context: Context,
        *,
        deadline: Deadline | None,
        on_end: Callable[[Run, object], None],
    ) -> None:
        self.job = job
        self.stopped = False
        self.deadline: float | None = None
        """Seconds of the event loop's clock, because only the event loop can wake us at it."""
        self._again: asyncio.TimerHandle | None = None
        self._scope: anyio.CancelScope | None = None
        body = _carry(job, deadline, work)
        if job.spec.kind != "async":
            # Threads and processes hang on a cancel scope: it is what `anyio.from_thread.check_cancelled` looks at and
            # what kills a worker process, while a cancelled asyncio task would walk away from its thread.
            self._scope = anyio.CancelScope()
            body = _inside(self._scope, body)
        # Not `loop.create_task`: an eager task factory would run the function in the middle of our own work.
        self.task = asyncio.Task(body, name=job.id, context=context)
        # A callback, not the end of `body`: a task cancelled before its first step never gets into its body.
        self.task.add_done_callback(functools.partial(on_end, self), context=context)

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

    def _cancel(self, pause: float) -> None:
        if not self.task.done():
            self.task.cancel()
            self._again = self.task.get_loop().call_later(pause, self._cancel, min(2 * pause, _LONGEST_PAUSE))


async def _carry(job: Job, deadline: Deadline | None, work: Work) -> object:
    running_task.set(job)
    replace_deadline(deadline)
    try:
        answer: Any = work()
        if type(answer) is CoroutineType:  # nearly always; the question below costs as much as all the rest
            return cast("object", await answer)
        if not inspect.isawaitable(answer):
            raise TypeError(f"run_in is 'async', and the function returned a {type(answer).__name__}, not an awaitable")
        return await answer
    except SystemExit as error:  # asyncio would end the whole loop
        raise TaskError("the task called sys.exit()") from error


async def _inside(scope: anyio.CancelScope, body: Coroutine[Any, Any, object]) -> object:
    with scope:
        return await body
    return None  # stopped; who stopped it has already said what became of the task
