"""What a loader may know and decide about its own load."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar

from creatormate_resilience.cache._category import check_seconds
from creatormate_resilience.cache._keys import check_tags
from creatormate_resilience.cache._statistics import CacheResult
from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("AnyLoader", "AsyncLoader", "Load", "SyncLoader", "call_loader", "current_load")

T = TypeVar("T")

_current: ContextVar[Load | None] = ContextVar("creatormate_resilience_cache_load", default=None)


class Load:
    """A load under way, as its loader sees it: the first parameter of a loader that has one, or `current_load()`.

    Attributes:
        key: What is loaded.
        old: The value known before, stale as it may be; `old.found` tells whether there is one.
        store: False keeps the result from being stored; who waits for it gets it all the same.
    """

    __slots__ = ("_tags", "_ttl", "key", "old", "store")

    def __init__(self, key: str, old: CacheResult, ttl: float | None, tags: tuple[str, ...]) -> None:
        self.key = key
        self.old = old
        self.store = True
        self._ttl = ttl
        self._tags = tags

    @property
    def ttl(self) -> float | None:
        """Time to live of the result, in seconds; None takes the category's. May be set."""
        return self._ttl

    @ttl.setter
    def ttl(self, seconds: float | None) -> None:
        self._ttl = None if seconds is None else check_seconds("ttl", seconds)

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of the result. May be set."""
        return self._tags

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        self._tags = check_tags(tags)

    def __repr__(self) -> str:
        return f"<Load: ttl {self._ttl}, {len(self._tags)} tags>"


def current_load() -> Load:
    """The load that the running loader is called for.

    Raises:
        ConfigurationError: No loader is running here.
    """
    load = _current.get()
    if load is None:
        raise ConfigurationError("current_load() was called outside of a loader")
    return load


def call_loader(loader: Callable[..., Any], load: Load) -> Any:
    """Call a loader, with the load where it has a parameter for it. In a context of its own."""
    _current.set(load)
    return loader(load) if _wants_load(loader) else loader()


def _wants_load(loader: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(loader).parameters.values()
    except (TypeError, ValueError):  # of a C function nothing may be known
        return False
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return any(each.default is each.empty and each.kind in positional for each in parameters)


AnyLoader: TypeAlias = Callable[..., Any]
AsyncLoader: TypeAlias = Callable[[], Awaitable[T]] | Callable[[Load], Awaitable[T]]
SyncLoader: TypeAlias = Callable[[], T] | Callable[[Load], T]
