"""How one task is to be run: the options a caller may give, checked where they are given."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol, TypeAlias, TypedDict, get_args

__all__ = ("Kind", "RetryAdvice", "RunIn", "TagValue", "TaskOptionValues", "TaskOptions", "TaskPriority")

RunIn: TypeAlias = Literal["auto", "async", "thread", "process"]
Kind: TypeAlias = Literal["async", "thread", "process"]
TagValue: TypeAlias = str | int | float | bool


class TaskPriority(enum.IntEnum):
    """Which of the waiting tasks starts first. Waiting raises a task: see `TaskExecutor`, `aging`."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


class RetryAdvice(Protocol):
    """What a retry policy tells the executor; `policies.Retry` does."""

    @property
    def max_attempts(self) -> int:
        """Most attempts in all, the first one included."""
        ...

    def delay_before(self, attempt: int, error: BaseException) -> float | None:
        """Say whether and when to try again.

        Args:
            attempt: Attempts made so far, from 1.
            error: What the last one raised, or a `TaskTimeoutError`.

        Returns:
            Seconds to wait before the next attempt, or None to give up.
        """
        ...


class TaskOptionValues(TypedDict, total=False):
    """Keyword arguments of `TaskExecutor.options` and of `task`; see `TaskOptions`."""

    name: str | None
    priority: TaskPriority
    timeout: float | None
    retry: RetryAdvice | None
    run_in: RunIn
    tags: Mapping[str, TagValue]
    delay: float
    expires: float | None
    key: str | None
    unique_key: str | None
    portable: bool
    connection: object


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How one task is to be run.

    Attributes:
        name: Shown in records, events and errors; None takes the function's qualified name.
        priority: Which of the waiting tasks starts first.
        timeout: Longest run of one attempt, in seconds; None lets it run for ever. What happens then depends on the
            kind: see `TaskExecutor`.
        retry: Whether and when a failed or timed-out attempt is made again; None never does.
        run_in: "async", "thread" or "process"; "auto" takes "async" for coroutine functions and "thread" for others.
        tags: To find the task by; short texts, numbers and booleans.
        delay: Seconds to wait before the task joins the queue.
        expires: Seconds from the submission after which no attempt starts any more; the task is then EXPIRED. None
            waits for ever.
        key: Whose task it is: a tenant, a user, a service. Tasks of different keys take turns, and each key has the
            executor's `key_limits`.
        unique_key: While a task with this key has not ended, a further submission is not taken; it gets a handle of
            that task instead.
        portable: Refuse, at the submission, what another process could not run: functions it could not find and
            arguments that are not JSON. Engines beyond this process always do.
        connection: A database session or connection whose transaction the submission is to be part of; only engines
            that keep their queue in that database can.

    Raises:
        ValueError: A value is out of its range.
        TypeError: A value is of a type that is not accepted.
    """

    name: str | None = None
    priority: TaskPriority = TaskPriority.NORMAL
    timeout: float | None = None
    retry: RetryAdvice | None = None
    run_in: RunIn = "auto"
    tags: Mapping[str, TagValue] = field(default_factory=lambda: MappingProxyType({}))
    delay: float = 0.0
    expires: float | None = None
    key: str | None = None
    unique_key: str | None = None
    portable: bool = False
    connection: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for parameter in ("name", "key", "unique_key"):
            _check_text(parameter, getattr(self, parameter))
        if not isinstance(self.priority, TaskPriority):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"priority is {self.priority!r}; accepted is a TaskPriority")
        if self.timeout is not None:
            check_seconds("timeout", self.timeout, zero=False)
        if self.retry is not None and not callable(getattr(self.retry, "delay_before", None)):
            raise TypeError(
                f"retry is a {type(self.retry).__name__}; accepted is a policy with delay_before(), or None"
            )
        if self.run_in not in get_args(RunIn):
            raise ValueError(f"run_in is {self.run_in!r}; accepted are {', '.join(map(repr, get_args(RunIn)))}")
        check_seconds("delay", self.delay, zero=True)
        if self.expires is not None:
            check_seconds("expires", self.expires, zero=False)
        if not isinstance(self.portable, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"portable is a {type(self.portable).__name__}; accepted are True and False")
        object.__setattr__(self, "tags", _checked_tags(self.tags))


def check_seconds(parameter: str, value: object, *, zero: bool) -> None:
    """Refuse what is not a finite duration.

    Args:
        parameter: Named in the error.
        value: What was given, in seconds.
        zero: Whether 0 is accepted.

    Raises:
        ValueError: It is negative, NaN or infinite, or 0 where that is not accepted.
        TypeError: It is not a number.
    """
    least = "0 or more" if zero else "more than 0"
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{parameter} is a {type(value).__name__}; accepted are seconds, {least}")
    if not (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        raise ValueError(f"{parameter} is {value!r}; accepted are finite seconds, {least}")


def check_count(parameter: str, value: object) -> None:
    """Refuse what is not a whole number of at least 1; a `TypeError` or `ValueError` names the parameter."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{parameter} is a {type(value).__name__}; accepted is a whole number, 1 or more")
    if value < 1:
        raise ValueError(f"{parameter} is {value!r}; accepted is a whole number, 1 or more")


def _check_text(parameter: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= 200):
        raise ValueError(f"{parameter} is {value!r:.250}; accepted is a text of 1 to 200 characters, or None")


def _checked_tags(tags: Mapping[str, TagValue]) -> Mapping[str, TagValue]:
    if not isinstance(tags, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"tags is a {type(tags).__name__}; accepted is a mapping of texts to plain values")
    for key, value in tags.items():
        if not isinstance(key, str) or not isinstance(value, str | int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"tags[{key!r:.100}] is a {type(value).__name__}; accepted are texts, numbers and booleans")
    return MappingProxyType(dict(tags))
