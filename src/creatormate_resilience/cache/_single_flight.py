"""One load per key: whoever asks while it runs gets its result, and nobody's cancellation stops it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from creatormate_resilience.exceptions import CacheError, ConfigurationError, ShuttingDownError

__all__ = ("Flight", "SingleFlight")

T = TypeVar("T")

_loading: ContextVar[Flight[Any] | None] = ContextVar("creatormate_resilience_cache_loading", default=None)


class Flight(Generic[T]):
    """A load under way.

    Attributes:
        parent: The load whose loader began it.
        owner: Where it is kept.
        key: Whose.
        stamp: What its result may be compared with: a version of the moment it began.
        task: It.
        superseded: The key was written or deleted since it began, so its result must not be stored.
        meanwhile: What who does not want to wait may have instead.
    """

    __slots__ = ("_waits_for", "key", "meanwhile", "owner", "parent", "stamp", "superseded", "task")

    task: asyncio.Task[T]

    def __init__(self, owner: object, key: str, stamp: bytes) -> None:
        self._waits_for: list[Flight[Any]] = []
        self.parent = _loading.get()
        self.owner = owner
        self.key = key
        self.stamp = stamp
        self.superseded = False
        self.meanwhile: T | None = None

    @contextmanager
    def waiting_for(self, other: Flight[Any]) -> Generator[None]:
        """While its loader waits for the result of another load.

        Raises:
            ConfigurationError: That one waits for this one, directly or through others, so neither would ever end.
        """
        if other is self:
            raise ConfigurationError(f"the loader of {self.key!r:.200} asks the cache for the very key it is loading")
        if other.leads_to(self):
            raise ConfigurationError(
                f"the loader of {self.key!r:.200} asks the cache for {other.key!r:.200}, whose loader waits for it"
            )
        self._waits_for.append(other)
        try:
            yield
        finally:
            self._waits_for.remove(other)

    def leads_to(self, target: Flight[Any]) -> bool:
        """Whether this is that load, or waits for it."""
        seen, ahead = set[int](), [self]
        while ahead:
            flight = ahead.pop()
            if flight is target:
                return True
            if id(flight) not in seen:
                seen.add(id(flight))
                ahead += flight._waits_for
        return False


class SingleFlight(Generic[T]):
    """The loads under way, by key. Each runs in a task and a context of its own, owned here and ended by `aclose`."""

    __slots__ = ("_closed", "_flights", "_refreshes", "_tasks")

    def __init__(self) -> None:
        self._flights: dict[str, Flight[T]] = {}
        self._refreshes: dict[str, Flight[T]] = {}
        self._tasks: set[asyncio.Task[T]] = set()
        self._closed = False

    def get(self, key: str) -> Flight[T] | None:
        """The load under way that who asks for this key waits for."""
        return self._flights.get(key)

    def refresh(self, key: str) -> Flight[T] | None:
        """The load under way in the background, for which nobody has to wait."""
        return self._refreshes.get(key)

    def begin(
        self, key: str, stamp: bytes, work: Callable[[Flight[T]], Awaitable[T]], *, background: bool = False
    ) -> Flight[T]:
        """Begin a load.

        Args:
            key: Whose; there is none of this key under way.
            stamp: See `Flight`.
            work: The load.
            background: Whether it is one for which nobody has to wait.

        Raises:
            ConfigurationError: This is called by a load of that very key.
            ShuttingDownError: The cache is being closed.
        """
        if self._closed:
            raise ShuttingDownError("the cache is closed")
        self._check_not_inside(key)
        flights, flight = self._refreshes if background else self._flights, Flight[T](self, key, stamp)

        async def fly() -> T:
            try:
                return await work(flight)
            finally:
                if flights.get(key) is flight:
                    del flights[key]

        context = contextvars.Context()  # clean: a shared load must not end with the first caller's deadline
        context.run(_loading.set, flight)
        flight.task = asyncio.get_running_loop().create_task(fly(), context=context)
        flights[key] = flight
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._landed)
        return flight

    async def join(self, flight: Flight[T], patience: float | None = None) -> T:
        """The result of a load. What it raised is raised to everybody who waits.

        Args:
            flight: The load.
            patience: Seconds after which `meanwhile` will do, where there is such a thing; None waits for the result.

        Raises:
            CacheError: The load was cancelled from inside.
            ConfigurationError: It waits, directly or through others, for the load that this is called by.
            ShuttingDownError: The cache was closed during the load.
        """
        here = _loading.get()
        with nullcontext() if here is None else here.waiting_for(flight):
            return await self._joined(flight, patience)

    async def _joined(self, flight: Flight[T], patience: float | None) -> T:
        if patience is not None:
            await asyncio.wait((flight.task,), timeout=patience)
            if not flight.task.done() and flight.meanwhile is not None:
                return flight.meanwhile
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.task.cancelled() and not _being_cancelled():
                raise self._cancelled(flight.key) from None
            raise

    def supersede(self, key: str) -> None:
        """The key was written: who asks from now on begins a new load, and those under way are not stored."""
        for flights in (self._flights, self._refreshes):
            flight = flights.pop(key, None)
            if flight is not None:
                flight.superseded = True

    async def aclose(self) -> None:
        """Cancel the loads and wait until they have ended.

        Raises:
            ConfigurationError: One of them calls this, and would wait for itself.
        """
        here = _loading.get()
        if here is not None and here.owner is self:
            raise ConfigurationError("a loader closes the cache that it loads for")
        self._closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _check_not_inside(self, key: str) -> None:
        outer = _loading.get()
        while outer is not None:
            if outer.owner is self and outer.key == key:
                raise ConfigurationError(f"the loader of {key!r:.200} asks the cache for the very key it is loading")
            outer = outer.parent

    def _landed(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: nobody may be left who waits for it

    def _cancelled(self, key: str) -> CacheError | ShuttingDownError:
        if self._closed:
            return ShuttingDownError("the cache was closed during the load")
        return CacheError(f"the loader of {key!r:.200} was cancelled from inside")

    def __len__(self) -> int:
        return len(self._tasks)


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
