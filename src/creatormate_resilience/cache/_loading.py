"""Loading what is not there: one load per key, stored with the version of its start, the old value standing in."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Any

from creatormate_resilience.cache._category import CacheCategory, check_ttl, is_of
from creatormate_resilience.cache._entry import BY_BODY, Freshness
from creatormate_resilience.cache._events import LoadFailed, StaleServed
from creatormate_resilience.cache._keys import Tags, check_tags, identity
from creatormate_resilience.cache._load import AnyLoader, Load, LoaderCalls
from creatormate_resilience.cache._lock import FIRST_PAUSE, Lease, Locks, rest
from creatormate_resilience.cache._parts import Parts
from creatormate_resilience.cache._reading import NOTHING, Found, Reader, count_hit
from creatormate_resilience.cache._single_flight import Flight, SingleFlight
from creatormate_resilience.cache._statistics import CacheResult, CacheState
from creatormate_resilience.cache._wire import CorruptEntryError
from creatormate_resilience.cache._writing import Change, Writer
from creatormate_resilience.exceptions import (
    CacheSerializationError,
    CacheUnavailableError,
    RetriesExhaustedError,
    map_exception,
)
from creatormate_resilience.latencies import Latencies
from creatormate_resilience.log import get_logger
from creatormate_resilience.outcome import Outcome, OutcomeKind, classify

__all__ = ("Loading", "Request")

_LONGEST_TURN = 30.0
_log = get_logger("cache")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be loaded where nothing is known.

    Attributes:
        key: As it was given.
        loader: Makes the value; async or sync, with or without a parameter for its `Load`.
        ttl: Time to live, in seconds; None takes the category's.
        category: Checked name; empty for none.
        tags: Checked.
        renew: Load even where a value is known.
    """

    key: str
    loader: AnyLoader
    ttl: float | None = None
    category: str = ""
    tags: tuple[str, ...] = ()
    renew: bool = False


