"""A cache that stays useful while its server is away: memory in front of Redis, typed values, one load per key."""

from __future__ import annotations

from creatormate_resilience.cache._cache import DistributedCache
from creatormate_resilience.cache._cached import BoundCachedFunction, CachedFunction
from creatormate_resilience.cache._category import DEFAULT_CATEGORIES, CacheCategory
from creatormate_resilience.cache._compression import Compression
from creatormate_resilience.cache._config import CacheConfig, CacheOptions
from creatormate_resilience.cache._events import CacheStateChanged, EntryRejected, LoadFailed, StaleServed
from creatormate_resilience.cache._load import Load, current_load
from creatormate_resilience.cache._lock import CacheLock
from creatormate_resilience.cache._statistics import (
    CacheHealth,
    CacheResult,
    CacheSource,
    CacheState,
    CacheStatistics,
    CategoryStatistics,
)

__all__ = (
    "DEFAULT_CATEGORIES",
    "BoundCachedFunction",
    "CacheCategory",
    "CacheConfig",
    "CacheHealth",
    "CacheLock",
    "CacheOptions",
    "CacheResult",
    "CacheSource",
    "CacheState",
    "CacheStateChanged",
    "CacheStatistics",
    "CachedFunction",
    "CategoryStatistics",
    "Compression",
    "DistributedCache",
    "EntryRejected",
    "Load",
    "LoadFailed",
    "StaleServed",
    "current_load",
)
