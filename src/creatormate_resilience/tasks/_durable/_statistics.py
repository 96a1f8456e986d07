"""What operators see of the queues and the workers, from any process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from creatormate_resilience.tasks._durable._store import Row
from creatormate_resilience.tasks._record import TaskStatus

__all__ = ("QueueStatistics", "WorkerSight", "queue_statistics")


@dataclass(frozen=True, slots=True)
class WorkerSight:
    """A worker as the others see it.

    Attributes:
        id: Its number.
        silent: Seconds since its last sign of life.
        running: Tasks that it was handed out.
        alive: Whether its lease holds.
    """

    id: int
    silent: float
    running: int
    alive: bool


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """The queues and the workers at one moment.

    Attributes:
        queues: How many tasks are in each status, by queue. Ended ones count until they are forgotten.
        oldest_wait: Seconds that the task at the longest has been due and not started; 0 when none waits.
        workers: Every worker that is known.
    """

    queues: Mapping[str, Mapping[TaskStatus, int]]
    oldest_wait: float
    workers: Sequence[WorkerSight]


def queue_statistics(tasks: Sequence[Row], workers: Sequence[Row], lease: float) -> QueueStatistics:
    """Make the picture from the rows of `Store.statistics` and `Store.workers`."""
    queues: dict[str, dict[TaskStatus, int]] = {}
    oldest = 0.0
    for row in tasks:
        status = TaskStatus(row["status"])
        queues.setdefault(row["queue"], {})[status] = row["tasks"]
        if status is TaskStatus.QUEUED:
            oldest = max(oldest, row["oldest"])
    sights = [WorkerSight(row["id"], row["silent"], row["running"], row["silent"] <= lease) for row in workers]
    return QueueStatistics(queues, oldest, sights)
