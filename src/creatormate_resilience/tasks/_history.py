"""The tasks that have ended, kept for a while so that their outcomes can be asked for. Pure."""

from __future__ import annotations

import itertools
import sys
from collections import OrderedDict
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any, cast

from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._options import check_count, check_seconds

__all__ = ("History", "HistoryLimits", "weight_of", "without_tracebacks")

_MOST_LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How many ended tasks are kept, and for how long; the oldest go first.

    Attributes:
        max_count: Most tasks.
        max_age: Longest time since the end, in seconds.
        max_bytes: Most memory of what they returned, as far as it can be estimated at a bounded cost. What is larger by
            itself is not kept at all, but by its handle.

    Raises:
        ValueError: A limit is out of its range.
        TypeError: A limit is not a number.
    """

    max_count: int = 10_000
    max_age: float = 3600.0
    max_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        check_count("max_count", self.max_count)
        check_seconds("max_age", self.max_age, zero=False)
        check_count("max_bytes", self.max_bytes)


class History:
    """Ended tasks by id, in the order in which they ended. It forgets whenever it is used.

    Args:
        limits: How many, and for how long.
    """

    __slots__ = ("_bytes", "_jobs", "_weights", "limits")

    def __init__(self, limits: HistoryLimits) -> None:
        self.limits = limits
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._weights: dict[str, int] = {}  # of those that weigh something
        self._bytes = 0

    def add(self, job: Job, now: float) -> None:
        """Keep a task that has just ended."""
        self._jobs[job.id] = job
        if job.result is not None and (weight := weight_of(job.result)):
            self._weights[job.id] = weight
            self._bytes += weight
        if len(self._jobs) > self.limits.max_count or self._bytes > self.limits.max_bytes or not len(self._jobs) % 64:
            self._forget(now)

    def get(self, task_id: str, now: float) -> Job | None:
        """The task, unless it was forgotten."""
        self._forget(now)
        return self._jobs.get(task_id)

    def all(self, now: float) -> Iterator[Job]:
        """All tasks, the one that ended last first."""
        self._forget(now)
        return reversed(self._jobs.values())

    def _forget(self, now: float) -> None:
        limits, jobs, ended_before = self.limits, self._jobs, now - self.limits.max_age
        while jobs:
            oldest = next(iter(jobs.values()))
            if (
                len(jobs) <= limits.max_count
                and self._bytes <= limits.max_bytes
                and (oldest.ended_at is None or oldest.ended_at >= ended_before)
            ):
                return
            del jobs[oldest.id]
            if self._weights:
                self._bytes -= self._weights.pop(oldest.id, 0)


def weight_of(value: object) -> int:
    """About how many bytes a value keeps in memory, at a bounded cost.

    Args:
        value: Anything. Of containers and objects at most a thousand parts are looked at.

    Returns:
        Bytes; 0 for None, numbers and truth values, which weigh no more than the task's own record.
    """
    if value is None or isinstance(value, int | float):
        return 0
    weight, todo, looked_at = 0, [value], 0
    while todo and looked_at < _MOST_LOOKED_AT:
        one = todo.pop()
        looked_at += 1
        weight += sys.getsizeof(one, 64)
        if isinstance(one, dict):
            items = cast("Any", one)
            todo.extend(itertools.islice(itertools.chain(items.keys(), items.values()), _MOST_LOOKED_AT))
        elif isinstance(one, list | tuple | Set):
            todo.extend(itertools.islice(cast("list[Any]", one), _MOST_LOOKED_AT))
        elif hasattr(one, "__dict__") and not isinstance(one, type):
            todo.append(vars(one))
    return weight


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
