"""What `@cache.cached` makes of a function: the same function, its results kept."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from creatormate_resilience.cache._annotations import type_of_results
from creatormate_resilience.cache._category import Categories
from creatormate_resilience.cache._entry import Entry
from creatormate_resilience.cache._template import KeyTemplate
from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("BoundCachedFunction", "CachedDecorator", "CachedFunction", "Keeper", "cached_decorator")

P = ParamSpec("P")
P2 = ParamSpec("P2")
T = TypeVar("T")
S = TypeVar("S")


class CachedDecorator(Protocol):
    """What `DistributedCache.cached` gives."""

    @overload
    def __call__(self, fn: Callable[P, Awaitable[T]], /) -> CachedFunction[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> CachedFunction[P, T]: ...


@dataclass(frozen=True, slots=True)
class Keeper:
    """The verbs of the cache that a decorated function uses.

    Attributes:
        served: Takes a key and a category; the entry that memory may hand out as it is, counted, or None.
        load: Takes a key, a loader, a category, tags, and `renew=True` for a load in any case.
        delete: Takes a key.
        in_thread: Takes a sync function and its arguments.
    """

    served: Callable[[str, str], Entry | None]
    load: Callable[..., Awaitable[Any]]
    delete: Callable[[str], Awaitable[bool]]
    in_thread: Callable[..., Awaitable[Any]]


class CachedFunction(Generic[P, T]):
    """A function, its results kept under keys made from its arguments; `DistributedCache.cached` makes it.

    It is async, whatever the function is: a `def` runs in a worker thread where its result is not known.
    """

    def __init__(
        self, fn: Callable[P, Any], template: str, tags: tuple[str, ...], category: str, keeper: Keeper
    ) -> None:
        name = getattr(fn, "__qualname__", repr(fn))
        if not inspect.isroutine(fn) or inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise ConfigurationError(f"cached decorates functions and methods that return a result; got {name}")
        functools.update_wrapper(self, fn)
        _mark_as_async(self)
        self._fn = fn if inspect.iscoroutinefunction(fn) else functools.partial(keeper.in_thread, fn)
        self._template = KeyTemplate(template, fn)
        self._tags = [KeyTemplate(tag, fn, constant=True) for tag in tags]
        self._category = category
        self._keeper = keeper

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The kept result for these arguments, or a new one."""
        key = self._template.key(*args, **kwargs)
        if (entry := self._keeper.served(key, self._category)) is not None:
            return cast("T", entry.value)
        loader, tags = functools.partial(self._fn, *args, **kwargs), self.tags(*args, **kwargs)
        return cast("T", await self._keeper.load(key, loader, self._category, tags))

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function now and keep the new result."""
        loader, tags = functools.partial(self._fn, *args, **kwargs), self.tags(*args, **kwargs)
        key = self.key(*args, **kwargs)
        return cast("T", await self._keeper.load(key, loader, self._category, tags, renew=True))

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result for these arguments.

        Returns:
            Whether there was one, as far as could be seen.
        """
        return await self._keeper.delete(self._template.key(*args, **kwargs))

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key under which the result for these arguments is kept."""
        return self._template.key(*args, **kwargs)

    def tags(self, *args: P.args, **kwargs: P.kwargs) -> tuple[str, ...]:
        """The tags with which the result for these arguments is kept."""
        return tuple(tag.key(*args, **kwargs) for tag in self._tags) if self._tags else ()

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> CachedFunction[P, T]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, P2], T], instance: S, owner: type[Any] | None = None, /
    ) -> BoundCachedFunction[P2, T]: ...
    def __get__(self, instance: Any, owner: Any = None, /) -> Any:
        """As a method: bound to the instance."""
        return self if instance is None else BoundCachedFunction[Any, Any](self, instance)

    def __repr__(self) -> str:
        return f"<cached {getattr(self, '__qualname__', '?')} as {self._template.template!r}>"


def cached_decorator(
    template: str, tags: tuple[str, ...], categories: Categories, category: str | None, keeper: Keeper
) -> CachedDecorator:
    """See `DistributedCache.cached`."""
    kind = categories.check(category)

    def decorate(fn: Callable[..., Any]) -> CachedFunction[Any, Any]:
        of_type, part = type_of_results(fn), kind
        if of_type is not None and categories.category(kind).type is None:
            part = categories.part(kind, f"{fn.__module__}.{fn.__qualname__}", of_type)
        return CachedFunction(fn, template, tags, part, keeper)

    return decorate


def _mark_as_async(made: Any) -> None:
    # Who asks before calling, as Sentry does of endpoints, would else take a decorated `def` for one and not await it.
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(made)
    else:
        made._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]


class BoundCachedFunction(Generic[P2, T]):
    """A `CachedFunction` as a method of one instance."""

    def __init__(self, function: CachedFunction[Any, T], instance: Any) -> None:
        self._function = function
        self.__self__ = instance
        functools.update_wrapper(self, function)
        self.__wrapped__ = function.__wrapped__.__get__(instance)  # type: ignore[attr-defined]

    async def __call__(self, *args: P2.args, **kwargs: P2.kwargs) -> T:
        """The kept result for these arguments, or a new one."""
        return await self._function(self.__self__, *args, **kwargs)

    async def refresh(self, *args: P2.args, **kwargs: P2.kwargs) -> T:
        """Call the method now and keep the new result."""
        return await self._function.refresh(self.__self__, *args, **kwargs)

    async def invalidate(self, *args: P2.args, **kwargs: P2.kwargs) -> bool:
        """Forget the result for these arguments; tells whether there was one."""
        return await self._function.invalidate(self.__self__, *args, **kwargs)

    def key(self, *args: P2.args, **kwargs: P2.kwargs) -> str:
        """The key under which the result for these arguments is kept."""
        return self._function.key(self.__self__, *args, **kwargs)

    def tags(self, *args: P2.args, **kwargs: P2.kwargs) -> tuple[str, ...]:
        """The tags with which the result for these arguments is kept."""
        return self._function.tags(self.__self__, *args, **kwargs)
