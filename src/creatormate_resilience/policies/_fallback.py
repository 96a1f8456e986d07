"""An answer for when there is none."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from creatormate_resilience.exceptions import map_exception
from creatormate_resilience.outcome import On, Outcome, OutcomeKind, classify, predicate
from creatormate_resilience.policy import decorate, refuse_awaitable

__all__ = ("Fallback",)

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F")


class Fallback(Generic[F]):
    """Gives a substitute where the work failed.

    Args:
        substitute: A value, or a function of the exception (async ones for async work).
        on: Exception types, or a predicate. None: failures of the dependency and refusals such as an open circuit, but
            not what the caller did wrong.
    """

    @overload
    def __init__(self, substitute: Callable[[Exception], Awaitable[F]], on: On | None = None) -> None: ...
    @overload
    def __init__(self, substitute: Callable[[Exception], F], on: On | None = None) -> None: ...
    @overload
    def __init__(self, substitute: F, on: On | None = None) -> None: ...
    def __init__(self, substitute: Any, on: On | None = None) -> None:
        self._substitute = substitute
        self._on = None if on is None else predicate("on", on)

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Give a function a substitute: `@Fallback(...)`. The substitute should be of the function's return type."""
        return decorate(self, fn)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
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
            return cast("T", given)
        if inspect.isawaitable(result):
            refuse_awaitable(result, fn)
        return result

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function; its substitute where it failed."""
        try:
            return await fn(*args, **kwargs)
        except Exception as error:
            if not self._handles(error):
                raise
            given = self._give(error)
            return cast("T", await given if inspect.isawaitable(given) else given)

    def _handles(self, error: Exception) -> bool:
        if self._on is not None:
            return bool(self._on(error))
        kind = classify(Outcome(exception=error))
        return kind in {OutcomeKind.FAILURE, OutcomeKind.THROTTLED} or map_exception(error).retryable

    def _give(self, error: Exception) -> Any:
        return self._substitute(error) if callable(self._substitute) else self._substitute

    def __repr__(self) -> str:
        what = getattr(self._substitute, "__qualname__", type(self._substitute).__name__)
        return f"Fallback({what})"
