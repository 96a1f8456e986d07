"""What a submitter holds in the hand: one task, to wait for, to look at, to cancel."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Generic, TypeVar, cast

from creatormate_resilience.tasks._engine import TrackedTask
from creatormate_resilience.tasks._options import check_seconds
from creatormate_resilience.tasks._record import TaskProgress, TaskRecord, TaskStatus

__all__ = ("TaskHandle",)

T = TypeVar("T")


class TaskHandle(Generic[T]):
    """A submitted task. `await handle` gives its result; dropping the handle changes nothing for the task.

    A task in this process keeps its outcome for as long as a handle of it is held, also when the executor's history has
    forgotten it.
    """

    __slots__ = ("_task",)

    def __init__(self, task: TrackedTask) -> None:
        self._task = task

    @property
    def id(self) -> str:
        """Names the task, and the engine that took it."""
        return self._task.id

    @property
    def name(self) -> str:
        """Of the task or its function."""
        return self._task.name

    async def record(self) -> TaskRecord:
        """A snapshot of all that is known of it."""
        return await self._task.record()

    async def status(self) -> TaskStatus:
        """Where it stands."""
        return (await self._task.record()).status

    async def progress(self) -> TaskProgress | None:
        """What the task said of itself last, or None."""
        return (await self._task.record()).progress

    async def result(self, timeout: float | None = None) -> T:
        """Wait for the end. Neither the wait's timeout nor its cancellation touches the task.

        Args:
            timeout: Longest wait, in seconds; None waits for ever, 0 only looks.

        Returns:
            What the function returned.

        Raises:
            TaskResultTimeoutError: The task has not ended yet; it goes on.
            TaskTimeoutError: The task was given up at its deadline.
            TaskCancelledError: The task was cancelled.
            TaskExpiredError: The task could not start in time.
            WorkerCrashedError: The task's worker process died.
            ResilienceError: The task raised it.
            TaskError: The task raised something else, which is the cause.
            ConfigurationError: It was called from another event loop than the executor's.
        """
        if timeout is not None:
            check_seconds("timeout", timeout, zero=True)
        return cast("T", await self._task.outcome(timeout))

    async def cancel(self) -> bool:
        """Cancel the task. A waiting one never starts; what becomes of a running one depends on its kind.

        On the event loop it is cancelled until it ends. A worker process is killed. A thread cannot be stopped: it is
        asked (`anyio.from_thread.check_cancelled`), and holds its slot until it returns.

        Returns:
            True when this call made the task CANCELLED, False when it had ended.

        Raises:
            ConfigurationError: It was called from another event loop than the executor's.
        """
        return await self._task.cancel()

    def __await__(self) -> Generator[Any, None, T]:
        return self.result().__await__()

    def __repr__(self) -> str:
        return f"<TaskHandle {self._task!r}>"