class Loading:
    """The loads of one cache.

    Args:
        parts: Of the cache.
        reader: Of the cache.
        writer: Of the cache.
        locks: Of the cache.
    """

    __slots__ = ("_calls", "_locks", "_parts", "_reader", "_writer", "flights", "latencies")

    def __init__(self, parts: Parts, reader: Reader, writer: Writer, locks: Locks) -> None:
        self.flights = SingleFlight[Found]()
        self.latencies = Latencies()
        self._calls = LoaderCalls()
        self._parts = parts
        self._reader = reader
        self._writer = writer
        self._locks = locks

    async def load(
        self, key: str, loader: AnyLoader, category: str, tags: Tags, ttl: float | None = None, *, renew: bool = False
    ) -> Any:
        """The value of a key, found or loaded; each caller gets one of its own.

        Args:
            key: As it was given.
            loader: Makes the value.
            category: Checked name; empty for none.
            tags: Of the value.
            ttl: Time to live, in seconds; None takes the category's.
            renew: Load even where a value is known.

        Raises:
            CacheSerializationError: What the loader returned cannot be stored faithfully.
            TypeError: The loader cannot be called.
        """
        self._parts.home.check()
        name = identity(key)
        request = Request(key, loader, check_ttl(ttl), category, check_tags(tags) if tags else (), renew)
        if not callable(loader):
            raise TypeError(f"loader is {loader!r:.200}; accepted is a function")
        if renew:
            self.flights.supersede(name)
        found = self._reader.find_here(name)
        if renew or not self._serves(found, category):
            patience = self._parts.categories.category(request.category).soft_timeout
            flight = self._flight(name, request)
            found = await self.flights.join(flight, None if renew else patience)
            if found is flight.meanwhile:
                self._note_standing_in(name, found, "slow")
        else:
            count_hit(found)
        self._refresh_if_due(name, request, found)
        try:
            return self._reader.value(found)
        except CorruptEntryError as error:
            raise CacheSerializationError("the loaded value cannot be read back") from error

    async def aclose(self) -> None:
        """End the loads under way."""
        await self.flights.aclose()
        await self._calls.aclose()
        self._parts.threads.close()

    def _serves(self, found: Found, category: str) -> bool:
        entry = found.entry
        return entry is not None and self._parts.now() < entry.confirm_at and is_of(entry.category, category)

    def _flight(self, name: str, request: Request) -> Flight[Found]:
        """The load under way, unless what it will bring has been invalidated since; else a new one."""
        parts, flight = self._parts, self.flights.get(name)
        if flight is not None and parts.marks.invalidated(request.category, request.tags, flight.stamp):
            self.flights.supersede(name)
            flight = None
        if flight is None:
            work = functools.partial(self._fly, name, request)
            flight = self.flights.begin(name, parts.versions.of_load(), work)
        return flight

    def _refresh_if_due(self, name: str, request: Request, found: Found) -> None:
        entry, parts = found.entry, self._parts
        if entry is None or not entry.refresh_at <= parts.now() < entry.fresh_until or self.flights.refresh(name):
            return
        entry.refresh_at = math.inf
        entry.confirm(parts.marks.epoch)
        parts.categories.counters(request.category).refreshes += 1
        work = functools.partial(self._renewed, name, request, found)
        self.flights.begin(name, parts.versions.of_load(), work, background=True)

    # In the task of the load ------------------------------------------------------------------------------------------
    async def _fly(self, name: str, request: Request, flight: Flight[Found]) -> Found:
        found = await self._reader.find(name)
        if not request.renew and self._will_do(found, request.category):
            count_hit(found)
            return _for_all(found)
        if found.entry is not None and not is_of(found.entry.category, request.category):
            found = NOTHING  # another function's result under the same key
        if found.stale and not request.renew:
            flight.meanwhile = _for_all(found)
        if not request.renew and (refresh := self.flights.refresh(name)) is not None:
            return await self.flights.join(refresh)
        self._parts.categories.counters(request.category).misses += not request.renew
        return await self._renewed(name, request, found, flight)

    def _will_do(self, found: Found, category: str) -> bool:
        """Whether it is what is asked for, and fresh, or stale and not to be loaded again yet."""
        entry = found.entry
        if entry is None or not is_of(entry.category, category):
            return False
        return not found.stale or self._parts.now() < entry.rest_until

    async def _renewed(self, name: str, request: Request, found: Found, flight: Flight[Found]) -> Found:
        """What is loaded now; or where another process loads it: what that has stored, or an old value meanwhile."""
        parts = self._parts
        category = parts.categories.category(request.category)
        if not category.lock or parts.store is None:
            return await self._loaded(name, request, found, flight)
        lease, pause, began = self._locks.of_load(name), FIRST_PAUSE, parts.now()
        while not await self._is_our_turn(lease):
            if flight.meanwhile is not None:
                return flight.meanwhile
            if parts.now() - began >= (category.hard_timeout or _LONGEST_TURN):
                break  # somebody takes very long; better twice than never
            pause = await rest(pause)
            found = await self._reader.find(name)
            if self._will_do(found, request.category):
                return _for_all(found)
        try:
            found = await self._reader.find(name)  # it may have been stored before it was our turn
            if not request.renew and self._will_do(found, request.category):
                return _for_all(found)
            return await self._loaded(name, request, found, flight)
        finally:
            await lease.release()

    async def _is_our_turn(self, lease: Lease) -> bool:
        try:
            return await lease.acquire()
        except CacheUnavailableError:
            return True  # each process for itself

    async def _loaded(self, name: str, request: Request, found: Found, flight: Flight[Found]) -> Found:
        parts = self._parts
        category = parts.categories.category(request.category)
        version = parts.versions.of_load()
        await self._writer.ensure_marks(request.tags, flight.stamp)
        load = Load(request.key, self._old(found), request.ttl, request.tags)
        began = parts.now()
        try:
            value = await self._called(request, load, category)
        except Exception as error:
            parts.tell(LoadFailed(parts.config.name, parts.shown(name), type(error).__name__))
            if flight.superseded or not self._may_stand_in(found, error):
                raise
            assert found.entry is not None  # noqa: S101 - `_may_stand_in` has looked
            found.entry.rest_until = parts.now() + category.throttle
            self._note_standing_in(name, found, type(error).__name__)
            return _for_all(found)
        ttl, stored = _life(load, request, category, value)
        late = parts.now() - began >= parts.config.tombstone_ttl
        if late:  # what was deleted or invalidated since the load began is only remembered for so long
            _log.warning("a load outlasted tombstone_ttl and was not stored", cache=parts.config.name)
        if not stored:
            if load.store and found.entry is not None and not late:  # what stood there is gone, and must not stand in
                gone = dataclasses.replace(parts.tombstone(), version=version)
                await self._writer.commit([Change(name, gone, loaded=True)])
            return Found(parts.unstored(value, request.category))
        entry = parts.entry(value, ttl, request.category, version, load.tags)
        if category.eager_refresh:
            entry.cost = parts.now() - began
        if not late and not flight.superseded:
            await self._writer.commit([Change(name, entry, loaded=True)])
        return Found(entry)

    async def _called(self, request: Request, load: Load, category: CacheCategory) -> Any:
        parts, counters = self._parts, self._parts.categories.counters(request.category)
        counters.loads += 1
        began = parts.now()
        try:
            what = f"a load of cache {parts.config.name!r}"
            return await self._calls.run(request.loader, load, category.hard_timeout, what)
        except Exception:
            counters.load_failures += 1
            raise
        finally:
            seconds = parts.now() - began
            counters.load_seconds += seconds
            self.latencies.add(seconds)

    def _old(self, found: Found) -> CacheResult:
        entry = found.entry
        if entry is None:
            return CacheResult()
        try:
            value = self._reader.value(Found(entry))
        except CorruptEntryError:
            return CacheResult()  # noted when it was read
        return CacheResult(value, True, found.stale, max(0.0, self._parts.now() - entry.stored_at), found.source)

    def _may_stand_in(self, found: Found, error: Exception) -> bool:
        entry, parts = found.entry, self._parts
        if entry is None or entry.freshness(parts.now()) is Freshness.DEAD:
            return False
        if parts.marks.outdates(entry.category, entry.tags, entry.version):
            return False
        if _is_passing(error):
            return True
        away = parts.link.state is CacheState.DEGRADED
        return away and classify(Outcome(exception=error)) is OutcomeKind.FAILURE

    def _note_standing_in(self, name: str, found: Found, reason: str) -> None:
        parts = self._parts
        count_hit(found)
        parts.tell(StaleServed(parts.config.name, parts.shown(name), reason))


def _for_all(found: Found) -> Found:
    """Without the value that was made for one; each who waits needs one of its own."""
    return Found(found.entry, BY_BODY, found.stale, found.source)


def _life(load: Load, request: Request, category: CacheCategory, value: Any) -> tuple[float | None, bool]:
    """The time to live of a result, and whether it is stored."""
    if value is not None or category.negative_ttl is None or load.ttl != request.ttl:
        return load.ttl, load.store
    return category.negative_ttl or None, load.store and category.negative_ttl > 0


def _is_passing(error: BaseException) -> bool:
    """Whether the trouble may pass by itself. Exhausted retries forbid more, and mean what their cause means."""
    while isinstance(error, RetriesExhaustedError) and error.__cause__ is not None:
        error = error.__cause__
    return map_exception(error).retryable
