"""Decorating: one wrapper for each kind of function, chosen once, so that a call pays for nothing it does not need."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from creatormate_resilience.breaker._permit import Issuer
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.log import get_logger
from creatormate_resilience.policy import is_async

__all__ = ("wrap",)

P = ParamSpec("P")
T = TypeVar("T")

_log = get_logger("breaker")


class Caller(Issuer, Protocol):
    """The breaker, as wrappers see it."""

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


def wrap(breaker: Caller, fn: Callable[P, T]) -> Callable[P, T]:
    """Protect a function of any kind; see `CircuitBreaker.__call__`."""
    if not callable(fn):
        raise TypeError(f"breaker {breaker.name!r} decorates functions; got {type(fn).__name__}")
    function: Any = fn
    if inspect.isasyncgenfunction(fn):
        return cast("Callable[P, T]", _async_stream(breaker, function))
    if is_async(fn):
        return cast("Callable[P, T]", _async(breaker, function))
    _check_timeout(breaker, fn)
    if inspect.isgeneratorfunction(fn):
        return cast("Callable[P, T]", _stream(breaker, function))
    return _sync(breaker, fn)


def _check_timeout(breaker: Issuer, fn: Callable[..., Any]) -> None:
    if breaker.config.timeout is None:
        return
    name = getattr(fn, "__qualname__", repr(fn))
    if not breaker.lenient_timeout:
        raise ConfigurationError(
            f"timeout of breaker {breaker.name!r} cannot interrupt {name}, which is not async; leave timeout out for it"
        )
    _log.warning("timeout does not apply to a function that is not async", breaker=breaker.name, function=name)


def _sync(breaker: Caller, fn: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(fn)
    def protected(*args: P.args, **kwargs: P.kwargs) -> T:
        return breaker.call(fn, *args, **kwargs)

    return protected


def _async(breaker: Caller, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    @functools.wraps(fn)
    async def protected(*args: P.args, **kwargs: P.kwargs) -> T:
        return await breaker.acall(fn, *args, **kwargs)

    return protected


def _stream(breaker: Issuer, fn: Callable[P, Generator[Any, Any, T]]) -> Callable[P, Generator[Any, Any, T]]:
    @functools.wraps(fn)
    def protected(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, T]:
        permit = breaker.acquire()
        try:
            result = yield from fn(*args, **kwargs)
        except GeneratorExit:
            permit.release()
            raise
        except BaseException as error:
            permit.failure(error)
            raise
        permit.success(result)
        return result

    return protected


def _async_stream(
    breaker: Issuer, fn: Callable[P, AsyncGenerator[Any, None]]
) -> Callable[P, AsyncGenerator[Any, None]]:
    @functools.wraps(fn)
    async def protected(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, None]:
        permit = breaker.acquire()
        stream = fn(*args, **kwargs)
        try:
            async for item in stream:
                yield item
        except GeneratorExit:
            permit.release()
            raise
        except BaseException as error:
            permit.failure(error)
            raise
        finally:
            await stream.aclose()
        permit.success()

    return protected
