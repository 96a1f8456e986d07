"""Decorating: one wrapper for each kind of function, chosen once, so that a call pays for nothing it does not need."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from creatormate_resilience.breaker._machine import Era
from creatormate_resilience.breaker._permit import Issuer, timeout_refusal
from creatormate_resilience.clock import Clock
from creatormate_resilience.log import get_logger
from creatormate_resilience.outcome import Outcome
from creatormate_resilience.policy import check_decorated, is_async
from creatormate_resilience.time_limit import time_limit

__all__ = ("wrap",)

P = ParamSpec("P")
T = TypeVar("T")

_log = get_logger("breaker")


class Caller(Issuer, Protocol):
    """The breaker, as wrappers see it."""

    clock: Clock
    passing: Era | None
    watches_time: bool
    """Whether the window wants to know the time at every success."""

    def judge(self, era: Era, number: int, outcome: Outcome) -> None: ...
    def look(self, era: Era, result: object, fn: Callable[..., Any]) -> type: ...
    def turn(self, era: Era, now: float) -> None: ...
    def succeed_after(self, era: Era, started: float) -> None: ...

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


def wrap(breaker: Caller, fn: Callable[P, T]) -> Callable[P, T]:
    """Protect a function of any kind; see `CircuitBreaker.__call__`."""
    check_decorated(breaker, fn)
    function: Any = fn
    if isinstance(fn, staticmethod):  # stays one, else it would be given the instance
        return cast("Callable[P, T]", staticmethod(wrap(breaker, function.__func__)))
    if inspect.isasyncgenfunction(fn):
        return cast("Callable[P, T]", _async_stream(breaker, function))
    if is_async(fn):
        return cast("Callable[P, T]", _async(breaker, function))
    _check_timeout(breaker, fn)
    if inspect.isgeneratorfunction(fn):
        return cast("Callable[P, T]", _stream(breaker, function))
    return _sync(breaker, fn)


def _check_timeout(breaker: Issuer, fn: Callable[..., Any]) -> None:
    if breaker.async_only:
        raise timeout_refusal(breaker.name, fn)
    if breaker.config.timeout is not None:
        name = getattr(fn, "__qualname__", repr(fn))
        _log.warning("timeout does not apply to a function that is not async", breaker=breaker.name, function=name)


def _sync(breaker: Caller, fn: Callable[P, T]) -> Callable[P, T]:
    if breaker.config.classify is not None:  # it looks at results
        return _sync_whole(breaker, fn)
    if breaker.config.slow_call_duration is not None:
        return _sync_watched(breaker, fn)
    plain: type = type(None)
    now = breaker.clock.monotonic if breaker.watches_time else None

    @functools.wraps(fn)
    def protected(*args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal plain
        era = breaker.passing
        if era is None:
            return breaker.acquire().run(fn, *args, **kwargs)
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            breaker.judge(era, 0, Outcome(None, error))
            raise
        if type(result) is not plain:  # looked at once for each type that comes along
            plain = breaker.look(era, result, fn)
        if now is not None and (moment := now()) >= era.turns_at:
            breaker.turn(era, moment)
        era.tick()
        return result

    return protected


def _sync_watched(breaker: Caller, fn: Callable[P, T]) -> Callable[P, T]:
    plain: type = type(None)
    now = breaker.clock.monotonic

    @functools.wraps(fn)
    def protected(*args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal plain
        era = breaker.passing
        if era is None:
            return breaker.acquire().run(fn, *args, **kwargs)
        started = now()
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            breaker.judge(era, 0, Outcome(None, error, now() - started))
            raise
        if type(result) is not plain:
            plain = breaker.look(era, result, fn)
        breaker.succeed_after(era, started)
        return result

    return protected


def _sync_whole(breaker: Caller, fn: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(fn)
    def protected(*args: P.args, **kwargs: P.kwargs) -> T:
        return breaker.call(fn, *args, **kwargs)

    return protected


def _async(breaker: Caller, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    if breaker.config.classify is not None or breaker.config.timeout is not None:
        return _async_whole(breaker, fn)
    if breaker.config.slow_call_duration is not None:
        return _async_watched(breaker, fn)
    now = breaker.clock.monotonic if breaker.watches_time else None

    @functools.wraps(fn)
    async def protected(*args: P.args, **kwargs: P.kwargs) -> T:
        era = breaker.passing
        if era is None:
            return await breaker.acquire().arun(fn, *args, **kwargs)
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            breaker.judge(era, 0, Outcome(None, error))
            raise
        if now is not None and (moment := now()) >= era.turns_at:
            breaker.turn(era, moment)
        era.tick()
        return result

    return protected


def _async_watched(breaker: Caller, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    now = breaker.clock.monotonic

    @functools.wraps(fn)
    async def protected(*args: P.args, **kwargs: P.kwargs) -> T:
        era = breaker.passing
        if era is None:
            return await breaker.acquire().arun(fn, *args, **kwargs)
        started = now()
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            breaker.judge(era, 0, Outcome(None, error, now() - started))
            raise
        breaker.succeed_after(era, started)
        return result

    return protected


def _async_whole(breaker: Caller, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
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


def _async_stream(breaker: Issuer, fn: Callable[P, AsyncGenerator[Any, Any]]) -> Callable[P, AsyncGenerator[Any, Any]]:
    @functools.wraps(fn)
    async def protected(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        permit = breaker.acquire()
        try:
            async with aclosing(fn(*args, **kwargs)) as stream:
                step = stream.__anext__()
                while True:
                    try:
                        item = await _within_timeout(breaker, step)
                    except StopAsyncIteration:
                        break
                    # What `yield from` does for generators: the inner one hears what is sent and thrown.
                    try:
                        sent = yield item
                    except GeneratorExit:
                        raise
                    except BaseException as thrown:  # noqa: BLE001 - the inner generator answers
                        step = stream.athrow(thrown)
                    else:
                        step = stream.asend(sent)
        except GeneratorExit:
            permit.release()
            raise
        except BaseException as error:
            permit.failure(error)
            raise
        permit.success()

    return protected


async def _within_timeout(breaker: Issuer, step: Awaitable[T]) -> T:
    if breaker.config.timeout is None:
        return await step
    async with time_limit(breaker.config.timeout, what=f"an item of a stream through breaker {breaker.name!r}"):
        return await step
