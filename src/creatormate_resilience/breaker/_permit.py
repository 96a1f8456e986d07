"""Leave to make one call, as a two-step permit and as a context manager."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, ParamSpec, Protocol, TypeVar

from creatormate_resilience.breaker._config import CircuitBreakerConfig
from creatormate_resilience.breaker._machine import Era
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.policy import explain_miscall, refuse_awaitables
from creatormate_resilience.time_limit import time_limit

__all__ = ("Guard", "Permit", "timeout_refusal")

P = ParamSpec("P")
T = TypeVar("T")


class Issuer(Protocol):
    """The breaker, as permits and guards see it."""

    name: str
    async_only: bool

    @property
    def config(self) -> CircuitBreakerConfig: ...
    def acquire(self) -> Permit: ...
    def settle(self, permit: Permit, result: Any, exception: BaseException | None, *, ignore: bool = False) -> None: ...


def timeout_refusal(breaker: str, fn: object) -> ConfigurationError:
    """What a breaker with a timeout says to sync code."""
    name = getattr(fn, "__qualname__", repr(fn))
    return ConfigurationError(
        f"timeout of breaker {breaker!r} cannot interrupt {name}, which is not async; leave timeout out for it"
    )


class Permit:
    """Leave to make one call. Settle it once; what comes after that is ignored, so a `finally: release()` is safe."""

    __slots__ = ("_breaker", "_settled", "era", "number", "started")

    def __init__(self, breaker: Issuer, era: Era, number: int, started: float) -> None:
        self._breaker = breaker
        self._settled = False
        self.era = era
        self.number = number
        self.started = started

    def success(self, result: Any = None) -> None:
        """The call returned; a classifier may still look at the result."""
        self._settle(result, None, ignore=False)

    def failure(self, exception: BaseException) -> None:
        """The call raised; the classifier says what that means. A cancellation counts as nothing.

        Raises:
            TypeError: It is no exception.
        """
        if not isinstance(exception, BaseException):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"exception is {exception!r:.200}; accepted is an instance of an exception")
        self._settle(None, exception, ignore=False)

    def release(self) -> None:
        """The call was not made, or its outcome says nothing."""
        self._settle(None, None, ignore=True)

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Make the call, sync, and settle."""
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            self.failure(error)
            raise
        try:
            refuse_awaitables(result, fn)
        except (TypeError, ConfigurationError):
            self.release()
            raise
        self.success(result)
        return result

    async def arun(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Make the call, async, within the breaker's timeout, and settle."""
        timeout = self._breaker.config.timeout
        try:
            if timeout is None:
                result = await fn(*args, **kwargs)
            else:
                async with time_limit(timeout, what=f"a call through breaker {self._breaker.name!r}"):
                    result = await fn(*args, **kwargs)
        except BaseException as error:
            self.failure(error)
            explain_miscall(error, fn)
            raise
        self.success(result)
        return result

    def _settle(self, result: Any, exception: BaseException | None, *, ignore: bool) -> None:
        if not self._settled:
            self._settled = True
            self._breaker.settle(self, result, exception, ignore=ignore)

    def __repr__(self) -> str:
        probe = f" {self.number}" if self.number else ""
        return f"<Permit{probe} of {self._breaker.name!r}{' settled' if self._settled else ''}>"


class Guard:
    """One protected block, sync or async. Made by `CircuitBreaker.guard()`."""

    __slots__ = ("_breaker", "_limit", "_permit", "_timeout")

    def __init__(self, breaker: Issuer, timeout: float | None) -> None:
        self._breaker = breaker
        self._timeout = timeout
        self._permit: Permit | None = None
        self._limit: AbstractAsyncContextManager[object] | None = None

    def __enter__(self) -> None:
        if self._breaker.async_only:
            raise ConfigurationError(
                f"timeout of breaker {self._breaker.name!r} cannot interrupt a sync block; use `async with`"
            )
        self._take()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._settle(error)

    async def __aenter__(self) -> None:
        self._take()
        if self._timeout is not None:
            self._limit = time_limit(self._timeout, what=f"a block under breaker {self._breaker.name!r}")
            await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        try:
            if self._limit is not None:
                await self._limit.__aexit__(kind, error, trace)
        except BaseException as timed_out:
            self._settle(timed_out)
            raise
        self._settle(error)

    def _take(self) -> None:
        if self._permit is not None:
            raise RuntimeError("a guard protects one block; call breaker.guard() again")
        self._permit = self._breaker.acquire()

    def _settle(self, error: BaseException | None) -> None:
        if self._permit is not None:
            self._permit.success() if error is None else self._permit.failure(error)
