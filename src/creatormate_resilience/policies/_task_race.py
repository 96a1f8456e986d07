"""Attempts of one call as asyncio tasks: the losers are cancelled once, as asyncio does, and clean up in peace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from creatormate_resilience.policies._race import Ends

__all__ = ("TaskRace",)

T = TypeVar("T")


class TaskRace(Generic[T]):
    """The attempts of one call on asyncio. For one use; see `Race` for what it is given.

    A cancel scope of anyio would interrupt each await of a loser, those that roll back and close among them.
    """

    def __init__(
        self, attempt: Callable[[], Awaitable[T]], next_due: Callable[[int], Awaitable[bool]], most: int
    ) -> None:
        self._attempt = attempt
        self._next_due = next_due
        self._most = most
        self._ends = Ends[T]()
        self._tasks: list[asyncio.Task[None]] = []
        self._decided = asyncio.Event()
        self._interruption: BaseException | None = None
        self._first: asyncio.Task[Any] | None = None
        """The caller's task, while it makes the first attempt."""
        self._struck = False
        """Whether the first attempt was cancelled, because another was faster."""

    async def run(self) -> tuple[T, int]:
        """Run them; the first in the caller's own task. Whatever happens, the others have ended afterwards.

        Returns:
            The first answer, and the number of its attempt, from 0.

        Raises:
            Exception: The first failure, when no attempt succeeded; its notes name the others.
        """
        caller = asyncio.current_task()
        if caller is None:
            raise RuntimeError("a hedged call wants to be inside of a task")
        try:
            self._ends.running += 1
            self._start(self._follow())
            if not self._decided.is_set():  # before the first began: tasks may be eager
                await self._run_first(caller)
            await self._decided.wait()
        except GeneratorExit:  # nothing can be awaited any more
            self._cancel()
            raise
        except BaseException:
            await self._end()
            raise
        await self._end()
        if self._interruption is not None:
            interruption, self._interruption = self._interruption, None
            try:
                raise interruption
            finally:
                del interruption  # its traceback holds this
        return self._ends.outcome()

    async def _run_first(self, caller: asyncio.Task[Any]) -> None:
        before = caller.cancelling()
        cancelled = False
        self._first = caller
        try:
            try:
                await self._run(0)
            finally:
                self._first = None
                # The protocol of `asyncio.timeout`: take our cancellation back, and see whether there was another one.
                cancelled = (caller.uncancel() if self._struck else caller.cancelling()) > before
        except asyncio.CancelledError as error:
            if cancelled:
                if self._struck:
                    await asyncio.sleep(0)  # a cancel scope around may want to raise its own
                raise
            self._ended(error)

    async def _run(self, number: int) -> None:
        try:
            answer = await self._attempt()
        except Exception as error:  # noqa: BLE001 - kept; raised when no attempt succeeds
            self._ended(error)
        else:
            self._ends.answered(answer, number)
            self._look()

    async def _run_hedge(self, number: int) -> None:
        try:
            await self._run(number)
        except asyncio.CancelledError as error:
            self._ended(error)
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self._interrupt(error)

    async def _follow(self) -> None:
        try:
            for number in range(1, self._most + 1):
                if not await self._next_due(number) or self._decided.is_set():
                    return
                self._ends.running += 1
                self._start(self._run_hedge(number))
        except asyncio.CancelledError:
            return
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self._interrupt(error)

    def _ended(self, error: BaseException) -> None:
        if not self._decided.is_set():  # later nobody asks, and its traceback holds this
            self._ends.failed(error)
            self._look()

    def _interrupt(self, error: BaseException) -> None:
        self._interruption = error
        self._decide()

    def _look(self) -> None:
        if self._ends.decided:
            self._decide()

    def _decide(self) -> None:
        if self._decided.is_set():
            return
        self._decided.set()
        if self._first is not None and asyncio.current_task() is not self._first:
            self._struck = True
            self._first.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _cancel(self) -> None:
        self._decided.set()
        for task in self._tasks:
            task.cancel()

    async def _end(self) -> None:
        """Cancel who still runs, and wait until all have ended, whatever is done to us meanwhile."""
        self._first = None
        self._cancel()
        cancellation: asyncio.CancelledError | None = None
        while running := [task for task in self._tasks if not task.done()]:
            try:
                await asyncio.wait(running)
            except asyncio.CancelledError as error:
                cancellation = error
        self._tasks.clear()
        if cancellation is not None:
            try:
                raise cancellation
            finally:
                del cancellation  # its traceback holds this
