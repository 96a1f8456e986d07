"""News of the ends of tasks: one question for all who wait, at growing intervals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from creatormate_resilience.exceptions import DatabaseError, ShuttingDownError
from creatormate_resilience.log import get_logger
from creatormate_resilience.tasks._durable._store import Row, Store

__all__ = ("Ends",)

_log = get_logger("tasks")
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_GROWTH = 1.5
_ASKED_AT_ONCE = 1000


class Ends:
    """Lets many wait for the ends of tasks, with one statement for all of them every half a second at most.

    Args:
        store: Where the tasks are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiters: dict[str, set[asyncio.Future[Row | None]]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._pause = _FIRST_PAUSE

    async def wait(self, task_id: str, timeout: float | None) -> Row | None:
        """Wait until a task has ended. It does not matter to the task who waits, or stops waiting.

        Args:
            task_id: Its id.
            timeout: In seconds; None waits for ever.

        Returns:
            Its row, or None when it is not there any more.

        Raises:
            TimeoutError: It has not ended within that time.
        """
        waiter: asyncio.Future[Row | None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(task_id, set()).add(waiter)
        self._pause = _FIRST_PAUSE
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="task-ends")
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        finally:
            waiters = self._waiters.get(task_id)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiters[task_id]

    async def aclose(self) -> None:
        """Ask no more; who still waits is told."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait((self._asking,))
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(ShuttingDownError("the engine was closed; the task goes on"))

    async def _ask(self) -> None:
        while self._waiters:
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * _GROWTH, _LONGEST_PAUSE)
            wanted = list(self._waiters)
            for start in range(0, len(wanted), _ASKED_AT_ONCE):
                await self._ask_for(wanted[start : start + _ASKED_AT_ONCE])

    async def _ask_for(self, ids: Sequence[str]) -> None:
        try:
            ended = await self._store.ended(ids)
        except DatabaseError as error:
            _log.warning("the ends of tasks cannot be asked for now", waiting=len(ids), exc_info=error)
            return
        except Exception as error:  # noqa: BLE001 - told to those who wait
            for task_id in ids:
                for waiter in self._waiters.get(task_id, ()):
                    if not waiter.done():
                        waiter.set_exception(error)
            return
        for task_id, row in ended.items():
            for waiter in self._waiters.get(task_id, ()):
                if not waiter.done():
                    waiter.set_result(row)
