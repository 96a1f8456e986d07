"""What a cache says of itself."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from creatormate_resilience.latencies import LatencyQuantiles

__all__ = (
    "CacheHealth",
    "CacheResult",
    "CacheSource",
    "CacheState",
    "CacheStatistics",
    "CategoryStatistics",
    "Counters",
)

CacheSource: TypeAlias = Literal["memory", "redis"]


class CacheState(enum.Enum):
    """Where a cache keeps its values now."""

    CONNECTED = "connected"
    """In memory and in Redis."""
    DEGRADED = "degraded"
    """In memory; Redis is configured and did not answer last time, or was not asked yet."""
    MEMORY_ONLY = "memory_only"
    """In memory; no Redis is configured."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class CacheResult:
    """What is known of a key.

    Attributes:
        value: The value; None where nothing was found.
        found: Whether there is one. None is a value too.
        stale: Its time to live is over and its category's grace is not.
        age: Seconds since it was stored, or since its load began; None where nothing was found.
        source: "memory" or "redis"; None where nothing was found.
    """

    value: Any = None
    found: bool = False
    stale: bool = False
    age: float | None = None
    source: CacheSource | None = None


@dataclass(frozen=True, slots=True)
class CacheHealth:
    """The answer of `DistributedCache.health`.

    Attributes:
        state: The state after asking Redis.
        latency: Seconds Redis took to answer; None where it did not, or none is configured.
        last_error: The last failure, redacted; kept after recovery.
    """

    state: CacheState
    latency: float | None
    last_error: str | None

    @property
    def healthy(self) -> bool:
        """Whether the cache does all it was configured for."""
        return self.state is not CacheState.DEGRADED


@dataclass(slots=True)
class Counters:
    """The running counts of one category; see `CategoryStatistics`."""

    memory_hits: int = 0
    redis_hits: int = 0
    stale_hits: int = 0
    misses: int = 0
    loads: int = 0
    load_failures: int = 0
    load_seconds: float = 0.0
    refreshes: int = 0
    writes: int = 0

    def snapshot(self) -> CategoryStatistics:
        """As they are now."""
        return CategoryStatistics(**{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def total(cls, parts: Iterable[Counters]) -> Counters:
        """The sums."""
        total = cls()
        for part in parts:
            for field in fields(cls):
                setattr(total, field.name, getattr(total, field.name) + getattr(part, field.name))
        return total


@dataclass(frozen=True, slots=True)
class CategoryStatistics:
    """What was done with the values of one category since the cache was made.

    Attributes:
        memory_hits: Values served from memory.
        redis_hits: Values served from Redis.
        stale_hits: Of all hits, those past their time to live.
        misses: Reads that found nothing. A read that names no category counts for the values without one.
        loads: Loader calls.
        load_failures: Loader calls that raised.
        load_seconds: Time spent in loaders, in seconds.
        refreshes: Of the loads, those begun in the background before a value's time to live was over.
        writes: Values written, loaded ones included.
    """

    memory_hits: int
    redis_hits: int
    stale_hits: int
    misses: int
    loads: int
    load_failures: int
    load_seconds: float
    refreshes: int
    writes: int

    @property
    def hit_rate(self) -> float:
        """Share of reads that found a value; 0 where nothing was read yet."""
        hits = self.memory_hits + self.redis_hits
        return hits / (hits + self.misses) if hits else 0.0


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """One snapshot; the counts are since the cache was made.

    Attributes:
        state: Where values are kept now.
        memory_hits: Values served from memory; this and the next eight are of all categories together.
        redis_hits: Values served from Redis.
        stale_hits: Of all hits, those past their time to live.
        misses: Reads that found nothing.
        loads: Loader calls.
        load_failures: Loader calls that raised.
        load_seconds: Time spent in loaders, in seconds.
        refreshes: Of the loads, those begun in the background before a value's time to live was over.
        writes: Values written, loaded ones included.
        categories: The same for each category by name; the name of values without one is empty.
        deletes: Keys deleted.
        invalidations: Tags and categories invalidated, and `clear`.
        redis_errors: Operations that Redis did not answer, or refused.
        rejected: Entries in Redis that could not be read.
        evictions: Entries that left memory for lack of room.
        oversized: Values too large for memory.
        memory_items: Entries in memory.
        memory_bytes: Bytes they are accounted with; a small entry counts with its share of the bound.
        loads_under_way: Loads running now.
        last_error: The last failure of Redis, redacted.
        redis_latency: How long operations of Redis took; None before the first.
        load_latency: How long loaders took; None before the first.
    """

    state: CacheState
    memory_hits: int
    redis_hits: int
    stale_hits: int
    misses: int
    loads: int
    load_failures: int
    load_seconds: float
    refreshes: int
    writes: int
    categories: Mapping[str, CategoryStatistics]
    deletes: int
    invalidations: int
    redis_errors: int
    rejected: int
    evictions: int
    oversized: int
    memory_items: int
    memory_bytes: int
    loads_under_way: int
    last_error: str | None
    redis_latency: LatencyQuantiles | None
    load_latency: LatencyQuantiles | None

    @property
    def hit_rate(self) -> float:
        """Share of reads that found a value; 0 where nothing was read yet."""
        hits = self.memory_hits + self.redis_hits
        return hits / (hits + self.misses) if hits else 0.0
