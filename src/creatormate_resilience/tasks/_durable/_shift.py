"""One turn of work of one worker: it begins, is stopped, and ends in bounded time."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterable
from typing import Protocol

from creatormate_resilience.exceptions import TaskError
from creatormate_resilience.tasks._durable._attempts import AttemptEngine
from creatormate_resilience.tasks._durable._lifeline import Lifeline
from creatormate_resilience.tasks._durable._station import Station
from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._record import TaskRecord, TaskStatus
from creatormate_resilience.tasks._shutdown import ShutdownReport
from creatormate_resilience.tasks._waiting import set_within

__all__ = ("Shift",)

_AGAIN = 0.1
_GOODBYE = 15.0
"""Seconds for the last statements, where the database is slow or away."""


class Taking(Protocol):
    """What takes jobs out of the queue, such as Procrastinate's worker."""

    async def run(self) -> None:
        """Take them until it is stopped, and wait for those that run."""
        ...

    def stop(self) -> None:
        """Take no more."""
        ...


class Shift:
    """A worker's parts, from its beginning to its end.

    Args:
        worker: Takes jobs.
        station: Runs their tasks.
        engine: Makes the attempts.
        lifeline: Gives the signs of life.
    """

    def __init__(self, worker: Taking, station: Station, engine: AttemptEngine, lifeline: Lifeline) -> None:
        self.engine = engine
        self.lifeline = lifeline
        self._worker = worker
        self._station = station
        self._over = asyncio.Event()

    async def run(self, drain: float, grace: float) -> None:
        """Work until stopped; see `ProcrastinateEngine.work`."""
        await self.engine.start()
        care = asyncio.create_task(self._station.care(), name="task-care")
        taking = asyncio.create_task(self._worker.run(), name="task-worker")
        taking.add_done_callback(lambda _: self._over.set())
        try:
            await asyncio.wait((taking, care), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.end(drain, grace)
            raise
        finally:
            care.cancel()
            await self._until_over()
            self.lifeline.stop()
            await asyncio.wait((care, taking))
            await asyncio.to_thread(self.lifeline.join)
            await self.engine.shutdown(0.0, 0.0)
        taking.result()
        if not care.cancelled():
            care.result()
        if not self._station.stopping:
            raise TaskError("the worker ended although nobody stopped it; the log of Procrastinate says why")

    async def stop(self, timeout: float | None) -> bool:
        """Take no more, and wait for what runs; False when `timeout` seconds were not enough."""
        self._station.stopping = True
        until = None if timeout is None else time.monotonic() + timeout
        while not self._over.is_set():
            self._worker.stop()  # again and again: one that is just beginning forgets it
            left = _AGAIN if until is None else min(_AGAIN, until - time.monotonic())
            if left <= 0:
                return False
            await set_within(self._over, left)
        return True

    async def _until_over(self) -> None:
        """Stop the worker, however long that takes."""
        while not self._over.is_set():
            self._worker.stop()
            await set_within(self._over, _AGAIN)

    async def end(self, drain: float, grace: float) -> ShutdownReport:
        """Take no more, wait `drain` seconds for what runs, and give the rest back; say what became of each."""
        running = [attempt.job for attempt in self._station.held.values() if attempt.job is not None]
        if not await self.stop(drain):
            self._station.give_back(grace)
            await self.stop(grace + _GOODBYE)
        back, left = self._station.given_back, self._station.left
        stopped = [job for job in running if job.id in back]
        return ShutdownReport(
            finished=self._records(job for job in running if job.id not in back | left),
            stopped=self._given_back(job for job in stopped if job.kind != "process"),
            killed=self._given_back(job for job in stopped if job.kind == "process"),
            left=self._records(job for job in running if job.id in left),
        )

    def _records(self, jobs: Iterable[Job]) -> list[TaskRecord]:
        return [job.snapshot(self.engine.now()) for job in jobs]

    def _given_back(self, jobs: Iterable[Job]) -> list[TaskRecord]:
        return [dataclasses.replace(each, status=TaskStatus.QUEUED) for each in self._records(jobs)]
