"""A bound on how long async work may take."""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, ParamSpec, TypeVar, cast

from creatormate_resilience.events import Event, Listener, notify
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.options import check_number, check_text, listeners_of
from creatormate_resilience.policy import decorate, explain_miscall, is_async
from creatormate_resilience.time_limit import TimeLimit

__all__ = ("TimedOut", "Timeout", "TimeoutStatistics")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TimedOut(Event):
    """Work was interrupted because it took too long.

    Attributes:
        seconds: What it was allowed.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class TimeoutStatistics:
    """A snapshot: how often work was interrupted since the start."""

    timed_out: int


class Timeout:
    """Interrupts async work that takes longer. Inner policies see the deadline and do not wait past it.

    Args:
        seconds: Longest duration, in seconds.
        name: In events.
        listeners: Told of `TimedOut`.

    Raises:
        ConfigurationError: `seconds` is not a finite number above 0, or another argument is not what it should be.
    """

    __slots__ = ("_listeners", "_lock", "_timed_out", "name", "seconds")
    async_only: ClassVar[bool] = True

    def __init__(self, seconds: float, *, name: str = "timeout", listeners: Iterable[Listener] = ()) -> None:
        check_number("seconds", seconds, "seconds", most=1e9)
        check_text("name", name)
        self.seconds = float(seconds)
        self.name = name
        self._listeners = listeners_of(listeners)
        self._lock = threading.Lock()
        self._timed_out = 0

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Bound an async function: `@Timeout(2)`.

        Raises:
            ConfigurationError: The function is not async; nothing could interrupt it.
        """
        function: Any = fn
        if isinstance(fn, staticmethod) or not callable(fn) or not is_async(fn):
            return decorate(self, function)
        return cast("Callable[P, T]", self._async(function))

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:  # noqa: ARG002 - the protocol's form
        """Refused: sync code cannot be interrupted.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(f"{self!r} cannot interrupt {_name(fn)}, which is called without async")

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function within the time.

        Raises:
            OperationTimeoutError: It took longer and was cancelled.
        """
        with TimeLimit(self.seconds, _name(fn), self._note):
            try:
                return await fn(*args, **kwargs)
            except TypeError as error:
                explain_miscall(error, fn)
                raise

    def guard(self) -> TimeLimit:
        """Bound a block: `async with Timeout(2).guard():`.

        Returns:
            A context manager for one block; it gives the deadline in force inside. The block ends with
            `OperationTimeoutError` when it took longer and was cancelled.
        """
        return TimeLimit(self.seconds, "the block", self._note)

    def statistics(self) -> TimeoutStatistics:
        """A snapshot."""
        return TimeoutStatistics(self._timed_out)

    def _async(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        seconds, note, name = self.seconds, self._note, _name(fn)

        @functools.wraps(fn)
        async def protected(*args: P.args, **kwargs: P.kwargs) -> T:
            with TimeLimit(seconds, name, note):
                return await fn(*args, **kwargs)

        return protected

    def _note(self) -> None:
        with self._lock:
            self._timed_out += 1
        notify(self._listeners, TimedOut(self.name, self.seconds))

    def __repr__(self) -> str:
        return f"Timeout({self.seconds:g})"


def _name(fn: Callable[..., Any]) -> str:
    """What is bounded, also where policies stand between: `compose` nests them as partials of `call` and `acall`."""
    inner: Any = fn
    while isinstance(inner, functools.partial):
        nested = inner.args and getattr(inner.func, "__name__", "") in {"call", "acall"}
        inner = inner.args[0] if nested else inner.func
    return getattr(inner, "__qualname__", "the operation")
