"""The tasks that have ended, kept for a while so that their outcomes can be asked for. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._options import check_count, check_seconds

__all__ = ("History", "HistoryLimits", "without_tracebacks")


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How many ended tasks are kept, and for how long; the oldest go first.

    Attributes:
        max_count: Most tasks.
        max_age: Longest time since the end, in seconds.

    Raises:
        ValueError: A limit is out of its range.
        TypeError: A limit is not a number.
    """

    max_count: int = 10_000
    max_age: float = 3600.0

    def __post_init__(self) -> None:
        check_count("max_count", self.max_count)
        check_seconds("max_age", self.max_age, zero=False)


class History:
    """Ended tasks by id, in the order in which they ended. It forgets whenever it is used.

    Args:
        limits: How many, and for how long.
    """

    __slots__ = ("_jobs", "limits")

    def __init__(self, limits: HistoryLimits) -> None:
        self.limits = limits
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def add(self, job: Job, now: float) -> None:
        """Keep a task that has just ended."""
        self._jobs[job.id] = job
        self._forget(now)

    def get(self, task_id: str, now: float) -> Job | None:
        """The task, unless it was forgotten."""
        self._forget(now)
        return self._jobs.get(task_id)

    def all(self, now: float) -> Iterator[Job]:
        """All tasks, the one that ended first first."""
        self._forget(now)
        return iter(self._jobs.values())

    def _forget(self, now: float) -> None:
        while self._jobs:
            ended_at = next(iter(self._jobs.values())).ended_at
            if (
                len(self._jobs) <= self.limits.max_count
                and ended_at is not None
                and now - ended_at <= self.limits.max_age
            ):
                return
            self._jobs.popitem(last=False)


def without_tracebacks(error: BaseException) -> None:
    """Take the tracebacks from an exception, its causes and its members: they hold every local variable on the way.

    Args:
        error: The exception; it is changed.
    """
    todo, seen = [error], set[int]()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        todo.extend(cause for cause in (one.__cause__, one.__context__) if cause is not None)
        if isinstance(one, BaseExceptionGroup):
            todo.extend(one.exceptions)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
