"""What all parts of one cache share: its settings, both levels, the marks, the clocks, and the making of entries."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from contextlib import suppress
from typing import Any

from creatormate_resilience.cache._category import CacheCategory, Categories, is_of
from creatormate_resilience.cache._config import CacheConfig
from creatormate_resilience.cache._entry import Entry, Kind
from creatormate_resilience.cache._events import EntryRejected
from creatormate_resilience.cache._keys import KeySpace
from creatormate_resilience.cache._link import Link, default_breaker
from creatormate_resilience.cache._loop import HomeLoop
from creatormate_resilience.cache._marks import Marks
from creatormate_resilience.cache._memory import Memory
from creatormate_resilience.cache._statistics import CacheHealth, CacheState, CacheStatistics, Counters
from creatormate_resilience.cache._threads import Threads
from creatormate_resilience.cache._version import VersionClock, seconds_of
from creatormate_resilience.cache._wire import CorruptEntryError, unpack
from creatormate_resilience.cache.redis import RedisClient, RedisStore
from creatormate_resilience.clock import Clock
from creatormate_resilience.events import Event, Listener, notify
from creatormate_resilience.exceptions import CacheUnavailableError
from creatormate_resilience.latencies import LatencyQuantiles
from creatormate_resilience.policy import Policy
from creatormate_resilience.redaction import redact_text

__all__ = ("Parts", "open_store")

_L1_TTL = 30.0
_FEWEST_MARKS = 10_000
_FOREVER = 10 * 366 * 86_400.0
"""No entry lives longer."""


class Parts:
    """The parts of one cache.

    Args:
        config: Bounds and times.
        store: Redis, or None for memory only.
        breaker: Stands before it; None makes the default.
        clock: Where durations come from.
        listeners: Told of what happens.
    """

    def __init__(
        self,
        config: CacheConfig,
        store: RedisStore | None,
        *,
        breaker: Policy | None,
        clock: Clock,
        listeners: tuple[Listener, ...],
    ) -> None:
        self.config = config
        self.store = store
        self.link = Link(
            config.name,
            breaker or default_breaker(clock),
            CacheState.MEMORY_ONLY if store is None else CacheState.DEGRADED,
            clock,
            self.tell,
        )
        self.categories = Categories(
            config.categories,
            default_ttl=config.default_ttl,
            accept_any=config.accept_any_category,
            types=config.types,
        )
        self.memory = Memory(config.max_items, config.max_bytes, config.eviction)
        self.marks = Marks(max(config.max_items, _FEWEST_MARKS), config.invalidation_lag)
        self.keys = KeySpace(config.namespace, config.version)
        self.now = clock.monotonic
        self.wall = time.time if store is None else store.wall
        self.versions = VersionClock(self.wall)
        self.home = HomeLoop()
        self.threads = Threads()
        self.deletes = self.invalidations = self.rejected = 0
        self._listeners = listeners

    def served(self, key: str, category: str) -> Entry | None:
        """The entry whose value memory may hand out as it is where this category is asked for, counted as a hit."""
        entry = self.memory.get(key)
        if entry is None or self.now() >= entry.serve_until or entry.epoch is not self.marks.epoch:
            return None
        if not is_of(entry.category, category):
            return None
        entry.counters.memory_hits += 1
        return entry

    def ahead(self) -> float:
        """Wall time minus monotonic time, in seconds."""
        return self.wall() - self.now()

    def tell(self, event: Event) -> None:
        """Tell whoever listens."""
        notify(self._listeners, event)

    def shown(self, key: str) -> str:
        """A key for events."""
        return redact_text(key, 200)

    # What the cache says of itself -----------------------------------------------------------------------------------
    def statistics(self, loads_under_way: int, load_latency: LatencyQuantiles | None) -> CacheStatistics:
        """One snapshot."""
        counted, memory, link = self.categories.counted(), self.memory, self.link
        return CacheStatistics(
            state=link.state,
            **dataclasses.asdict(Counters.total(counted.values())),
            categories={name: counters.snapshot() for name, counters in counted.items()},
            deletes=self.deletes,
            invalidations=self.invalidations,
            redis_errors=link.errors,
            rejected=self.rejected,
            evictions=memory.evictions,
            oversized=memory.oversized,
            memory_items=len(memory),
            memory_bytes=memory.bytes,
            loads_under_way=loads_under_way,
            last_error=link.last_error,
            redis_latency=link.latencies.quantiles(),
            load_latency=load_latency,
        )

    async def health(self) -> CacheHealth:
        """Ask Redis for a sign of life."""
        latency = None
        if self.store is not None:
            with suppress(CacheUnavailableError):  # the state and the last error tell
                latency = await self.link.reach(self.store.ping)
        return CacheHealth(self.link.state, latency, self.link.last_error)

    # Entries ----------------------------------------------------------------------------------------------------------
    def entry(
        self, value: Any, ttl: float | None, category: str, version: bytes | None, tags: tuple[str, ...] = ()
    ) -> Entry:
        """An entry for a value, its life beginning now; without a version it gets the next.

        Raises:
            CacheSerializationError: The value cannot be stored faithfully.
        """
        known = self.categories.of(category)
        kind, body = known.codec.encode(value)
        decided, life = version or self.versions.next(), self.life(known.category, ttl)
        return Entry(decided, kind, category, body, known.shared(value), *life, tags=tags, counters=known.counters)

    def unstored(self, value: Any, category: str) -> Entry:
        """What carries a value that is not stored to those who wait for it, as it is."""
        now, counters = self.now(), self.categories.counters(category)
        return Entry(b"", Kind.VALUE, category, b"", value, now, now, now, now, counters=counters)

    def tombstone(self) -> Entry:
        """The note of a deletion that happens now."""
        return self._note(Kind.TOMBSTONE, self.versions.next(), self.config.tombstone_ttl)

    def mark(self, version: bytes, until: float | None = None) -> Entry:
        """A mark.

        Args:
            version: What is older does not count.
            until: When Redis may forget it, in seconds of the monotonic clock; None: when nothing it could concern
                lives any more.
        """
        return self._note(Kind.MARK, version, _FOREVER if until is None else until - self.now())

    def life(self, category: CacheCategory, ttl: float | None) -> tuple[float, float, float, float]:
        """Its beginning, when to confirm it, when it is stale, and when it is dead."""
        now = self.now()
        fresh_until = now + (_jittered(category) if ttl is None else ttl)
        return now, self._confirm_at(category, now, fresh_until), fresh_until, fresh_until + category.grace

    def keep(self, key: str, entry: Entry) -> bool:
        """Put a valid entry into memory, unless something newer is known; tells whether that is so."""
        if entry.cost and (eager := self.categories.category(entry.category).eager_refresh):
            entry.refresh_at = entry.fresh_until + entry.cost * eager * math.log(1.0 - random.random())  # noqa: S311
        entry.confirm(self.marks.epoch)
        return self.memory.put(key, entry, self.now())

    # Bytes ------------------------------------------------------------------------------------------------------------
    def opened(self, key: str, data: bytes) -> tuple[Entry, Any] | None:
        """The entry of these bytes from Redis, and its value; None where they are no entry that can be read."""
        try:
            stored = unpack(data, self.config.compression, self.versions.ceiling())
            known = self.categories.of(stored.category)
            value = None if stored.kind >= Kind.TOMBSTONE else known.codec.decode(stored.kind, stored.body)
        except CorruptEntryError as error:
            self.reject(key, error)
            return None
        self.versions.observe(stored.version)
        now, ahead = self.now(), self.ahead()
        fresh_until = stored.fresh_until - ahead
        entry = Entry(
            stored.version,
            stored.kind,
            stored.category,
            stored.body,
            known.shared(value),
            min(now, seconds_of(stored.version) - ahead),
            self._confirm_at(known.category, now, fresh_until),
            fresh_until,
            stored.stale_until - ahead,
            stored.tags,
            stored.cost,
            known.counters,
        )
        return entry, value

    def value(self, entry: Entry) -> Any:
        """The value of an entry, made afresh.

        Raises:
            CorruptEntryError: It cannot be made of the bytes any more.
        """
        return self.categories.of(entry.category).codec.decode(entry.kind, entry.body)

    def reject(self, key: str, error: CorruptEntryError) -> None:
        """Note that an entry cannot be read."""
        self.rejected += 1
        self.memory.forget(key)
        self.tell(EntryRejected(self.config.name, self.shown(key), str(error)))

    def _note(self, kind: Kind, version: bytes, seconds: float) -> Entry:
        now = self.now()
        until = now + seconds
        return Entry(version, kind, "", b"", None, now, until, until, until)

    def _confirm_at(self, category: CacheCategory, now: float, fresh_until: float) -> float:
        if self.store is None:
            return fresh_until
        return min(fresh_until, now + (_L1_TTL if category.l1_ttl is None else category.l1_ttl))


def open_store(url: str | None, client: RedisClient | None, config: CacheConfig) -> RedisStore | None:
    """The store that a cache is given, if it is given one."""
    if url is None and client is None:
        return None
    return RedisStore(url, client=client, timeout=config.timeout, connect_timeout=config.connect_timeout)


def _jittered(category: CacheCategory) -> float:
    return category.ttl * (1 - category.jitter * random.random())  # noqa: S311 - spreads expiry, guards nothing
