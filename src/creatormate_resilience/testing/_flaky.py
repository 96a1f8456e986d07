"""Callables that answer by a script: fail twice, then work."""

from __future__ import annotations

import threading
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import anyio.lowlevel

__all__ = ("AsyncFlaky", "Flaky", "aflaky", "flaky")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Failure: TypeAlias = BaseException | type[BaseException]
_NOTHING: Final = object()


class _Script(Generic[T_co]):
    """What is to happen, call by call. Threads may share it; each outcome is given once."""

    __slots__ = ("_calls", "_lock", "_outcomes", "_then")

    def __init__(self, outcomes: tuple[object, ...], then: object) -> None:
        if not outcomes and then is _NOTHING:
            raise ValueError("the script is empty; accepted are outcomes in order, or `then` for every call")
        self._outcomes = outcomes
        self._then = then
        self._calls = 0
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        """How often it was called, calls after the end of the script included."""
        return self._calls

    @property
    def remaining(self) -> int:
        """How many outcomes of the script nobody has asked for yet."""
        return max(0, len(self._outcomes) - self._calls)

    def _play(self) -> T_co:
        with self._lock:
            number, self._calls = self._calls, self._calls + 1
        outcome = self._outcomes[number] if number < len(self._outcomes) else self._then
        if outcome is _NOTHING:
            raise AssertionError(
                f"call {number + 1} of {self!r}: its script has {len(self._outcomes)} outcomes; "
                "add one, or say with `then` what follows"
            )
        if isinstance(outcome, BaseException):
            raise outcome.with_traceback(None)  # else the traceback would grow with every call
        if isinstance(outcome, type) and issubclass(outcome, BaseException):
            raise outcome
        return cast("T_co", outcome)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self._calls} calls, {self.remaining} outcomes left>"


class Flaky(_Script[T_co]):
    """A function that follows a script. Made by `flaky`.

    Attributes:
        calls: How often it was called.
        remaining: How many outcomes of the script are left.
    """

    __slots__ = ()

    def __call__(self, *_args: Any, **_kwargs: Any) -> T_co:
        """Give the next outcome; arguments are ignored."""
        return self._play()


class AsyncFlaky(_Script[T_co]):
    """An async function that follows a script. Made by `aflaky`.

    Attributes:
        calls: How often it was called.
        remaining: How many outcomes of the script are left.
    """

    __slots__ = ()

    async def __call__(self, *_args: Any, **_kwargs: Any) -> T_co:
        """Let other tasks have a turn, then give the next outcome; arguments are ignored."""
        await anyio.lowlevel.checkpoint()
        return self._play()


def flaky(*outcomes: T | Failure, then: T | Failure = cast("Any", _NOTHING)) -> Flaky[T]:  # noqa: B008 - a constant
    """A function that gives these outcomes, one for each call.

    Args:
        *outcomes: In order. An exception, or a type of one, is raised; all else is returned.
        then: What every call after these gives; left out, such a call fails the test.

    Returns:
        A callable that ignores its arguments; `calls` and `remaining` say how far it is.

    Raises:
        ValueError: There is no outcome at all.

    A call after the end raises AssertionError. A fallback or a retry around it that catches every exception catches
    that one too: check `calls` where it matters.
    """
    return Flaky(outcomes, then)


def aflaky(*outcomes: T | Failure, then: T | Failure = cast("Any", _NOTHING)) -> AsyncFlaky[T]:  # noqa: B008 - a constant
    """The same as an async function, under asyncio and trio; see `flaky`.

    Args:
        *outcomes: In order. An exception, or a type of one, is raised; all else is returned.
        then: What every call after these gives; left out, such a call fails the test.

    Returns:
        An async callable that ignores its arguments.

    Raises:
        ValueError: There is no outcome at all.
    """
    return AsyncFlaky(outcomes, then)
