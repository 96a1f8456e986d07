"""What a running task can know and say about itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final, Protocol

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.tasks._options import TagValue
from creatormate_resilience.tasks._record import TaskProgress

__all__ = ("CurrentTask", "Running", "current_task", "running_task")

_LONGEST_MESSAGE: Final = 500


class Running(Protocol):
    """A task as its own function sees it."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def attempts(self) -> int:
        """Attempts started, this one included."""
        ...

    @property
    def tags(self) -> Mapping[str, TagValue]:
        """Its tags."""
        ...

    def report(self, progress: TaskProgress) -> None:
        """Take note of how far it is.

        Raises:
            ConfigurationError: Where it runs nothing can be reported.
        """
        ...


running_task: ContextVar[Running] = ContextVar("creatormate_resilience_task")


class CurrentTask:
    """The task whose function is running; from `current_task`. Its methods may be called from the task's thread."""

    __slots__ = ("_task",)

    def __init__(self, task: Running) -> None:
        self._task = task

    @property
    def id(self) -> str:
        """Its id."""
        return self._task.id

    @property
    def name(self) -> str:
        """Its name."""
        return self._task.name

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._task.attempts

    @property
    def tags(self) -> Mapping[str, TagValue]:
        """Its tags."""
        return self._task.tags

    def set_progress(self, fraction: float, message: str | None = None) -> None:
        """Say how far it is. A task that was given up (timed out, cancelled) and still runs is no longer listened to.

        Args:
            fraction: From 0 to 1.
            message: What it is doing; cut at 500 characters.

        Raises:
            ValueError: `fraction` is not from 0 to 1.
            TypeError: `fraction` is not a number, or `message` not a text.
            ConfigurationError: The task runs in a worker process, from which nothing can be reported.
        """
        if not isinstance(fraction, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"fraction is a {type(fraction).__name__}; accepted is 0 to 1")
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction is {fraction!r}; accepted is 0 to 1")
        if message is not None:
            message = _cut(message)
        self._task.report(TaskProgress(float(fraction), message))

    def __repr__(self) -> str:
        return f"<CurrentTask {self.id} {self.name}>"


def _cut(message: str) -> str:
    if not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"message is a {type(message).__name__}; accepted is a text, or None")
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[: _LONGEST_MESSAGE - 1]}…"


def current_task() -> CurrentTask:
    """The task that is running here.

    Returns:
        It, in a task on the event loop, in a thread or in a worker process, and in whatever they call.

    Raises:
        ConfigurationError: No task is running here.
    """
    try:
        return CurrentTask(running_task.get())
    except LookupError:
        raise ConfigurationError("current_task() was called outside a task") from None
