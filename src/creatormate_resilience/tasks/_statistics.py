"""One consistent picture of a task executor."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from creatormate_resilience.latencies import Latencies, LatencyQuantiles
from creatormate_resilience.tasks._options import TaskPriority
from creatormate_resilience.tasks._record import QUEUED, RETRYING, SCHEDULED, TaskStatus

__all__ = ("TaskGroupStatistics", "TaskStatistics", "Totals")

_LEAST_WAIT = 0.1
_MOST_WAIT = 60.0
_MINUTE = 60
_MOST_NAMES = 200
_OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class TaskGroupStatistics:
    """The tasks of one function, or of one priority, since the executor started.

    Attributes:
        succeeded: Tasks that returned.
        unsuccessful: Tasks that started and ended otherwise.
        wait: How long the last ones waited for their first start, 512 at most; None before one has ended.
        run: How long they took from there to their end.
    """

    succeeded: int
    unsuccessful: int
    wait: LatencyQuantiles | None
    run: LatencyQuantiles | None


@dataclass(frozen=True, slots=True)
class TaskStatistics:
    """A snapshot.

    Attributes:
        name: Name of the executor.
        submitted: Tasks taken since it started; so are the next fourteen.
        succeeded: Tasks that returned.
        failed: Tasks that raised what is not tried again.
        dead: Tasks whose last attempt failed or timed out.
        timed_out: Tasks that were given up at their deadline.
        cancelled: Tasks that were cancelled.
        expired: Tasks that could not start in time.
        lost: Tasks whose worker process died.
        retries: Attempts beyond the first ones.
        postponed: Attempts that an open circuit sent back.
        rejected: Tasks not taken because the queue was full.
        dropped: Tasks cancelled because the queue was full and a more urgent one came.
        joined: Submissions that found an unfinished task with their unique key.
        blocked: Times that the event loop stood still for longer than `max_loop_lag`.
        scheduled: Tasks that wait for their delay now.
        queued: Tasks that wait for a slot now.
        running: Tasks that run now.
        retrying: Tasks that rest between two attempts now.
        zombies: Attempts that were given up and still hold their slot now: threads that cannot be stopped, tasks that
            swallow their cancellation, processes being killed.
        oldest_wait: Seconds the task at the longest in the queue has waited now; 0 when none waits.
        throughput: Tasks that ended in the last minute, per second.
        mean_wait: Mean seconds in the queue before the first start.
        mean_run: Mean seconds from the first start to the end.
        functions: By task name; beyond 200 names the rest is one group, `(others)`.
        priorities: By priority.
    """

    name: str
    submitted: int
    succeeded: int
    failed: int
    dead: int
    timed_out: int
    cancelled: int
    expired: int
    lost: int
    retries: int
    postponed: int
    rejected: int
    dropped: int
    joined: int
    blocked: int
    scheduled: int
    queued: int
    running: int
    retrying: int
    zombies: int
    oldest_wait: float
    throughput: float
    mean_wait: float
    mean_run: float
    functions: Mapping[str, TaskGroupStatistics]
    priorities: Mapping[TaskPriority, TaskGroupStatistics]


class _Group:
    __slots__ = ("ended", "runs", "succeeded", "waits")

    def __init__(self) -> None:
        self.ended = self.succeeded = 0
        self.waits = Latencies()
        self.runs = Latencies()

    def picture(self) -> TaskGroupStatistics:
        return TaskGroupStatistics(
            self.succeeded, self.ended - self.succeeded, self.waits.quantiles(), self.runs.quantiles()
        )


class _Throughput:
    """Counts by the second, for the last minute."""

    __slots__ = ("_seconds", "_since", "_until")

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque(maxlen=_MINUTE)
        self._since: float | None = None
        self._until = -math.inf

    def count(self, now: float) -> None:
        if now >= self._until:  # the next second
            self._since = now if self._since is None else self._since
            self._until = math.floor(now) + 1.0
            self._seconds.append([math.floor(now), 0])
        self._seconds[-1][1] += 1

    def per_second(self, now: float) -> float:
        if self._since is None:
            return 0.0
        recent = sum(count for second, count in self._seconds if second > now - _MINUTE)
        return recent / min(max(now - self._since, 1.0), _MINUTE)


class Totals:
    """Running numbers of one executor."""

    def __init__(self) -> None:
        self.statuses = dict.fromkeys(TaskStatus, 0)
        """Tasks in each status; those in a final one only ever grow."""
        self.submitted = self.retries = self.postponed = self.rejected = self.dropped = self.joined = self.blocked = 0
        self._ran = 0
        self._wait_seconds = self._run_seconds = 0.0
        self.throughput = _Throughput()
        self._functions: dict[str, _Group] = {}
        self._priorities = {priority: _Group() for priority in TaskPriority}

    @property
    def waiting(self) -> int:
        """Tasks taken that neither run nor have ended."""
        statuses = self.statuses
        return statuses[SCHEDULED] + statuses[QUEUED] + statuses[RETRYING]

    def relief(self, slots: int) -> float:
        """Seconds after which a full queue has likely moved: the time one slot takes for its share of what waits.

        Args:
            slots: Runs there may be at once.

        Returns:
            From 0.1 to 60 seconds; 1 while no task has ended yet.
        """
        if not self._ran:
            return 1.0
        return min(max(self._run_seconds / self._ran * self.waiting / slots, _LEAST_WAIT), _MOST_WAIT)

    def ended(self, name: str, priority: TaskPriority, waited: float, ran: float, *, succeeded: bool) -> None:
        """Count the end of a task that had started, with the seconds it waited and ran."""
        self._ran += 1
        self._wait_seconds += waited
        self._run_seconds += ran
        for group in (self._functions.get(name) or self._function(name), self._priorities[priority]):
            group.ended += 1
            group.succeeded += succeeded
            group.waits.add(waited)
            group.runs.add(ran)

    def picture(self, name: str, *, now: float, used: int, oldest: float | None) -> TaskStatistics:
        """A snapshot.

        Args:
            name: The executor's.
            now: The moment.
            used: Slots in use.
            oldest: When the task that waits longest joined the queue.
        """
        statuses = self.statuses
        return TaskStatistics(
            name=name,
            submitted=self.submitted,
            succeeded=statuses[TaskStatus.SUCCEEDED],
            failed=statuses[TaskStatus.FAILED],
            dead=statuses[TaskStatus.DEAD],
            timed_out=statuses[TaskStatus.TIMED_OUT],
            cancelled=statuses[TaskStatus.CANCELLED],
            expired=statuses[TaskStatus.EXPIRED],
            lost=statuses[TaskStatus.LOST],
            retries=self.retries,
            postponed=self.postponed,
            rejected=self.rejected,
            dropped=self.dropped,
            joined=self.joined,
            blocked=self.blocked,
            scheduled=statuses[TaskStatus.SCHEDULED],
            queued=statuses[TaskStatus.QUEUED],
            running=statuses[TaskStatus.RUNNING],
            retrying=statuses[TaskStatus.RETRYING],
            zombies=used - statuses[TaskStatus.RUNNING],
            oldest_wait=0.0 if oldest is None else now - oldest,
            throughput=self.throughput.per_second(now),
            mean_wait=self._wait_seconds / self._ran if self._ran else 0.0,
            mean_run=self._run_seconds / self._ran if self._ran else 0.0,
            functions={name: group.picture() for name, group in self._functions.items()},
            priorities={priority: group.picture() for priority, group in self._priorities.items() if group.ended},
        )

    def _function(self, name: str) -> _Group:
        if len(self._functions) >= _MOST_NAMES:
            name = _OTHERS
        return self._functions.setdefault(name, _Group())
