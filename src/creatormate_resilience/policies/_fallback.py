"""An answer for when there is none."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from creatormate_resilience.events import Event, Listener, notify
from creatormate_resilience.exceptions import ConfigurationError, RetriesExhaustedError, map_exception
from creatormate_resilience.options import check_text, listeners_of
from creatormate_resilience.outcome import On, Outcome, OutcomeKind, classify, predicate
from creatormate_resilience.policy import (
    Policy,
    decorate,
    explain_miscall,
    is_async,
    refuse_awaitable,
    refuse_awaitables,
)

__all__ = ("Fallback", "FallbackStatistics", "FallbackUsed")

P = ParamSpec("P")
T = TypeVar("T")
F_co = TypeVar("F_co", covariant=True)


@dataclass(frozen=True, slots=True)
class FallbackUsed(Event):
    """The substitute is given in place of a failure.

    Attributes:
        error: Name of the exception's type.
    """

    error: str


@dataclass(frozen=True, slots=True)
class FallbackStatistics:
    """A snapshot: how often the substitute was given since the start."""

    used: int


class Fallback(Generic[F_co]):
    """Gives a substitute where the work failed. A function under it returns its own type or the substitute's.

    Args:
        substitute: A value, or a function of the exception (async ones for async work).
        on: Exception types, or a predicate. None: failures of the dependency and refusals such as an open circuit, but
            not what the caller did wrong. Types also mean the last failure of a retry inside that gave up.
        name: In events.
        listeners: Told of `FallbackUsed`.

    Raises:
        ConfigurationError: An argument is not what it should be.
    """

    @overload
    def __init__(
        self,
        substitute: Callable[[Exception], Awaitable[F_co]],
        on: On | None = None,
        *,
        name: str = "fallback",
        listeners: Iterable[Listener] = (),
    ) -> None: ...
    @overload
    def __init__(
        self,
        substitute: Callable[[Exception], F_co],
        on: On | None = None,
        *,
        name: str = "fallback",
        listeners: Iterable[Listener] = (),
    ) -> None: ...
    @overload
    def __init__(
        self, substitute: F_co, on: On | None = None, *, name: str = "fallback", listeners: Iterable[Listener] = ()
    ) -> None: ...
    def __init__(
        self, substitute: Any, on: On | None = None, *, name: str = "fallback", listeners: Iterable[Listener] = ()
    ) -> None:
        check_text("name", name)
        self.name = name
        self.on = on
        self._substitute = substitute
        self._handles = _handler(on)
        self._listeners = listeners_of(listeners)
        self._lock = threading.Lock()
        self._used = 0
        self._plain: type = type(None)

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, Coroutine[Any, Any, T | F_co]]: ...
    @overload
    def __call__(self, fn: Callable[P, Awaitable[T]], /) -> Callable[P, Awaitable[T | F_co]]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T | F_co]: ...
    def __call__(self, fn: Callable[P, Any], /) -> Callable[P, Any]:
        """Give a function a substitute: `@Fallback(...)`; keeps its kind and parameters.

        Raises:
            ConfigurationError: The substitute is async and the function is not.
        """
        if is_async(self._substitute) and inspect.isfunction(fn) and not is_async(fn):
            raise ConfigurationError(f"{self!r} is async and cannot answer for a function that is not")
        return decorate(cast("Policy", self), fn)  # but for what it may return

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | F_co:
        """Run a sync function; its substitute where it failed.

        Raises:
            TypeError: The function or the substitute is async; use `acall`.
        """
        try:
            result = fn(*args, **kwargs)
        except Exception as error:
            if not self._handles(error):
                raise
            given = self._give(error)
            if inspect.isawaitable(given):
                refuse_awaitable(given, cast("Callable[..., Any]", self._substitute))
            return cast("F_co", given)
        if type(result) is not self._plain:  # looked at once for each type that comes along
            self._plain = refuse_awaitables(result, fn)
        return result

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T | F_co:
        """Run an async function; its substitute where it failed."""
        try:
            return await fn(*args, **kwargs)
        except Exception as error:
            explain_miscall(error, fn)
            if not self._handles(error):
                raise
            given = self._give(error)
            return cast("F_co", await given if inspect.isawaitable(given) else given)

    def statistics(self) -> FallbackStatistics:
        """A snapshot."""
        return FallbackStatistics(self._used)

    def _give(self, error: Exception) -> Any:
        with self._lock:
            self._used += 1
        if self._listeners:
            notify(self._listeners, FallbackUsed(self.name, type(error).__name__))
        return self._substitute(error) if callable(self._substitute) else self._substitute

    def __repr__(self) -> str:
        what = getattr(self._substitute, "__qualname__", type(self._substitute).__name__)
        return f"Fallback({what})"


def _handler(on: On | None) -> Callable[[Exception], bool]:
    if on is None:
        return _is_failure
    handles = predicate("on", on)
    if not isinstance(on, type | tuple):
        return handles
    return lambda error: any(map(handles, _behind_retries(error)))


def _behind_retries(error: Exception) -> Iterator[Exception]:
    """The error; of retries that gave up also what they gave up on. Types mean that one: a retry inside hides it."""
    yield error
    if isinstance(error, RetriesExhaustedError) and isinstance(error.__cause__, Exception):
        yield from _behind_retries(error.__cause__)


def _is_failure(error: Exception) -> bool:
    kind = classify(Outcome(exception=error))
    return kind in {OutcomeKind.FAILURE, OutcomeKind.THROTTLED} or map_exception(error).retryable
