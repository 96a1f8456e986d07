"""Both levels as one: what is known of a key, and the one place through which every write and delete passes."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from creatormate_resilience.cache._category import CacheCategory, Categories
from creatormate_resilience.cache._config import CacheConfig
from creatormate_resilience.cache._entry import BY_BODY, Entry, Freshness, Kind
from creatormate_resilience.cache._events import EntryRejected
from creatormate_resilience.cache._keys import KeySpace
from creatormate_resilience.cache._link import Link
from creatormate_resilience.cache._memory import Memory
from creatormate_resilience.cache._statistics import CacheSource, CacheState, Counters
from creatormate_resilience.cache._version import VersionClock, seconds_of
from creatormate_resilience.cache._wire import CorruptEntryError, Stored, pack, pack_moments, unpack
from creatormate_resilience.cache.redis import RedisStore, Reply, Write
from creatormate_resilience.clock import Clock
from creatormate_resilience.events import Listener, notify
from creatormate_resilience.exceptions import CacheUnavailableError
from creatormate_resilience.redaction import redact_text

__all__ = ("NOTHING", "Change", "Found", "Tiers")

_L1_TTL = 30.0
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a key.

    Attributes:
        entry: The entry, fresh or stale; None where nothing usable is known.
        value: Its value where it was made just now and belongs to who asked; else `BY_BODY`.
        stale: Past its time to live.
        source: Where it was found.
    """

    entry: Entry | None
    value: Any = BY_BODY
    stale: bool = False
    source: CacheSource = "memory"


NOTHING = Found(None)


@dataclass(frozen=True, slots=True)
class Change:
    """One write or delete.

    Attributes:
        key: The name inside.
        entry: What is to be true from its version on; a tombstone for a delete.
        loaded: It came from a loader. Then a newer version anywhere simply wins; what a caller asked to write does not
            give way to another node's clock.
        only_if_absent: Write only where nothing fresh is known.
    """

    key: str
    entry: Entry
    loaded: bool = False
    only_if_absent: bool = False


