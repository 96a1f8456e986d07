"""Loading what is not there: one load per key, stored with the version of its start, the old value standing in."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from creatormate_resilience.cache._entry import Entry, Freshness
from creatormate_resilience.cache._events import StaleServed
from creatormate_resilience.cache._single_flight import Flight, SingleFlight
from creatormate_resilience.cache._statistics import CacheState
from creatormate_resilience.cache._tiers import Change, Found, Tiers
from creatormate_resilience.cache._wire import CorruptEntryError
from creatormate_resilience.events import Listener, notify
from creatormate_resilience.exceptions import CacheSerializationError, RetriesExhaustedError, map_exception
from creatormate_resilience.outcome import Outcome, OutcomeKind, classify
from creatormate_resilience.redaction import redact_text

__all__ = ("Loading", "Request")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be loaded where nothing is known.

    Attributes:
        loader: Makes the value; async or sync.
        ttl: Time to live, in seconds; None takes the category's.
        category: Checked name; empty for none.
        renew: Load even where a value is known.
    """

    loader: Callable[[], Any]
    ttl: float | None = None
    category: str = ""
    renew: bool = False


class Loading:
    """The loads of one cache.

    Args:
        tiers: Where values are found and stored.
        listeners: Told of `StaleServed`.
    """

    __slots__ = ("_listeners", "_tiers", "flights")

    def __init__(self, tiers: Tiers, listeners: Iterable[Listener]) -> None:
        self.flights = SingleFlight[Entry]()
        self._tiers = tiers
        self._listeners = tuple(listeners)

    async def load(self, name: str, request: Request) -> Any:
        """The value of a key, found or loaded; each caller gets one of its own.

        Raises:
            CacheSerializationError: What the loader returned cannot be stored faithfully.
            TypeError: The loader cannot be called.
        """
        if not callable(request.loader):
            raise TypeError(f"loader is {type(request.loader).__name__}; accepted is a function without parameters")
        if request.renew:
            self.flights.supersede(name)
        entry = await self.flights.run(name, functools.partial(self._fly, name, request))
        try:
            return self._tiers.value(entry)
        except CorruptEntryError as error:
            raise CacheSerializationError(
                f"category {entry.category!r}: the loaded value cannot be read back"
            ) from error

    async def _fly(self, name: str, request: Request, flight: Flight[Entry]) -> Entry:
        found = await self._tiers.find(name)
        if found.entry is not None and not found.stale and not request.renew:
            self._tiers.count(found)
            return found.entry
        self._tiers.counters.misses += not request.renew
        version = self._tiers.versions.of_load()
        try:
            value = await self._called(request.loader)
        except Exception as error:
            if flight.superseded or not self._may_stand_in(found, error):
                raise
            return self._stand_in(name, found, error)
        entry = self._tiers.entry(value, request.ttl, request.category, version)
        if not flight.superseded:
            await self._tiers.commit([Change(name, entry, loaded=True)])
        return entry

    async def _called(self, loader: Callable[[], Any]) -> Any:
        counters, started = self._tiers.counters, self._tiers.now()
        counters.loads += 1
        try:
            value = loader()
            return await value if inspect.isawaitable(value) else value
        except Exception:
            counters.load_failures += 1
            raise
        finally:
            counters.load_seconds += self._tiers.now() - started

    def _may_stand_in(self, found: Found, error: Exception) -> bool:
        if found.entry is None or found.entry.freshness(self._tiers.now()) is Freshness.DEAD:
            return False
        if _is_passing(error):
            return True
        away = self._tiers.link.state is CacheState.DEGRADED
        return away and classify(Outcome(exception=error)) is OutcomeKind.FAILURE

    def _stand_in(self, name: str, found: Found, error: Exception) -> Entry:
        assert found.entry is not None  # noqa: S101 - `_may_stand_in` has looked
        self._tiers.count(found)
        source = self._tiers.config.name
        notify(self._listeners, StaleServed(source, redact_text(name, 200), type(error).__name__))
        return found.entry


def _is_passing(error: BaseException) -> bool:
    """Whether the trouble may pass by itself. Exhausted retries forbid more, and mean what their cause means."""
    while isinstance(error, RetriesExhaustedError) and error.__cause__ is not None:
        error = error.__cause__
    return map_exception(error).retryable
