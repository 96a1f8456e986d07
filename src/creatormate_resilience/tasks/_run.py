"""One attempt of one task: the asyncio task that carries it, and how it is stopped."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import Context
from types import CoroutineType
from typing import Any, Final, cast

import anyio

from creatormate_resilience.deadline import Deadline, replace_deadline
from creatormate_resilience.exceptions import TaskError
from creatormate_resilience.tasks._current import running_task
from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._kinds import Work

__all__ = ("Run",)

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class Run(asyncio.Task[None]):
    """An attempt from its start to its real end, which may come long after the task was given up.

    It is an asyncio task itself: one object less for each attempt, and its end is told from inside, without another
    turn of the event loop.

    Args:
        job: The task.
        work: Its function and arguments.
        context: The context to run it in, its own.
        deadline: Shown to the function; the submitter's is over long before a background task is.
        on_end: Called once, when the attempt has really ended, with it, what the function returned and what it raised.
    """

    __slots__ = ("_again", "_begun", "_on_end", "_scope", "deadline", "job", "stopped")

    def __init__(
        self,
        job: Job,
        work: Work,
        context: Context,
        *,
        deadline: Deadline | None,
        on_end: Callable[[Run, object, BaseException | None], None],
    ) -> None:
        self.job = job
        self.stopped = False
        self.deadline: float | None = None
        """Seconds of the event loop's clock, because only the event loop can wake us at it."""
        self._begun = False
        self._on_end = on_end
        self._again: asyncio.TimerHandle | None = None
        self._scope: anyio.CancelScope | None = None
        body = self._carry(deadline, work) if job.spec.kind == "async" else self._carry_inside(deadline, work)
        # Not `loop.create_task`: an eager task factory would run the function in the middle of our own work.
        super().__init__(body, name=job.id, context=context)

    @property
    def late(self) -> bool:
        """Whether an attempt on the event loop, now at its end, has passed its deadline: it blocked the loop."""
        return self.deadline is not None and self.job.spec.kind == "async" and self.get_loop().time() >= self.deadline

    def stop(self) -> None:
        """Ask it to end, as hard as its kind allows.

        On the event loop it is cancelled, and again after growing pauses as long as it goes on. A thread is asked: it
        ends when it looks at `anyio.from_thread.check_cancelled()`, or by itself. A worker process is killed.
        """
        self.stopped = True
        if self.job.spec.kind == "async":
            self._cancel_again(_FIRST_PAUSE)
        elif self._scope is not None:
            self._scope.cancel()
        else:
            self.cancel()  # before its first step, so it never takes it

    def close(self) -> None:
        """Cancel it no more; when it has ended, or is left to itself."""
        if self._again is not None:
            self._again.cancel()

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the asyncio task, as anybody may."""
        if not self._begun:  # a task that is cancelled before its first step never gets into its body
            self.add_done_callback(_never_began)
        return super().cancel(msg)

    def _cancel_again(self, pause: float) -> None:
        if not self.done():
            self.cancel()
            self._again = self.get_loop().call_later(pause, self._cancel_again, min(2 * pause, _LONGEST_PAUSE))

    async def _carry_inside(self, deadline: Deadline | None, work: Work) -> None:
        # Threads and processes hang on a cancel scope: it is what `anyio.from_thread.check_cancelled` looks at and what
        # kills a worker process, while a cancelled asyncio task would walk away from its thread. It is made here, not
        # before: where sniffio is installed anyio makes none in a callback of the event loop.
        with anyio.CancelScope() as self._scope:
            await self._carry(deadline, work)

    async def _carry(self, deadline: Deadline | None, work: Work) -> None:
        self._begun = True
        running_task.set(self.job)
        replace_deadline(deadline)
        try:
            answer: Any = work()
            if type(answer) is not CoroutineType:  # it nearly always is; the question costs as much as all the rest
                _check_awaitable(answer)
            result = cast("object", await answer)
        except GeneratorExit as error:
            if not self.get_loop().is_running():  # it was closed before us: nobody is left to be told
                raise
            self._on_end(self, None, error)
        except SystemExit as error:  # asyncio would end the whole loop
            refusal = TaskError("the task called sys.exit()")
            refusal.__cause__ = error
            self._on_end(self, None, refusal)
        except (asyncio.CancelledError, KeyboardInterrupt) as error:  # the event loop's own
            self._on_end(self, None, error)
            self.add_done_callback(_looked_at)
            raise
        except BaseException as error:  # noqa: BLE001 - it is told, and kept
            self._on_end(self, None, error)
        else:
            self._on_end(self, result, None)


def _never_began(run: asyncio.Task[None]) -> None:
    one = cast("Run", run)
    if not one._begun:  # pyright: ignore[reportPrivateUsage]
        one._on_end(one, None, asyncio.CancelledError())  # pyright: ignore[reportPrivateUsage]


def _looked_at(run: asyncio.Task[None]) -> None:
    """Take note of an error that was told already, so that asyncio does not log it with everything in it."""
    if not run.cancelled():
        run.exception()


def _check_awaitable(answer: object) -> None:
    if not inspect.isawaitable(answer):
        raise TypeError(f"run_in is 'async', and the function returned a {type(answer).__name__}, not an awaitable")