class Tiers:
    """Memory in front of Redis.

    Args:
        config: Bounds and times.
        store: Redis, or None for memory only.
        link: The way to it.
        clock: Where durations come from.
        listeners: Told of `EntryRejected`.
    """

    def __init__(
        self,
        config: CacheConfig,
        store: RedisStore | None,
        *,
        link: Link,
        clock: Clock,
        listeners: Iterable[Listener],
    ) -> None:
        self.config = config
        self.store = store
        self.categories = Categories(
            config.categories, default_ttl=config.default_ttl, accept_any=config.accept_any_category
        )
        self.memory = Memory(config.max_items, config.max_bytes)
        self.counters = Counters()
        self.link = link
        self.now = clock.monotonic
        self._keys = KeySpace(config.namespace, config.version)
        self._listeners = tuple(listeners)
        self._wall = time.time if store is None else store.wall
        self.versions = VersionClock(self._wall)

    # Making entries ---------------------------------------------------------------------------------------------------
    def entry(self, value: Any, ttl: float | None, category: str, version: bytes) -> Entry:
        """An entry for a value, its life beginning now.

        Raises:
            CacheSerializationError: The value cannot be stored faithfully.
        """
        kept = self.categories.category(category)
        codec = self.categories.codec(category)
        kind, body = codec.encode(value)
        shared = codec.shared(value, isolate=kept.isolation == "copy")
        return Entry(version, kind, category, body, shared, *self._life(kept, ttl))

    def tombstone(self) -> Entry:
        """The note of a deletion that happens now."""
        now = self.now()
        until = now + self.config.tombstone_ttl
        return Entry(self.versions.next(), Kind.TOMBSTONE, "", b"", None, now, until, until, until)

    def _life(self, category: CacheCategory, ttl: float | None) -> tuple[float, float, float, float]:
        now = self.now()
        fresh_until = now + (_jittered(category) if ttl is None else ttl)
        return now, self._confirm_at(category, now, fresh_until), fresh_until, fresh_until + category.grace

    def _confirm_at(self, category: CacheCategory, now: float, fresh_until: float) -> float:
        if self.store is None:
            return fresh_until
        return min(fresh_until, now + (_L1_TTL if category.l1_ttl is None else category.l1_ttl))

    def value(self, entry: Entry) -> Any:
        """The value of an entry, safe to hand out."""
        if entry.value is not BY_BODY:
            return entry.value
        return self.categories.codec(entry.category).decode(entry.kind, entry.body)

    def hand_out(self, key: str, found: Found, default: Any, *, stale: bool) -> Any:
        """The value found, counted as a hit; else `default`, counted as a miss.

        Args:
            key: Whose value.
            found: What is known.
            default: Returned where that is nothing.
            stale: Whether a stale value will do. While Redis is away it always does.
        """
        if found.entry is not None and (stale or self.usable(found)):
            try:
                value = self.value(found.entry) if found.value is BY_BODY else found.value
            except CorruptEntryError as error:
                self._reject(key, error)
            else:
                self.count(found)
                return value
        self.counters.misses += 1
        return default

    def usable(self, found: Found) -> bool:
        """Whether this may be served to who did not ask for stale values."""
        return found.entry is not None and (not found.stale or self.link.state is CacheState.DEGRADED)

    def count(self, found: Found) -> None:
        """Count a hit."""
        self.counters.memory_hits += found.source == "memory"
        self.counters.redis_hits += found.source == "redis"
        self.counters.stale_hits += found.stale

    def _reject(self, key: str, error: CorruptEntryError) -> None:
        self.counters.rejected += 1
        self.memory.forget(key)
        notify(self._listeners, EntryRejected(self.config.name, redact_text(key, 200), str(error)))

    # Reading ----------------------------------------------------------------------------------------------------------
    async def find(self, key: str) -> Found:
        """What is known of a key: by memory while that may answer alone, else by Redis, else by memory after all."""
        return (await self.find_many((key,)))[key]

    async def find_many(self, keys: Iterable[str]) -> dict[str, Found]:
        """`find` for several keys, with one trip to Redis."""
        found = {key: self.find_here(key) for key in keys}
        asked = {key: held.entry for key, held in found.items() if not self._answers_alone(held)}
        if self.store is None or not asked:
            return found
        try:
            answers = await self.link.reach(self.store.get_many, [self._keys.wire(key) for key in asked])
        except CacheUnavailableError:
            return found | {key: self.find_here(key) for key in asked}
        for (key, held), data in zip(asked.items(), answers, strict=True):
            found[key] = self._told(key, data, held)
        return found

    def find_here(self, key: str) -> Found:
        """What memory knows of a key, confirmed by Redis or not."""
        entry = self.memory.get(key)
        freshness = Freshness.DEAD if entry is None else entry.freshness(self.now())
        return NOTHING if freshness is Freshness.DEAD else Found(entry, stale=freshness is Freshness.STALE)

    def _answers_alone(self, held: Found) -> bool:
        return held.entry is not None and held.entry.freshness(self.now()) is Freshness.FRESH

    def _told(self, key: str, data: bytes | None, held: Entry | None) -> Found:
        """What is known of a key now that Redis has answered; `held` is what memory had when it was asked."""
        newest = self.memory.get(key)
        if newest is not None and newest is not held:
            return self.find_here(key)  # written while Redis was asked
        told = None if data is None else self._opened(key, data)
        if told is None:
            self.memory.forget(key)
            return NOTHING
        entry, value = told
        if not self.memory.put(key, entry, self.now()):
            return self.find_here(key)  # this process wrote or deleted it later
        freshness = entry.freshness(self.now())
        if freshness is Freshness.DEAD:
            return NOTHING
        return Found(entry, value, stale=freshness is Freshness.STALE, source="redis")

    def _opened(self, key: str, data: bytes) -> tuple[Entry, Any] | None:
        try:
            stored = unpack(data)
            value = self._decoded(stored)
        except CorruptEntryError as error:
            self._reject(key, error)
            return None
        self.versions.observe(stored.version)
        return self._received(stored, value), value

    def _decoded(self, stored: Stored) -> Any:
        if stored.version > self.versions.ceiling():
            raise CorruptEntryError("a version from the future")
        if stored.kind is Kind.TOMBSTONE:
            return None
        return self.categories.codec(stored.category).decode(stored.kind, stored.body)

    def _received(self, stored: Stored, value: Any) -> Entry:
        now, ahead = self.now(), self._ahead()
        category = self.categories.category(stored.category)
        shared = self.categories.codec(stored.category).shared(value, isolate=category.isolation == "copy")
        fresh_until = stored.fresh_until - ahead
        return Entry(
            stored.version,
            stored.kind,
            stored.category,
            stored.body,
            shared,
            min(now, seconds_of(stored.version) - ahead),
            self._confirm_at(category, now, fresh_until),
            fresh_until,
            stored.stale_until - ahead,
        )

    def _ahead(self) -> float:
        return self._wall() - self.now()

    # Writing ----------------------------------------------------------------------------------------------------------
    async def commit(self, changes: Sequence[Change]) -> list[bool]:
        """Make changes true here and in Redis. Every write and delete passes here, each with its version.

        Returns:
            For each change whether a fresh value was there before, as far as could be seen.
        """
        replaced = [self._known_fresh(change.key) for change in changes]
        for change in changes:
            self.counters.deletes += change.entry.kind is Kind.TOMBSTONE
            self.counters.writes += change.entry.kind is not Kind.TOMBSTONE
            self.memory.put(change.key, change.entry, self.now())
        if self.store is None or not changes:
            return replaced
        try:
            replies = await self._sent(changes)
        except CacheUnavailableError:
            return replaced  # memory has it; the outage protocol will keep it for Redis here
        return [reply.replaced for reply in replies]

    async def add(self, key: str, entry: Entry) -> bool:
        """Write where nothing fresh is known.

        Raises:
            CacheUnavailableError: Redis is configured and did not answer, so nobody knows.
        """
        if self.store is None:
            absent = not self._known_fresh(key)
        else:
            [reply] = await self._sent([Change(key, entry, only_if_absent=True)])
            absent = reply.outcome == "written"
        if absent:
            self.counters.writes += 1
            self.memory.put(key, entry, self.now())
        return absent

    async def add_number(self, key: str, delta: int, entry: Entry) -> int | Literal["no integer", "out of range"]:
        """Add to an integer, or begin with `delta`; `entry` is what to begin with.

        Raises:
            CacheUnavailableError: Redis is configured and did not answer, so nobody knows.
        """
        if self.store is None:
            return self._add_number_here(key, delta, entry)
        write = self._write(Change(key, dataclasses.replace(entry, body=b"")))
        total = await self.link.reach(self.store.add_number, write, delta)
        self.memory.forget(key)  # other processes count too, so the next read asks
        self.counters.writes += isinstance(total, int)
        return total

    async def touch(self, key: str, ttl: float | None) -> bool:
        """Give a fresh entry a new life; False where there is none."""
        held = (await self.find(key)).entry
        if held is None or held.freshness(self.now()) is Freshness.STALE:
            return False
        life = self._life(self.categories.category(held.category), ttl)
        renewed = Entry(self.versions.next(), held.kind, held.category, held.body, held.value, *life)
        known = None if self.store is None else await self._touched(self.store, key, renewed)
        if known is None:
            return self.memory.put(key, renewed, self.now())
        self.memory.forget(key)  # Redis may hold a newer value, whose life it was that was renewed
        return known

    async def _touched(self, store: RedisStore, key: str, renewed: Entry) -> bool | None:
        moments = pack_moments(renewed.fresh_until + self._ahead(), renewed.stale_until + self._ahead())
        life = renewed.stale_until - self.now()
        try:
            return await self.link.reach(store.touch, self._keys.wire(key), renewed.version, moments, life)
        except CacheUnavailableError:
            return None

    def _add_number_here(self, key: str, delta: int, entry: Entry) -> int | Literal["no integer", "out of range"]:
        held = self.find_here(key)
        if held.entry is not None and not held.stale:
            if held.entry.kind is not Kind.INTEGER:
                return "no integer"
            delta += int(held.entry.body)
            entry = dataclasses.replace(held.entry, version=entry.version)
        if abs(delta) > 2**53:
            return "out of range"
        self.counters.writes += 1
        self.memory.put(key, dataclasses.replace(entry, body=b"%d" % delta, value=delta), self.now())
        return delta

    def _known_fresh(self, key: str) -> bool:
        held = self.find_here(key)
        return held.entry is not None and not held.stale

    async def _sent(self, changes: Sequence[Change]) -> list[Reply]:
        assert self.store is not None  # noqa: S101 - callers have looked
        replies = await self.link.reach(self.store.write, [self._write(change) for change in changes])
        for _ in range(_ATTEMPTS):
            late = [index for index, reply in enumerate(replies) if self._must_win(changes[index], reply)]
            if not late:
                break
            again = [self._restamped(changes[index]) for index in late]
            for index, reply in zip(
                late, await self.link.reach(self.store.write, [self._write(change) for change in again]), strict=True
            ):
                replies[index] = reply
        return replies

    def _must_win(self, change: Change, reply: Reply) -> bool:
        """Whether a write that was refused has to be repeated with a newer version."""
        if reply.outcome != "refused":
            return False
        self.versions.observe(reply.version)
        if change.loaded:
            if (held := self.memory.get(change.key)) is not None and held.version == change.entry.version:
                self.memory.forget(change.key)  # deleted or written elsewhere since the load began
            return False
        return not self.versions.is_own(reply.version)

    def _restamped(self, change: Change) -> Change:
        entry = dataclasses.replace(change.entry, version=self.versions.next())
        if not change.only_if_absent:
            self.memory.put(change.key, entry, self.now())
        return dataclasses.replace(change, entry=entry)

    def _write(self, change: Change) -> Write:
        data = pack(change.entry, self._ahead())
        life = change.entry.stale_until - self.now()
        return Write(self._keys.wire(change.key), data, life, self.versions.ceiling(), change.only_if_absent)


def _jittered(category: CacheCategory) -> float:
    return category.ttl * (1 - category.jitter * random.random())  # noqa: S311 - spreads expiry, guards nothing
