"""`DistributedCache`: the verbs."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from creatormate_resilience.cache._cached import CachedDecorator, Keeper, cached_decorator
from creatormate_resilience.cache._category import check_seconds, check_ttl
from creatormate_resilience.cache._config import CacheConfig, CacheOptions
from creatormate_resilience.cache._entry import BY_BODY, Freshness
from creatormate_resilience.cache._keys import Tags, check_tags, check_values, identity, several
from creatormate_resilience.cache._load import AnyLoader, AsyncLoader, SyncLoader
from creatormate_resilience.cache._loading import Loading
from creatormate_resilience.cache._lock import CacheLock, Locks
from creatormate_resilience.cache._marks import EVERYTHING, category_mark, tag_mark
from creatormate_resilience.cache._parts import Parts, open_store
from creatormate_resilience.cache._reading import Reader
from creatormate_resilience.cache._statistics import CacheHealth, CacheResult, CacheState, CacheStatistics
from creatormate_resilience.cache._writing import Change, Writer, check_delta
from creatormate_resilience.cache.redis import RedisClient
from creatormate_resilience.clock import Clock
from creatormate_resilience.events import Listener
from creatormate_resilience.options import clock_of, listeners_of
from creatormate_resilience.policy import Policy

__all__ = ("DistributedCache",)

T = TypeVar("T")


class DistributedCache:
    """Memory in front of Redis: typed values, one load per key, still there while Redis is away.

    Args:
        url: `redis://`, `rediss://` or `unix://`, or of a cluster or sentinels, see `redis_client.open_redis`; without
            it, and without a client, values live in memory only.
        client: A `redis.asyncio` client of yours instead; it must answer in bytes and is not closed.
        config: All settings as one object; see `CacheConfig` for them and their defaults.
        clock: Where durations come from.
        listeners: Told of `CacheStateChanged`, `EntryRejected`, `LoadFailed` and `StaleServed`.
        breaker: Stands before Redis; None makes a `CircuitBreaker` that opens after three failures in a row.
        **options: The fields of `CacheConfig` by name: `namespace="app"`, `categories={...}`, `timeout=0.25` and so on.

    Raises:
        ConfigurationError: A setting is out of range, or the URL malformed.
        MissingDependencyError: A package of the extra `cache`, or with Redis of `redis`, is not installed.

    A problem of Redis is never an exception in any verb but `add`, `incr` and `lock`. Reads and writes then go to
    memory, and back to Redis by themselves when it answers again. What was written, deleted or invalidated meanwhile is
    not told to Redis afterwards: an older value may come back then, for as long as its time to live.

    It belongs to the event loop that starts or first uses it. Close it with `aclose()`, or use `async with`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client: RedisClient | None = None,
        config: CacheConfig | None = None,
        clock: Clock | None = None,
        listeners: Iterable[Listener] = (),
        breaker: Policy | None = None,
        **options: Unpack[CacheOptions],
    ) -> None:
        config = dataclasses.replace(config or CacheConfig(), **options)
        store = open_store(url, client, config)
        self._parts = Parts(config, store, breaker=breaker, clock=clock_of(clock), listeners=listeners_of(listeners))
        self._reader = Reader(self._parts)
        self._writer = Writer(self._parts, self._reader)
        self._locks = Locks(self._parts)
        self._loading = Loading(self._parts, self._reader, self._writer, self._locks)
        self._home = self._parts.home
        # For hits in memory, where every attribute counts.
        self._entries = self._parts.memory.entries
        self._now = self._parts.now
        self._marks = self._parts.marks

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of a key. While Redis is away, a value within its category's grace counts too.

        Args:
            key: 1 to 65,536 characters.
            default: Returned where there is no value.
        """
        try:
            entry = self._entries[key]
            if self._now() < entry.serve_until and entry.epoch is self._marks.epoch:
                entry.counters.memory_hits += 1
                return entry.value
        except (KeyError, TypeError):
            pass  # not there, or no key at all: below
        self._home.check()
        name = identity(key)
        return self._reader.hand_out(name, await self._reader.find(name), default)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those keys that have one, with at most one trip to Redis for them."""
        self._home.check()
        names = {key: identity(key) for key in several(keys)}
        found = await self._reader.find_many(dict.fromkeys(names.values()))
        values = {key: self._reader.hand_out(name, found[name], BY_BODY) for key, name in names.items()}
        return {key: value for key, value in values.items() if value is not BY_BODY}

    async def lookup(self, key: str) -> CacheResult:
        """What is known of a key, stale values within their grace included: what degraded answers are made of."""
        self._home.check()
        name = identity(key)
        found = await self._reader.find(name)
        value = self._reader.hand_out(name, found, BY_BODY, stale=True)
        if found.entry is None or value is BY_BODY:
            return CacheResult()
        age = max(0.0, self._now() - found.entry.stored_at)
        return CacheResult(value, True, found.stale, age, found.source)

    async def exists(self, key: str) -> bool:
        """Whether `get` would find a value."""
        self._home.check()
        return self._reader.usable(await self._reader.find(identity(key)))

    def peek(self, key: str, default: Any = None) -> Any:
        """The value of a key as memory alone knows it, without waiting; for synchronous hot paths.

        Args:
            key: The key.
            default: Returned where memory holds no value that may be served without asking Redis.
        """
        name = identity(key)
        found = self._reader.find_here(name)
        if found.entry is None or found.entry.freshness(self._now()) is not Freshness.FRESH:
            return default
        return self._reader.hand_out(name, found, default)

    async def set(
        self, key: str, value: Any, ttl: float | None = None, category: str | None = None, tags: Tags = ()
    ) -> None:
        """Store a value; None, False, 0 and "" are values too.

        Args:
            key: 1 to 65,536 characters.
            value: Plain data of any depth, or what the category's type says.
            ttl: Time to live, in seconds; None takes the category's.
            category: One of those configured.
            tags: By which it can be invalidated; at most 32 texts of up to 500 characters.

        Raises:
            CacheSerializationError: The value cannot be stored faithfully; the message names its type.
            ConfigurationError: The category is unknown.
            ValueError: `key`, `ttl` or `tags` is out of range.
        """
        await self.set_many({key: value}, ttl, category, tags)

    async def set_many(
        self, values: Mapping[str, Any], ttl: float | None = None, category: str | None = None, tags: Tags = ()
    ) -> None:
        """`set` for several keys, with at most one trip to Redis. All are checked before any is stored."""
        self._home.check()
        check_values(values)
        ttl, kind, tags = check_ttl(ttl), self._parts.categories.check(category), check_tags(tags)
        entries = {key: self._parts.entry(value, ttl, kind, None, tags) for key, value in values.items()}
        await self._commit([Change(identity(key), entry) for key, entry in entries.items()])

    async def delete(self, key: str) -> bool:
        """Forget a key. A load of it that is under way will not bring it back.

        Returns:
            Whether there was a value, as far as could be seen.
        """
        return await self.delete_many((key,)) > 0

    async def delete_many(self, keys: Iterable[str]) -> int:
        """`delete` for several keys, with at most one trip to Redis; tells how many had a value."""
        self._home.check()
        names = dict.fromkeys(identity(key) for key in several(keys))
        return sum(await self._commit([Change(name, self._parts.tombstone()) for name in names]))

    async def add(
        self, key: str, value: Any, ttl: float | None = None, category: str | None = None, tags: Tags = ()
    ) -> bool:
        """Store a value only where there is none.

        Returns:
            Whether it was stored.

        Raises:
            CacheUnavailableError: Redis is configured and away: another process may have stored one.
            CacheSerializationError: The value cannot be stored faithfully.
        """
        self._home.check()
        name, kind = identity(key), self._parts.categories.check(category)
        entry = self._parts.entry(value, check_ttl(ttl), kind, None, check_tags(tags))
        added = await self._writer.add(name, entry)
        if added:
            self._loading.flights.supersede(name)
        return added

    async def incr(self, key: str, delta: int = 1, ttl: float | None = None, category: str | None = None) -> int:
        """Add to a stored integer; where there is none, store `delta`.

        Args:
            key: The key.
            delta: What to add; may be negative.
            ttl: Time to live of a new integer, in seconds. One that exists keeps its own.
            category: Of a new integer.

        Returns:
            The sum.

        Raises:
            CacheUnavailableError: Redis is configured and away. The addition may have been made or not.
            TypeError: What is stored is no integer, or `delta` is none.
            OverflowError: The sum is beyond 2**53.
        """
        self._home.check()
        check_delta(delta)
        name, kind = identity(key), self._parts.categories.check(category)
        entry = self._parts.entry(delta, check_ttl(ttl), kind, None)
        self._loading.flights.supersede(name)
        return await self._writer.add_number(name, delta, entry)

    async def touch(self, key: str, ttl: float | None = None) -> bool:
        """Give a value a new time to live, from now on.

        Args:
            key: The key.
            ttl: In seconds; None takes its category's.

        Returns:
            Whether there was a value.
        """
        self._home.check()
        return await self._writer.touch(identity(key), check_ttl(ttl))

    async def _commit(self, changes: list[Change]) -> list[bool]:
        for change in changes:
            self._loading.flights.supersede(change.key)
        return await self._writer.commit(changes)

    async def invalidate_tag(self, *tags: str) -> None:
        """Forget every value that has one of these tags, in one step however many they are.

        Other processes notice when they next ask Redis, at most `invalidation_lag` plus `l1_ttl` later.
        """
        self._home.check()
        if not tags:
            raise ValueError("tags is empty; accepted are one or more texts")
        names = [tag_mark(tag) for tag in check_tags(tags)]
        until = self._now() + self._parts.config.tombstone_ttl
        await self._writer.commit(
            [Change(name, self._parts.mark(self._parts.versions.next(), until)) for name in names]
        )

    async def invalidate_category(self, name: str) -> None:
        """Forget every value of a category, in one step; see `invalidate_tag`.

        Raises:
            ConfigurationError: The category is unknown.
        """
        self._home.check()
        mark = category_mark(self._parts.categories.check(name))
        await self._writer.commit([Change(mark, self._parts.mark(self._parts.versions.next()))])

    async def clear(self) -> None:
        """Forget every value of this namespace and version, in one step; nothing else on the server is touched."""
        self._home.check()
        self._parts.memory.clear()
        await self._writer.commit([Change(EVERYTHING, self._parts.mark(self._parts.versions.next()))])

    def lock(self, name: str, *, lease: float = 10.0, wait: float | None = None) -> CacheLock:
        """A lock that all processes share: `async with cache.lock("report"):`.

        Args:
            name: 1 to 65,536 characters; locks and keys have names of their own.
            lease: Seconds after which it is free where its holder has died. It is renewed while the block lasts.
            wait: Longest wait for it, in seconds; 0 does not wait, None waits as long as it takes.

        Returns:
            A context manager for one block. It raises `LockNotAcquiredError` after too long a wait, and at the end
            where the lock was lost; `CacheUnavailableError` where Redis is away.
        """
        self._home.check()
        wait = None if wait is None else check_seconds("wait", wait, zero=True)
        return self._locks.lock(name, check_seconds("lease", lease), wait)

    @overload
    async def get_or_set(
        self, key: str, loader: AsyncLoader[T], ttl: float | None = None, category: str | None = None, tags: Tags = ()
    ) -> T: ...
    @overload
    async def get_or_set(
        self, key: str, loader: SyncLoader[T], ttl: float | None = None, category: str | None = None, tags: Tags = ()
    ) -> T: ...
    async def get_or_set(
        self, key: str, loader: AnyLoader, ttl: float | None = None, category: str | None = None, tags: Tags = ()
    ) -> Any:
        """The value of a key; where there is none, what the loader returns, stored.

        However many ask at once, the loader runs once in this process, in a task and a context of its own; the
        cancellation of a caller does not stop it. What it returns carries the version of the moment it started, so a
        write, delete or invalidation that happens meanwhile wins. Where it raises something that passes (an upstream's
        fault), or anything but a caller's fault while Redis is away, an old value within its grace is served instead.

        Args:
            key: 1 to 65,536 characters.
            loader: Makes the value; async, or sync and quick. One with a parameter gets its `Load`.
            ttl: Time to live, in seconds; None takes the category's.
            category: One of those configured.
            tags: By which the value can be invalidated.

        Raises:
            CacheSerializationError: What the loader returned cannot be stored faithfully.
            ConfigurationError: The category is unknown, or the loader asks for the very key it is loading.
            OperationTimeoutError: The loader took longer than its category's `hard_timeout`.
            ShuttingDownError: The cache is closed.
        """
        try:
            entry = self._entries[key]
            if self._now() < entry.serve_until and entry.epoch is self._marks.epoch:
                entry.counters.memory_hits += 1
                return entry.value
        except (KeyError, TypeError):
            pass
        return await self._loading.load(key, loader, self._parts.categories.check(category), tags, ttl)

    def cached(
        self, *, key: str, ttl: float | None = None, category: str | None = None, tags: Tags = ()
    ) -> CachedDecorator:
        """Keep the results of a function or method: `@cache.cached(key="user:{user_id}")`.

        Args:
            key: Template of the key; its fields are parameters of the function, or their attributes (`{self.tenant}`).
                They are escaped, so two sets of arguments never share a key.
            ttl: Time to live, in seconds; None takes the category's.
            category: One of those configured.
            tags: Templates of tags, with or without fields.

        Returns:
            A decorator. The function keeps its parameters and gains `.invalidate(...)`, `.refresh(...)`, `.key(...)`
            and `.tags(...)`, each taking the function's arguments. A `def` becomes async: it runs in a worker thread.
            Results are stored as what the function's return annotation says, unless the category has a type.

        Raises:
            ConfigurationError: A template does not fit the function, or it is none.
        """
        load = functools.partial(self._loading.load, ttl=check_ttl(ttl))
        keeper = Keeper(self._parts.served, load, self.delete, self._parts.threads.run)
        return cached_decorator(key, check_tags(tags), self._parts.categories, category, keeper)

    @property
    def state(self) -> CacheState:
        """Where values are kept now, as the last operation found it."""
        return self._parts.link.state

    def statistics(self) -> CacheStatistics:
        """One snapshot."""
        return self._parts.statistics(len(self._loading.flights), self._loading.latencies.quantiles())

    async def health(self) -> CacheHealth:
        """Ask Redis for a sign of life; never raises because of it."""
        self._home.check()
        return await self._parts.health()

    async def start(self) -> Self:
        """Bind to this event loop and greet Redis. Where it is away the cache starts degraded."""
        await self.health()
        return self

    async def aclose(self) -> None:
        """End the loads under way and close the client, unless it was given. May be called twice."""
        self._home.leave()
        self._parts.memory.clear()
        await self._loading.aclose()
        await self._locks.aclose()
        await self._reader.aclose()
        if self._parts.store is not None:
            await self._parts.store.aclose()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        home = getattr(self, "_home", None)  # absent where the constructor raised
        if home is not None and home.in_use and self._parts.store is not None:
            warnings.warn(f"{self!r} was not closed; call aclose()", ResourceWarning, source=self, stacklevel=1)

    def __repr__(self) -> str:
        seen = self.statistics()
        name, rate = self._parts.config.name, f"{seen.hit_rate:.0%}"
        return f"<DistributedCache {name!r} {seen.state}: {seen.memory_items} in memory, {rate} hits>"
