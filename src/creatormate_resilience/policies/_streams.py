"""Generators under a retry: begun again until the first item has come, and passed on from there."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing
from typing import Any, ParamSpec, Protocol, TypeVar

__all__ = ("retried_async_stream", "retried_stream")

P = ParamSpec("P")
T = TypeVar("T")


class _Caller(Protocol):
    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


class _Begun(Generator[Any, Any, Any]):
    """A generator whose first item has been taken and is still to be given."""

    def __init__(self, items: Generator[Any, Any, Any]) -> None:
        self._items = items
        self._first: tuple[Any, ...] = ()
        self._end: StopIteration | None = None
        try:
            self._first = (next(items),)
        except StopIteration as end:
            self._end = end

    def send(self, value: Any, /) -> Any:
        if self._end is not None:
            raise StopIteration(self._end.value)
        if self._first:
            (item,), self._first = self._first, ()
            return item
        return self._items.send(value)

    def throw(self, *error: Any) -> Any:
        return self._items.throw(*error)

    def close(self) -> None:
        self._items.close()


def retried_stream(retry: _Caller, fn: Callable[P, Generator[Any, Any, Any]]) -> Callable[P, Generator[Any, Any, Any]]:
    """A generator function that begins again where it failed before its first item."""

    def begin(*args: P.args, **kwargs: P.kwargs) -> _Begun:
        return _Begun(fn(*args, **kwargs))

    @functools.wraps(fn)
    def protected(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
        return (yield from retry.call(begin, *args, **kwargs))

    return protected


def retried_async_stream(
    retry: _Caller, fn: Callable[P, AsyncGenerator[Any, Any]]
) -> Callable[P, AsyncGenerator[Any, Any]]:
    """An async generator function that begins again where it failed before its first item."""

    async def begin(*args: P.args, **kwargs: P.kwargs) -> tuple[AsyncGenerator[Any, Any], list[Any]]:
        items = fn(*args, **kwargs)
        try:
            return items, [await anext(items)]
        except StopAsyncIteration:
            return items, []

    @functools.wraps(fn)
    async def protected(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        items, first = await retry.acall(begin, *args, **kwargs)
        if not first:
            return
        async with aclosing(items) as stream:
            item = first[0]
            while True:
                # What `yield from` does for generators: the inner one hears what is sent and thrown.
                try:
                    sent = yield item
                except GeneratorExit:
                    raise
                except BaseException as thrown:  # noqa: BLE001 - the inner generator answers
                    step = stream.athrow(thrown)
                else:
                    step = stream.asend(sent)
                try:
                    item = await step
                except StopAsyncIteration:
                    return

    return protected
