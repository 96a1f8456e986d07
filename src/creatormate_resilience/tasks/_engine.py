"""What stands behind an executor: takes tasks, keeps them, says what became of them; here, or on many machines."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from creatormate_resilience.exceptions import UnsupportedOptionError
from creatormate_resilience.tasks._options import Kind, TagValue, TaskOptions
from creatormate_resilience.tasks._record import TaskRecord, TaskStatus
from creatormate_resilience.tasks._shutdown import ShutdownReport
from creatormate_resilience.tasks._statistics import TaskStatistics

__all__ = ("Capability", "Engine", "TaskRequest", "TaskSpec", "TrackedTask", "check_supported")


class Capability(enum.Enum):
    """What an engine may be able to do beyond running portable functions; it refuses what it cannot do."""

    ANY_FUNCTION = "any function and any arguments, not only portable ones"
    PRIORITY = "starting urgent tasks first"
    DELAY = "starting later"
    EXPIRY = "not starting too late"
    KEYS = "limits and turns for each key"
    UNIQUE = "taking a unique key once"
    RETRY = "a retry policy given at the submission, not only one declared with the function"
    CANCEL_RUNNING = "cancelling what runs"
    PROGRESS = "progress of what runs"
    TRANSACTION = "submitting inside the caller's transaction"
    DURABLE = "keeping tasks when a process dies"


_NEEDED: Final[Mapping[str, Capability]] = MappingProxyType(
    {
        "priority": Capability.PRIORITY,
        "delay": Capability.DELAY,
        "expires": Capability.EXPIRY,
        "key": Capability.KEYS,
        "unique_key": Capability.UNIQUE,
        "connection": Capability.TRANSACTION,
    }
)
_DEFAULTS: Final = TaskOptions()


def check_supported(options: TaskOptions, engine: str, capabilities: frozenset[Capability]) -> None:
    """Refuse options that an engine cannot honour.

    Args:
        options: What was asked for.
        engine: Its name, for the error.
        capabilities: What it can do.

    Raises:
        UnsupportedOptionError: It cannot do one of them; the error names it.
    """
    for option, needed in _NEEDED.items():
        if needed not in capabilities and getattr(options, option) != getattr(_DEFAULTS, option):
            raise UnsupportedOptionError(f"the engine {engine} cannot honour the option {option!r}: {needed.value}")


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What all submissions of one function under the same options share.

    Attributes:
        name: Of the tasks.
        kind: Where they run.
        options: As given and declared.
    """

    name: str
    kind: Kind
    options: TaskOptions


class TaskRequest(NamedTuple):
    """One submission.

    Attributes:
        fn: The function.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        spec: How it is to be run.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    spec: TaskSpec


make_request: Final[Callable[[tuple[Any, ...]], TaskRequest]] = functools.partial(tuple.__new__, TaskRequest)  # pyright: ignore[reportUnknownMemberType]
"""A request without the cost of its constructor."""


class TrackedTask(Protocol):
    """A task that an engine took."""

    @property
    def id(self) -> str:
        """Names it, and the engine that took it."""
        ...

    @property
    def name(self) -> str:
        """Its name."""
        ...

    async def record(self) -> TaskRecord:
        """How it stands."""
        ...

    async def outcome(self, timeout: float | None) -> object:
        """Wait at most `timeout` seconds for its end; then what it returned, or the error that stands for what it did.

        Raises:
            TaskResultTimeoutError: It has not ended yet.
        """
        ...

    async def cancel(self) -> bool:
        """Cancel it; False when it had ended."""
        ...


class Engine(Protocol):
    """Takes tasks and keeps them. `TaskExecutor` is the face of one."""

    @property
    def name(self) -> str:
        """For errors and logs."""
        ...

    @property
    def phase(self) -> str:
        """In words: not started, open, draining, closed."""
        ...

    @property
    def left_open(self) -> bool:
        """Whether it was started and not closed."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do."""
        ...

    async def start(self) -> None:
        """Begin to take tasks."""
        ...

    def check_open(self) -> None:
        """Refuse what is asked for before the start, from the end on, or from another event loop."""
        ...

    async def submit(self, requests: Sequence[TaskRequest]) -> Sequence[TrackedTask]:
        """Take tasks of one spec: all of them, or none and an error that says why."""
        ...

    async def find(self, task_id: str) -> TrackedTask:
        """The task of an id.

        Raises:
            TaskNotFoundError: There is none; the error says why.
        """
        ...

    async def claim(self, name: str, occurrence: str, /) -> bool:
        """Say whether this process is the one to submit an occurrence of a periodic task; of many, one is."""
        ...

    async def list(self, status: TaskStatus | None, tags: Mapping[str, TagValue], limit: int) -> Sequence[TaskRecord]:
        """The newest tasks that are known, of one status and with all of these tags."""
        ...

    def statistics(self) -> TaskStatistics:
        """What this process took and ran."""
        ...

    async def drain(self, timeout: float | None) -> bool:
        """Take no more and wait for the end of what there is; False when `timeout` seconds were not enough."""
        ...

    async def shutdown(self, drain: float, grace: float) -> ShutdownReport:
        """Take no more, wait `drain` seconds for what there is, cancel, wait `grace` seconds; and tell of each task."""
        ...
