"""`DistributedCache`: the verbs."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack, overload

from creatormate_resilience.cache._cached import CachedFunction, Keeper
from creatormate_resilience.cache._category import check_seconds
from creatormate_resilience.cache._config import CacheConfig, CacheOptions
from creatormate_resilience.cache._entry import BY_BODY, Freshness
from creatormate_resilience.cache._keys import identity
from creatormate_resilience.cache._link import Link, default_breaker
from creatormate_resilience.cache._loading import Loading, Request
from creatormate_resilience.cache._loop import HomeLoop
from creatormate_resilience.cache._statistics import CacheHealth, CacheResult, CacheState, CacheStatistics
from creatormate_resilience.cache._tiers import Change, Found, Tiers
from creatormate_resilience.cache.redis import RedisClient, RedisStore
from creatormate_resilience.clock import Clock, SystemClock
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import CacheUnavailableError
from creatormate_resilience.policy import Policy

__all__ = ("DistributedCache",)

P = ParamSpec("P")
T = TypeVar("T")


class DistributedCache:
    """Memory in front of Redis: typed values, one load per key, still there while Redis is away.

    Args:
        url: `redis://`, `rediss://` or `unix://`; without it, and without a client, values live in memory only.
        client: A `redis.asyncio` client of yours instead; it must answer in bytes and is not closed.
        config: All settings as one object; see `CacheConfig` for them and their defaults.
        clock: Where durations come from.
        listeners: Told of `CacheStateChanged`, `EntryRejected` and `StaleServed`.
        breaker: Stands before Redis; None makes a `CircuitBreaker` that opens after three failures in a row.
        **options: The fields of `CacheConfig` by name: `namespace="app"`, `categories={...}`, `timeout=0.25` and so on.

    Raises:
        ConfigurationError: A setting is out of range, or the URL malformed.
        MissingDependencyError: A package of the extra `cache`, or with Redis of `redis`, is not installed.
        TypeError: An option has an unknown name.

    A problem of Redis is never an exception in any verb but `add` and `incr`. Reads and writes then go to memory, and
    back to Redis by themselves when it answers again. What was written or deleted meanwhile is not told to Redis
    afterwards: an older value may come back then, for as long as its time to live.

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
        settings = dataclasses.replace(config or CacheConfig(), **options)
        store = None
        if url is not None or client is not None:
            store = RedisStore(url, client=client, timeout=settings.timeout, connect_timeout=settings.connect_timeout)
        clock, listeners = clock or SystemClock(), tuple(listeners)
        state = CacheState.MEMORY_ONLY if store is None else CacheState.DEGRADED
        link = Link(settings.name, breaker or default_breaker(clock), listeners, state)
        self._tiers = Tiers(settings, store, link=link, clock=clock, listeners=listeners)
        self._loading = Loading(self._tiers, listeners)
        self._counters = self._tiers.counters
        self._held = self._tiers.memory.get
        self._now = clock.monotonic
        self._home = HomeLoop()

    # Reading ----------------------------------------------------------------------------------------------------------
    async def get(self, key: str, default: Any = None) -> Any:
        """The value of a key. While Redis is away, a value within its category's grace counts too.

        Args:
            key: 1 to 65,536 characters.
            default: Returned where there is no value.
        """
        self._home.check()
        entry = self._held(key)
        if entry is not None and entry.value is not BY_BODY and self._now() < entry.confirm_at:
            self._counters.memory_hits += 1
            return entry.value
        name = identity(key)
        return self._tiers.hand_out(name, await self._tiers.find(name), default, stale=False)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those keys that have one, with at most one trip to Redis."""
        self._home.check()
        names = {key: identity(key) for key in keys}
        found = await self._tiers.find_many(dict.fromkeys(names.values()))
        values = {key: self._tiers.hand_out(name, found[name], BY_BODY, stale=False) for key, name in names.items()}
        return {key: value for key, value in values.items() if value is not BY_BODY}

    async def lookup(self, key: str) -> CacheResult:
        """What is known of a key, stale values within their grace included: what degraded answers are made of."""
        self._home.check()
        name = identity(key)
        found = await self._tiers.find(name)
        value = self._tiers.hand_out(name, found, BY_BODY, stale=True)
        if found.entry is None or value is BY_BODY:
            return CacheResult()
        age = max(0.0, self._now() - found.entry.stored_at)
        return CacheResult(value, True, found.stale, age, found.source)

    async def exists(self, key: str) -> bool:
        """Whether `get` would find a value."""
        self._home.check()
        return self._tiers.usable(await self._tiers.find(identity(key)))

    def peek(self, key: str, default: Any = None) -> Any:
        """The value of a key as memory alone knows it, without waiting; for synchronous hot paths.

        Args:
            key: The key.
            default: Returned where memory holds no value that may be served without asking Redis.
        """
        name = identity(key)
        entry = self._held(name)
        if entry is None or entry.freshness(self._now()) is not Freshness.FRESH:
            return default
        return self._tiers.hand_out(name, Found(entry), default, stale=False)

    # Writing ----------------------------------------------------------------------------------------------------------
    async def set(self, key: str, value: Any, ttl: float | None = None, category: str | None = None) -> None:
        """Store a value; None, False, 0 and "" are values too.

        Args:
            key: 1 to 65,536 characters.
            value: Plain data of any depth, or what the category's type says.
            ttl: Time to live, in seconds; None takes the category's.
            category: One of those configured.

        Raises:
            CacheSerializationError: The value cannot be stored faithfully; the message names its type.
            ConfigurationError: The category is unknown.
            ValueError: `key` or `ttl` is out of range.
        """
        await self.set_many({key: value}, ttl=ttl, category=category)

    async def set_many(
        self, values: Mapping[str, Any], *, ttl: float | None = None, category: str | None = None
    ) -> None:
        """`set` for several keys, with at most one trip to Redis. All are checked before any is stored."""
        self._home.check()
        ttl, kind = _checked_ttl(ttl), self._tiers.categories.check(category)
        await self._commit(
            [
                Change(identity(key), self._tiers.entry(value, ttl, kind, self._tiers.versions.next()))
                for key, value in values.items()
            ]
        )

    async def delete(self, key: str) -> bool:
        """Forget a key. A load of it that is under way will not bring it back.

        Returns:
            Whether there was a value, as far as could be seen.
        """
        return await self.delete_many((key,)) > 0

    async def delete_many(self, keys: Iterable[str]) -> int:
        """`delete` for several keys, with at most one trip to Redis; tells how many had a value."""
        self._home.check()
        names = dict.fromkeys(identity(key) for key in keys)
        return sum(await self._commit([Change(name, self._tiers.tombstone()) for name in names]))

    async def add(self, key: str, value: Any, ttl: float | None = None, category: str | None = None) -> bool:
        """Store a value only where there is none.

        Returns:
            Whether it was stored.

        Raises:
            CacheUnavailableError: Redis is configured and away: another process may have stored one.
            CacheSerializationError: The value cannot be stored faithfully.
        """
        self._home.check()
        name, kind = identity(key), self._tiers.categories.check(category)
        entry = self._tiers.entry(value, _checked_ttl(ttl), kind, self._tiers.versions.next())
        added = await self._tiers.add(name, entry)
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
        if not isinstance(delta, int) or isinstance(delta, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"delta is {delta!r}; accepted are whole numbers")
        if abs(delta) > 2**53:
            raise OverflowError(f"delta is {delta}; accepted are whole numbers up to 2**53")
        name, kind = identity(key), self._tiers.categories.check(category)
        entry = self._tiers.entry(delta, _checked_ttl(ttl), kind, self._tiers.versions.next())
        self._loading.flights.supersede(name)
        total = await self._tiers.add_number(name, delta, entry)
        if total == "no integer":
            raise TypeError(f"incr: the value of {key!r} is not an integer within 2**53")
        if total == "out of range":
            raise OverflowError(f"incr: the sum for {key!r} is beyond 2**53")
        return total

    async def touch(self, key: str, ttl: float | None = None) -> bool:
        """Give a value a new time to live, from now on.

        Args:
            key: The key.
            ttl: In seconds; None takes its category's.

        Returns:
            Whether there was a value.
        """
        self._home.check()
        return await self._tiers.touch(identity(key), _checked_ttl(ttl))

    async def _commit(self, changes: list[Change]) -> list[bool]:
        for change in changes:
            self._loading.flights.supersede(change.key)
        return await self._tiers.commit(changes)

    # Loading ----------------------------------------------------------------------------------------------------------
    @overload
    async def get_or_set(
        self, key: str, loader: Callable[[], Awaitable[T]], *, ttl: float | None = None, category: str | None = None
    ) -> T: ...
    @overload
    async def get_or_set(
        self, key: str, loader: Callable[[], T], *, ttl: float | None = None, category: str | None = None
    ) -> T: ...
    async def get_or_set(
        self, key: str, loader: Callable[[], Any], *, ttl: float | None = None, category: str | None = None
    ) -> Any:
        """The value of a key; where there is none, what the loader returns, stored.

        However many ask at once, the loader runs once in this process, in a task and a context of its own; the
        cancellation of a caller does not stop it. What it returns carries the version of the moment it started, so a
        write or delete that happens meanwhile wins. Where it raises something that passes (an upstream's fault), or
        anything but a caller's fault while Redis is away, an old value within its category's grace is served instead.

        Args:
            key: 1 to 65,536 characters.
            loader: Makes the value; async, or sync and quick.
            ttl: Time to live, in seconds; None takes the category's.
            category: One of those configured.

        Raises:
            CacheSerializationError: What the loader returned cannot be stored faithfully.
            ConfigurationError: The category is unknown, or the loader asks for the very key it is loading.
            ShuttingDownError: The cache is closed.
        """
        self._home.check()
        entry = self._held(key)
        if entry is not None and entry.value is not BY_BODY and self._now() < entry.confirm_at:
            self._counters.memory_hits += 1
            return entry.value
        return await self._load(key, loader, ttl, category)

    def cached(
        self, *, key: str, ttl: float | None = None, category: str | None = None
    ) -> Callable[[Callable[P, Awaitable[T]]], CachedFunction[P, T]]:
        """Keep the results of an async function or method: `@cache.cached(key="user:{user_id}")`.

        Args:
            key: Template of the key; its fields are parameters of the function, or their attributes (`{self.tenant}`).
                They are escaped, so two sets of arguments never share a key.
            ttl: Time to live, in seconds; None takes the category's.
            category: One of those configured.

        Returns:
            A decorator. The function keeps its signature and gains `.invalidate(...)`, `.refresh(...)` and `.key(...)`,
            each taking the function's arguments.

        Raises:
            ConfigurationError: The template does not fit the function, or the function is not async.
        """
        _checked_ttl(ttl)
        self._tiers.categories.check(category)
        get_or_set = functools.partial(self.get_or_set, ttl=ttl, category=category)
        renew = functools.partial(self._renew, ttl=ttl, category=category)
        keeper = Keeper(get_or_set, renew, self.delete)

        def decorate(fn: Callable[P, Awaitable[T]]) -> CachedFunction[P, T]:
            return CachedFunction(fn, key, keeper)

        return decorate

    async def _renew(self, key: str, loader: Callable[[], Any], *, ttl: float | None, category: str | None) -> Any:
        return await self._load(key, loader, ttl, category, renew=True)

    async def _load(
        self, key: str, loader: Callable[[], Any], ttl: float | None, category: str | None, *, renew: bool = False
    ) -> Any:
        self._home.check()
        name, kind = identity(key), self._tiers.categories.check(category)
        found = self._tiers.find_here(name)
        if not renew and found.entry is not None and self._now() < found.entry.confirm_at:
            return self._tiers.hand_out(name, found, None, stale=False)
        return await self._loading.load(name, Request(loader, _checked_ttl(ttl), kind, renew))

    # What it says of itself -------------------------------------------------------------------------------------------
    @property
    def state(self) -> CacheState:
        """Where values are kept now, as the last operation found it."""
        return self._tiers.link.state

    def statistics(self) -> CacheStatistics:
        """One snapshot."""
        tiers = self._tiers
        return CacheStatistics(
            state=tiers.link.state,
            redis_errors=tiers.link.errors,
            evictions=tiers.memory.evictions,
            oversized=tiers.memory.oversized,
            memory_items=len(tiers.memory),
            memory_bytes=tiers.memory.bytes,
            loads_under_way=len(self._loading.flights),
            last_error=tiers.link.last_error,
            **dataclasses.asdict(self._counters),
        )

    async def health(self) -> CacheHealth:
        """Ask Redis for a sign of life; never raises because of it."""
        self._home.check()
        store, latency = self._tiers.store, None
        if store is not None:
            try:
                latency = await self._tiers.link.reach(store.ping)
            except CacheUnavailableError:
                latency = None
        return CacheHealth(self._tiers.link.state, latency, self._tiers.link.last_error)

    # Life -------------------------------------------------------------------------------------------------------------
    async def start(self) -> Self:
        """Bind to this event loop and greet Redis. Where it is away the cache starts degraded."""
        await self.health()
        return self

    async def aclose(self) -> None:
        """End the loads under way and close the client, unless it was given. May be called twice."""
        self._home.leave()
        await self._loading.flights.aclose()
        if self._tiers.store is not None:
            await self._tiers.store.aclose()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        home = getattr(self, "_home", None)  # absent where the constructor raised
        if home is not None and home.in_use and self._tiers.store is not None:
            warnings.warn(f"{self!r} was not closed; call aclose()", ResourceWarning, source=self, stacklevel=1)

    def __repr__(self) -> str:
        seen = self.statistics()
        name, rate = self._tiers.config.name, f"{seen.hit_rate:.0%}"
        return f"<DistributedCache {name!r} {seen.state}: {seen.memory_items} in memory, {rate} hits>"


def _checked_ttl(ttl: float | None) -> float | None:
    return None if ttl is None else check_seconds("ttl", ttl)
