"""One consistent picture of a task executor."""

from __future__ import annotations

from dataclasses import dataclass, field

from creatormate_resilience.tasks._record import TaskStatus

__all__ = ("TaskStatistics", "Totals")

_LEAST_WAIT = 0.1
_MOST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class TaskStatistics:
    """A snapshot.

    Attributes:
        name: Name of the executor.
        submitted: Tasks taken since it started; so are the next seven.
        succeeded: Tasks that returned.
        failed: Tasks that raised.
        timed_out: Tasks that were given up at their deadline.
        cancelled: Tasks that were cancelled.
        lost: Tasks whose worker process died.
        retries: Attempts beyond the first ones.
        rejected: Tasks not taken because the queue was full.
        scheduled: Tasks that wait for their delay now.
        queued: Tasks that wait for a slot now.
        running: Tasks that run now.
        retrying: Tasks that rest between two attempts now.
        zombies: Attempts that were given up and still hold their slot now: threads that cannot be stopped, tasks that
            swallow their cancellation, processes being killed.
        oldest_wait: Seconds the task at the longest in the queue has waited now; 0 when none waits.
        mean_wait: Mean seconds in the queue before the first start.
        mean_run: Mean seconds from the first start to the end.
    """

    name: str
    submitted: int
    succeeded: int
    failed: int
    timed_out: int
    cancelled: int
    lost: int
    retries: int
    rejected: int
    scheduled: int
    queued: int
    running: int
    retrying: int
    zombies: int
    oldest_wait: float
    mean_wait: float
    mean_run: float


@dataclass(slots=True)
class Totals:
    """Running numbers of one executor."""

    statuses: dict[TaskStatus, int] = field(default_factory=lambda: dict.fromkeys(TaskStatus, 0))
    """Tasks in each status; those in a final one only ever grow."""
    submitted: int = 0
    retries: int = 0
    rejected: int = 0
    started: int = 0
    wait_seconds: float = 0.0
    ran: int = 0
    run_seconds: float = 0.0

    @property
    def waiting(self) -> int:
        """Tasks taken that neither run nor have ended."""
        statuses = self.statuses
        return statuses[TaskStatus.SCHEDULED] + statuses[TaskStatus.QUEUED] + statuses[TaskStatus.RETRYING]

    @property
    def mean_wait(self) -> float:
        """Mean seconds in the queue."""
        return self.wait_seconds / self.started if self.started else 0.0

    @property
    def mean_run(self) -> float:
        """Mean seconds from start to end."""
        return self.run_seconds / self.ran if self.ran else 0.0

    def relief(self, slots: int) -> float:
        """Seconds after which a full queue has likely moved: the time one slot takes for its share of what waits.

        Args:
            slots: Runs there may be at once.

        Returns:
            From 0.1 to 60 seconds; 1 while no task has ended yet.
        """
        if not self.ran:
            return 1.0
        return min(max(self.mean_run * self.waiting / slots, _LEAST_WAIT), _MOST_WAIT)

    def moved(self, old: TaskStatus | None, new: TaskStatus) -> None:
        """Count a task's change of status; None for one just submitted."""
        if old is not None:
            self.statuses[old] -= 1
        self.statuses[new] += 1
