"""The tasks that have ended, kept for a while so that their outcomes can be asked for. Pure."""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import GetSetDescriptorType, ModuleType, NoneType
from typing import Any, cast

from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._options import check_count, check_seconds

__all__ = ("History", "HistoryLimits", "weight_of", "without_tracebacks")

_MOST_LOOKED_AT = 1000
_SAMPLE = 32
_SMALL = 1 << 64
_UNKNOWN = 64
_LIGHT = frozenset({NoneType, bool, float})
_CONTAINERS: tuple[Any, ...] = (list, tuple, set, frozenset)
_DICT = cast("Any", dict)
_ERROR = cast("Any", BaseException)
_GROUP = cast("Any", BaseExceptionGroup)


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How many ended tasks are kept, and for how long; the oldest go first.

    Attributes:
        max_count: Most tasks.
        max_age: Longest time since the end, in seconds.
        max_bytes: Most memory of what they returned or raised, as far as it can be estimated at a bounded cost. What is
            larger by itself is not kept at all, but by its handle.

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

    __slots__ = ("_bytes", "_jobs", "_order", "_weights", "limits")

    def __init__(self, limits: HistoryLimits) -> None:
        self.limits = limits
        self._jobs: dict[str, Job] = {}
        self._order: deque[Job] = deque()  # a dict from which the first is taken again and again becomes slow
        self._weights: dict[str, int] = {}  # of those that weigh something
        self._bytes = 0

    def add(self, job: Job, now: float) -> None:
        """Keep a task that has just ended."""
        kept = job.result if job.error is None else job.error
        if kept is not None and (weight := weight_of(kept)):
            if weight > self.limits.max_bytes:
                return
            self._weights[job.id] = weight
            self._bytes += weight
        self._jobs[job.id] = job
        self._order.append(job)
        if len(self._jobs) > self.limits.max_count or self._bytes > self.limits.max_bytes or not len(self._jobs) % 64:
            self._forget(now)

    def get(self, task_id: str, now: float) -> Job | None:
        """The task, unless it was forgotten."""
        self._forget(now)
        return self._jobs.get(task_id)

    def all(self, now: float) -> Iterator[Job]:
        """All tasks, the one that ended last first."""
        self._forget(now)
        return reversed(self._order)

    def _forget(self, now: float) -> None:
        limits, jobs, ended_before = self.limits, self._jobs, now - self.limits.max_age
        while jobs:
            oldest = self._order[0]
            if (
                len(jobs) <= limits.max_count
                and self._bytes <= limits.max_bytes
                and (oldest.ended_at is None or oldest.ended_at >= ended_before)
            ):
                return
            self._order.popleft()
            del jobs[oldest.id]
            if self._weights:
                self._bytes -= self._weights.pop(oldest.id, 0)


def weight_of(value: object) -> int:
    """About how many bytes a value keeps in memory, at a bounded cost, and without asking it.

    Args:
        value: Anything. Of a container some items stand for all, and of the whole at most a thousand parts.

    Returns:
        Bytes; 0 for None, numbers and truth values, which weigh no more than the task's own record.
    """
    kind = type(value)
    if kind in _LIGHT or (kind is int and -_SMALL < cast("int", value) < _SMALL):
        return 0
    if kind is str or kind is bytes:
        return sys.getsizeof(value)
    weight, todo = 0.0, [(value, 1.0)]
    for one, times in todo:  # it grows meanwhile
        weight += times * _size_of(one)
        if len(todo) < _MOST_LOOKED_AT:
            parts, count = _parts_of(one)
            each = times * max(count / _SAMPLE, 1.0)
            todo.extend((part, each) for part in parts if part is not None)
    return int(weight)


def _size_of(one: object) -> int:
    try:
        return sys.getsizeof(one, _UNKNOWN)
    except Exception:  # noqa: BLE001 - a class may say what it likes, and a result must not lose its task's end
        return _UNKNOWN


def _parts_of(one: object) -> tuple[Iterable[object], int]:
    """Some of the parts of a value, and how many items it has. No code of its class is run: it could do anything."""
    kind, value = type(one), cast("Any", one)
    if issubclass(kind, dict):
        return itertools.chain.from_iterable(itertools.islice(_DICT.items(value), _SAMPLE)), _DICT.__len__(value)
    for base in _CONTAINERS:
        if issubclass(kind, base):
            return itertools.islice(base.__iter__(value), _SAMPLE), base.__len__(value)
    if issubclass(kind, type | ModuleType):
        return (), 0
    parts = [_attributes(one)]
    if issubclass(kind, BaseException):
        parts += [_ERROR.args.__get__(one), _ERROR.__cause__.__get__(one), _ERROR.__context__.__get__(one)]
    if issubclass(kind, BaseExceptionGroup):
        parts.append(_GROUP.exceptions.__get__(one))
    return parts, 0


def _attributes(one: object) -> object:
    for base in type(one).__mro__:
        slot = vars(base).get("__dict__")
        if slot is not None:
            return slot.__get__(one) if type(slot) is GetSetDescriptorType else None
    return None


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
        BaseException.with_traceback(one, None)  # not by assignment: an error may be a frozen dataclass
        todo.extend(cause for cause in (one.__cause__, one.__context__) if cause is not None)
        if isinstance(one, BaseExceptionGroup):
            todo.extend(one.exceptions)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
