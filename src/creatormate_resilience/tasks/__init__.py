"""Background tasks, delivered at most once and kept in memory: what the process has not finished when it dies is gone.

`TaskExecutor` runs functions on the event loop, in threads and in worker processes, with priorities, timeouts, retries
and a bounded queue, and says of each task what became of it, and of each timeout what it could not stop.
"""

from __future__ import annotations

from creatormate_resilience.tasks._current import CurrentTask, current_task
from creatormate_resilience.tasks._declaration import task
from creatormate_resilience.tasks._engine import Capability, Engine, TaskRequest, TaskSpec, TrackedTask
from creatormate_resilience.tasks._events import (
    LoopBlocked,
    TaskEvent,
    TaskFinished,
    TaskRejected,
    TaskRetrying,
    TaskStarted,
)
from creatormate_resilience.tasks._executor import TaskExecutor
from creatormate_resilience.tasks._handle import TaskHandle
from creatormate_resilience.tasks._history import HistoryLimits
from creatormate_resilience.tasks._key_limits import KeyLimits
from creatormate_resilience.tasks._options import RetryAdvice, TaskOptions, TaskOptionValues, TaskPriority
from creatormate_resilience.tasks._periodic import PeriodicTask, Schedule, every
from creatormate_resilience.tasks._record import TaskProgress, TaskRecord, TaskStatus
from creatormate_resilience.tasks._shutdown import ShutdownReport
from creatormate_resilience.tasks._statistics import TaskGroupStatistics, TaskStatistics
from creatormate_resilience.tasks._submitter import TaskSubmitter

__all__ = (
    "Capability",
    "CurrentTask",
    "Engine",
    "HistoryLimits",
    "KeyLimits",
    "LoopBlocked",
    "PeriodicTask",
    "RetryAdvice",
    "Schedule",
    "ShutdownReport",
    "TaskEvent",
    "TaskExecutor",
    "TaskFinished",
    "TaskGroupStatistics",
    "TaskHandle",
    "TaskOptionValues",
    "TaskOptions",
    "TaskPriority",
    "TaskProgress",
    "TaskRecord",
    "TaskRejected",
    "TaskRequest",
    "TaskRetrying",
    "TaskSpec",
    "TaskStarted",
    "TaskStatistics",
    "TaskStatus",
    "TaskSubmitter",
    "TrackedTask",
    "current_task",
    "every",
    "task",
)
