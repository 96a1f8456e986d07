"""A bound on how long async work may take."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar, ParamSpec, TypeVar

from creatormate_resilience.deadline import Deadline
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.policy import decorate
from creatormate_resilience.time_limit import time_limit

__all__ = ("Timeout",)

P = ParamSpec("P")
T = TypeVar("T")


class Timeout:
    """Interrupts async work that takes longer. Inner policies see the deadline and start nothing that cannot finish.

    Args:
        seconds: Longest duration, in seconds.

    Raises:
        ConfigurationError: `seconds` is not a finite number above 0.
    """

    __slots__ = ("seconds",)
    async_only: ClassVar[bool] = True

    def __init__(self, seconds: float) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"seconds is {seconds!r}; accepted are finite seconds above 0")
        self.seconds = float(seconds)

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Bound an async function: `@Timeout(2)`.

        Raises:
            ConfigurationError: The function is not async; nothing could interrupt it.
        """
        return decorate(self, fn)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:  # noqa: ARG002 - the protocol's form
        """Refused: sync code cannot be interrupted.

        Raises:
            ConfigurationError: Always.
        """
        name = getattr(fn, "__qualname__", repr(fn))
        raise ConfigurationError(f"{self!r} cannot interrupt {name}, which is called without async")

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function within the time.

        Raises:
            OperationTimeoutError: It took longer and was cancelled.
        """
        async with time_limit(self.seconds, what=getattr(fn, "__qualname__", "the operation")):
            return await fn(*args, **kwargs)

    def guard(self) -> AbstractAsyncContextManager[Deadline]:
        """Bound a block: `async with Timeout(2).guard():`.

        Raises:
            OperationTimeoutError: The block took longer and was cancelled.
        """
        return time_limit(self.seconds, what="the block")

    def __repr__(self) -> str:
        return f"Timeout({self.seconds:g})"
