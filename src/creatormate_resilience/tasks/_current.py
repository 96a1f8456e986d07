"""What a running task can know and say about itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._options import TagValue
from creatormate_resilience.tasks._record import TaskProgress

__all__ = ("CurrentTask", "current_task", "running_task")

running_task: ContextVar[CurrentTask] = ContextVar("creatormate_resilience_task")


class CurrentTask:
    """The task whose function is running; from `current_task`. Its methods may be called from the task's thread."""

    __slots__ = ("_job",)

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def id(self) -> str:
        """Its id."""
        return self._job.id

    @property
    def name(self) -> str:
        """Its name."""
        return self._job.name

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._job.attempts

    @property
    def tags(self) -> Mapping[str, TagValue]:
        """Its tags."""
        return self._job.tags

    def set_progress(self, fraction: float, message: str | None = None) -> None:
        """Say how far it is. A task that was given up (timed out, cancelled) and still runs is no longer listened to.

        Args:
            fraction: From 0 to 1.
            message: What it is doing.

        Raises:
            ValueError: `fraction` is not from 0 to 1.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction is {fraction!r}; accepted is 0 to 1")
        if not self._job.status.final:
            self._job.progress = TaskProgress(float(fraction), message)

    def __repr__(self) -> str:
        return f"<CurrentTask {self.id} {self.name}>"


def current_task() -> CurrentTask:
    """The task that is running here.

    Returns:
        It, in a task on the event loop or in a thread, and in whatever they call.

    Raises:
        ConfigurationError: No task is running here; a task in a worker process is not known there.
    """
    try:
        return running_task.get()
    except LookupError:
        raise ConfigurationError(
            "current_task() was called outside a task; it works in tasks that run on the event loop or in a thread"
        ) from None
