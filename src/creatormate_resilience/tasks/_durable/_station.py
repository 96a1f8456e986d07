"""A worker's share of the work: attempts at the tasks it was handed out, their progress, and the care of the table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from creatormate_resilience.exceptions import ConfigurationError, DatabaseError
from creatormate_resilience.log import get_logger
from creatormate_resilience.tasks._durable._attempts import Attempt, AttemptEngine
from creatormate_resilience.tasks._durable._config import DurableConfig
from creatormate_resilience.tasks._durable._ending import GIVEN_BACK, Ending, ending_of, storable, unrunnable
from creatormate_resilience.tasks._durable._lifeline import Lifeline
from creatormate_resilience.tasks._durable._store import Row, Store
from creatormate_resilience.tasks._options import RetryAdvice
from creatormate_resilience.tasks._record import TaskStatus

__all__ = ("Station",)

T = TypeVar("T")

_log = get_logger("tasks")
_PROGRESS_INTERVAL = 0.5
_FETCH_PAUSE = 1.0
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
_PRUNED_AT_ONCE = 1000


class Station:
    """Runs what a queue hands out. It knows nothing of the queue but the statements of `Store`.

    Args:
        store: Our table.
        engine: Makes the attempts.
        config: The engine's settings.
        lifeline: Gives the signs of life.
    """

    def __init__(self, store: Store, engine: AttemptEngine, config: DurableConfig, lifeline: Lifeline) -> None:
        self._store = store
        self._engine = engine
        self._config = config
        self._lifeline = lifeline
        self._unsure = False
        self.held: dict[str, Attempt] = {}
        """By the id of their task."""
        self.left: set[str] = set()
        """Tasks whose functions did not stop; the lease gives them to others when this process has ended."""
        self.given_back: set[str] = set()
        """Tasks that others may run now."""
        self.stopping = False
        """Whether nothing more is taken."""
        self.closing = False
        """Whether what runs is given back."""
        self.grace = 0.0

    async def fetch(self, queues: Sequence[str], worker: int) -> Row | None:
        """The next job with its task, or None; where the database is away that is None too, after a pause."""
        try:
            if self._unsure:  # the last answer was lost, and perhaps a task with it
                await self._store.reclaim(worker, list(self.held))
                self._unsure = False
            self._unsure = True
            row: Row | None = await self._store.fetch(queues, worker)
            self._unsure = False
        except DatabaseError as error:
            _log.warning("a worker cannot fetch tasks", exc_info=error)
            await asyncio.sleep(_FETCH_PAUSE)
            return None
        if row is not None and "id" in row:
            self.held[row["id"]] = Attempt(row["id"], row["run"], row)
        return row

    async def run(self, task_id: str) -> None:
        """Make the attempt at a task that `fetch` handed out.

        A cancellation that comes in stands for that of the task, or, after `give_back`, for the worker's end.

        Args:
            task_id: The task's.
        """
        attempt = self.held[task_id]
        attempt.carrier = asyncio.current_task()
        try:
            await self._attempt(attempt)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not keep the task for ever
            _log.error("an attempt could not be carried out; the task is queued again", id=task_id, exc_info=error)
            self._unsure = True
        finally:
            if self.held.get(task_id) is attempt:  # else its next one has begun here already
                del self.held[task_id]

    def give_back(self, grace: float) -> None:
        """Cancel what runs, and queue it again for other workers.

        Args:
            grace: Longest wait for cancelled functions to stop, in seconds.
        """
        self.grace = grace
        self.closing = True
        for attempt in self.held.values():
            if attempt.carrier is not None:
                attempt.carrier.cancel()

    async def _attempt(self, attempt: Attempt) -> None:
        if self.closing:  # it was on its way when the end came
            await self._give_back(attempt)
            return
        try:
            verdict, retry = self._engine.begin(attempt)
        except ConfigurationError as error:
            await self._write(attempt, unrunnable(error, attempt.row["rescues"], self._config.max_rescues))
            return
        try:
            await verdict
        except asyncio.CancelledError:
            self._engine.cancel(_job_of(attempt))
        await self._settle(attempt, retry)

    async def _settle(self, attempt: Attempt, retry: RetryAdvice | None) -> None:
        """Write the verdict down at once, and let the job go when the function has really stopped."""
        job = _job_of(attempt)
        if self.closing and job.status is TaskStatus.CANCELLED:
            if await self._stopped(attempt):
                await self._give_back(attempt)
            return
        ending = ending_of(job, retry, attempt.ended_attempts)
        if self._engine.still_runs(job) and ending.status.final:
            await _undisturbed(self._write(attempt, ending, hold=True))
        if await self._stopped(attempt):
            await _undisturbed(self._write(attempt, ending))

    async def _give_back(self, attempt: Attempt) -> None:
        self.given_back.add(attempt.id)
        await _undisturbed(self._write(attempt, GIVEN_BACK))

    async def _stopped(self, attempt: Attempt) -> bool:
        """Wait until the function has really stopped; at the worker's end not for longer than the grace."""
        job = _job_of(attempt)
        while self._engine.still_runs(job):
            try:
                stopped = await self._engine.stopped(job, self.grace if self.closing else None)
            except asyncio.CancelledError:  # it has been given up already; perhaps the worker's end has come meanwhile
                continue
            if not stopped:
                self.left.add(attempt.id)
                _log.error("a task does not stop; others run it when the lease is over", id=attempt.id)
                return False
        return True

    async def _write(self, attempt: Attempt, ending: Ending, *, hold: bool = False) -> None:
        """Write down what an attempt came to, however long the database is away; but not longer than the worker."""
        progress = None if attempt.job is None else attempt.job.progress
        text = ending.to_json(progress, hold=hold)
        failures = 0
        while True:
            try:
                kept = await self._store.finish(attempt.id, attempt.run, attempt.row["job"]["id"], text)
            except DatabaseError as error:
                _log.warning("the end of a task is not written down yet", id=attempt.id, exc_info=error)
                if self.closing:
                    self.left.add(attempt.id)
                    return
                await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1
                continue
            if not kept and not hold:
                _log.debug("a task had been ended or taken away meanwhile", id=attempt.id)
            return

    async def care(self) -> None:
        """Write progress down, rescue the tasks of workers that vanished, forget old ones; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_again(_PROGRESS_INTERVAL, self._report), name="task-progress")
            group.create_task(_again(self._config.heartbeat, self._rescue), name="task-rescue")
            group.create_task(_again(max(self._config.heartbeat, 1.0), self._prune), name="task-pruning")

    async def _report(self) -> None:
        changed = [
            (attempt, attempt.job.progress)
            for attempt in self.held.values()
            if attempt.job is not None and attempt.job.progress is not attempt.reported
        ]
        told = [(a.id, a.run, p.fraction, storable(p.message)) for a, p in changed if p is not None]
        if told:
            await self._store.report(told)
        for attempt, progress in changed:
            attempt.reported = progress

    async def _rescue(self) -> None:
        """Only after half a lease without a missed sign of life: who was cut off saw nobody's."""
        self._drop_unbegun()
        if self._lifeline.steady() < self._config.lease / 2:
            return
        count = await self._store.rescue()
        if count:
            _log.warning("tasks of a worker that vanished are queued again", count=count)

    def _drop_unbegun(self) -> None:
        """What was cancelled before its first step never came to `run`, and nobody else would let its job go."""
        for attempt in [each for each in self.held.values() if each.carrier is None]:
            if attempt.waited:
                del self.held[attempt.id]
                self._unsure = True
            attempt.waited = True

    async def _prune(self) -> None:
        while await self._store.prune(_PRUNED_AT_ONCE) == _PRUNED_AT_ONCE:
            pass


def _job_of(attempt: Attempt) -> Any:
    assert attempt.job is not None  # noqa: S101 - it has begun
    return attempt.job


async def _again(interval: float, do: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        await asyncio.sleep(interval)
        try:
            await do()
        except DatabaseError as error:
            _log.warning("a worker could not do its chores; it tries again", exc_info=error)


async def _undisturbed(work: Coroutine[Any, Any, T]) -> T:
    """Finish something that must not be left half done, whoever cancels meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
    return task.result()
