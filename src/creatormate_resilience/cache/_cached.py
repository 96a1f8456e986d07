"""What `@cache.cached` makes of a function: the same function, its results kept."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from creatormate_resilience.cache._keys import KeyTemplate
from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("BoundCachedFunction", "CachedFunction", "Keeper")

P = ParamSpec("P")
P2 = ParamSpec("P2")
T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Keeper:
    """The verbs of the cache that a decorated function uses; the loading ones take a key and a loader."""

    get_or_set: Callable[..., Awaitable[Any]]
    renew: Callable[..., Awaitable[Any]]
    delete: Callable[[str], Awaitable[bool]]


class CachedFunction(Generic[P, T]):
    """An async function, its results kept under keys made from its arguments; `DistributedCache.cached` makes it."""

    def __init__(self, fn: Callable[P, Awaitable[T]], template: str, keeper: Keeper) -> None:
        if not inspect.iscoroutinefunction(fn):
            name = getattr(fn, "__qualname__", repr(fn))
            raise ConfigurationError(f"cached decorates async functions; {name} is not declared `async def`")
        functools.update_wrapper(self, fn)
        self._fn = fn
        self._template = KeyTemplate(template, fn)
        self._keeper = keeper

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The kept result for these arguments, or a new one."""
        result: T = await self._keeper.get_or_set(
            self.key(*args, **kwargs), functools.partial(self._fn, *args, **kwargs)
        )
        return result

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function now and keep the new result."""
        result: T = await self._keeper.renew(self.key(*args, **kwargs), functools.partial(self._fn, *args, **kwargs))
        return result

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result for these arguments.

        Returns:
            Whether there was one, as far as could be seen.
        """
        return await self._keeper.delete(self._template.key(*args, **kwargs))

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key under which the result for these arguments is kept."""
        return self._template.key(*args, **kwargs)

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
        return f"<cached {getattr(self._fn, '__qualname__', self._fn)} as {self._template.template!r}>"


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
