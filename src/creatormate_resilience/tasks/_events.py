"""What a task executor tells its listeners."""

from __future__ import annotations

from dataclasses import dataclass

from creatormate_resilience.events import Event
from creatormate_resilience.tasks._record import TaskStatus

__all__ = ("LoopBlocked", "TaskEvent", "TaskFinished", "TaskRejected", "TaskRetrying", "TaskStarted")


@dataclass(frozen=True, slots=True)
class TaskEvent(Event):
    """Something happened to one task.

    Attributes:
        task_id: Its id.
        name: Its name.
        attempt: Attempts started so far.
    """

    task_id: str
    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class TaskStarted(TaskEvent):
    """An attempt started.

    Attributes:
        wait_time: Seconds it had waited in the queue before its first start.
    """

    wait_time: float


@dataclass(frozen=True, slots=True)
class TaskRetrying(TaskEvent):
    """An attempt failed or timed out, and another will be made.

    Attributes:
        delay: Seconds to rest before it queues again.
    """

    delay: float


@dataclass(frozen=True, slots=True)
class TaskFinished(TaskEvent):
    """A task reached its final status.

    Attributes:
        status: That status.
        run_time: Seconds from its first start; None when it never started.
    """

    status: TaskStatus
    run_time: float | None


@dataclass(frozen=True, slots=True)
class TaskRejected(Event):
    """Tasks were not taken, because the queue was full.

    Attributes:
        count: How many.
        retry_after: Seconds until it may be tried again.
    """

    count: int
    retry_after: float


@dataclass(frozen=True, slots=True)
class LoopBlocked(Event):
    """The event loop stood still: something in a coroutine did not let go of it. Timeouts cannot strike meanwhile.

    Attributes:
        task_id: The task that did it; None when it was none of the executor's.
        name: That task's name, or what asyncio calls it; None when it was a plain callback.
        where: The line that was running, as `module.function:line`.
        seconds: For how long.
    """

    task_id: str | None
    name: str | None
    where: str
    seconds: float
