"""One load per key: whoever asks while it runs gets its result, and nobody's cancellation stops it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Generic, TypeVar

from creatormate_resilience.exceptions import CacheError, ConfigurationError, ShuttingDownError

__all__ = ("Flight", "SingleFlight")

T = TypeVar("T")

_loading: ContextVar[frozenset[tuple[int, str]]] = ContextVar("creatormate_resilience_cache_loading")
_NONE: frozenset[tuple[int, str]] = frozenset()


class Flight(Generic[T]):
    """A load under way.

    Attributes:
        superseded: The key was written or deleted since it began, so its result must not be stored.
    """

    __slots__ = ("superseded", "task")

    task: asyncio.Task[T]

    def __init__(self) -> None:
        self.superseded = False


class SingleFlight(Generic[T]):
    """The loads under way, by key. Each runs in a task and a context of its own, owned here and ended by `aclose`."""

    __slots__ = ("_closed", "_flights", "_tasks")

    def __init__(self) -> None:
        self._flights: dict[str, Flight[T]] = {}
        self._tasks: set[asyncio.Task[T]] = set()
        self._closed = False

    async def run(self, key: str, work: Callable[[Flight[T]], Awaitable[T]]) -> T:
        """The result of the load of this key; begins one where none is under way.

        Args:
            key: Whose load.
            work: The load; called only to begin one.

        Returns:
            What the load returned. What it raised is raised to everybody who waits.

        Raises:
            ConfigurationError: A load asks for the key it is loading, and would wait for itself.
            ShuttingDownError: The cache is being closed.
        """
        if (id(self), key) in _loading.get(_NONE):
            raise ConfigurationError(f"the loader of {key!r} asks the cache for the very key it is loading")
        flight = self._flights.get(key) or self._begin(key, work)
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.task.cancelled() and not _being_cancelled():
                raise self._cancelled(key) from None
            raise

    def supersede(self, key: str) -> None:
        """The key was written: who asks from now on begins a new load, and the one under way is not stored."""
        flight = self._flights.pop(key, None)
        if flight is not None:
            flight.superseded = True

    async def aclose(self) -> None:
        """Cancel the loads and wait until they have ended."""
        self._closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: str, work: Callable[[Flight[T]], Awaitable[T]]) -> Flight[T]:
        if self._closed:
            raise ShuttingDownError("the cache is closed")
        flight = Flight[T]()

        async def fly() -> T:
            try:
                return await work(flight)
            finally:
                if self._flights.get(key) is flight:
                    del self._flights[key]

        context = contextvars.Context()  # clean: a shared load must not end with the first caller's deadline
        context.run(_loading.set, _loading.get(_NONE) | {(id(self), key)})
        flight.task = asyncio.get_running_loop().create_task(fly(), context=context)
        self._flights[key] = flight
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._landed)
        return flight

    def _landed(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: nobody may be left who waits for it

    def _cancelled(self, key: str) -> CacheError | ShuttingDownError:
        if self._closed:
            return ShuttingDownError("the cache was closed during the load")
        return CacheError(f"the loader of {key!r} was cancelled from inside")

    def __len__(self) -> int:
        return len(self._tasks)


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
