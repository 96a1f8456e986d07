"""What a loader may know and decide about its own load."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar

from creatormate_resilience.cache._category import check_seconds
from creatormate_resilience.cache._keys import check_tags
from creatormate_resilience.cache._statistics import CacheResult
from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.exceptions import ConfigurationError, OperationTimeoutError

__all__ = ("AnyLoader", "AsyncLoader", "Load", "LoaderCalls", "SyncLoader", "current_load")

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


class LoaderCalls:
    """The loaders that are running. One that is given up on is cancelled, and nobody waits for how it ends."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, loader: AnyLoader, load: Load, limit: float | None, what: str) -> Any:
        """Call a loader, with its load where it has a parameter for it, in a task of its own.

        Args:
            loader: Async or sync.
            load: What it may know and decide.
            limit: Seconds after which it has failed; None for no limit.
            what: It is, for the error.

        Raises:
            OperationTimeoutError: It took longer.
        """
        struck: list[bool] = []
        scope = nullcontext() if limit is None else deadline_scope(limit, struck=lambda: bool(struck))

        async def call() -> Any:
            with scope:
                _current.set(load)
                value = loader(load) if _wants_load(loader) else loader()
                return await value if inspect.isawaitable(value) else value

        task = asyncio.create_task(call())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait((task,), timeout=limit)
        finally:
            if not task.done():
                struck.append(True)
                task.cancel()
        if not task.done():
            raise OperationTimeoutError(f"{what} took longer than {limit:g} s")
        return task.result()

    async def aclose(self) -> None:
        """Wait until those that were given up on have ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: nobody may wait for it any more


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
