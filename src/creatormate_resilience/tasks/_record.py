"""What is known about a task: the states it may be in, which may follow which, and a snapshot to look at."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from creatormate_resilience.tasks._options import Kind, TagValue, TaskPriority

__all__ = ("MAY_FOLLOW", "TaskProgress", "TaskRecord", "TaskStatus")


class TaskStatus(enum.Enum):
    """Where a task stands. Each task reaches exactly one final status, once."""

    SCHEDULED = "scheduled"
    """Waiting for its delay to pass."""
    QUEUED = "queued"
    """Waiting for a free slot."""
    RUNNING = "running"
    RETRYING = "retrying"
    """An attempt failed; the next one is to come."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """It raised what trying again would not mend, or nobody asked to try again."""
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Its time to start was over before it could."""
    LOST = "lost"
    """The worker process that ran it died; whether its work was done is not known."""
    DEAD = "dead"
    """It was tried again as often as it was to be, and the last attempt failed or timed out too."""

    __hash__ = object.__hash__  # members are single; Enum's own is Python code, and a task looks its status up often

    @property
    def final(self) -> bool:
        """Whether this status stays."""
        return not MAY_FOLLOW[self]


_S = TaskStatus
MAY_FOLLOW: Final[Mapping[TaskStatus, frozenset[TaskStatus]]] = MappingProxyType(
    dict.fromkeys(_S, frozenset[TaskStatus]())
    | {
        _S.SCHEDULED: frozenset({_S.QUEUED, _S.CANCELLED, _S.EXPIRED}),
        _S.QUEUED: frozenset({_S.RUNNING, _S.CANCELLED, _S.EXPIRED}),
        _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.TIMED_OUT, _S.CANCELLED, _S.LOST, _S.DEAD, _S.RETRYING}),
        _S.RETRYING: frozenset({_S.QUEUED, _S.CANCELLED, _S.EXPIRED}),
    }
)
"""Which status may follow which; nothing follows a final one."""

# Under plain names, for what runs for each task: on Python 3.11 reading a member of an Enum costs ten times as much.
SCHEDULED: Final = _S.SCHEDULED
QUEUED: Final = _S.QUEUED
RUNNING: Final = _S.RUNNING
RETRYING: Final = _S.RETRYING
SUCCEEDED: Final = _S.SUCCEEDED


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How far a running task says it is.

    Attributes:
        fraction: From 0 to 1.
        message: What it is doing, in its own words.
    """

    fraction: float
    message: str | None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A snapshot of one task; it does not change.

    Attributes:
        id: Names the task, and the executor that took it.
        name: Of the task or its function.
        status: Where it stood.
        priority: As submitted.
        run_in: Where it runs: "async", "thread" or "process".
        tags: As submitted.
        key: As submitted.
        attempts: How many were started, without those that an open circuit sent back.
        submitted_at: Wall time, for display.
        wait_time: Seconds from its submission to its first start, or until now.
        run_time: Seconds from its first start to its end, or until now; None when it never started.
        progress: What the task said last, or None.
        error: Type and redacted message of what it failed with; None where it did not.
    """

    id: str
    name: str
    status: TaskStatus
    priority: TaskPriority
    run_in: Kind
    tags: Mapping[str, TagValue]
    key: str | None
    attempts: int
    submitted_at: datetime
    wait_time: float
    run_time: float | None
    progress: TaskProgress | None
    error: str | None
