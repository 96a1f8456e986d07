"""The settings of a cache, checked when they are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from creatormate_resilience.cache._category import CacheCategory, check_seconds
from creatormate_resilience.cache._compression import Compression
from creatormate_resilience.cache._memory import Eviction
from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("CacheConfig", "CacheOptions")


class CacheOptions(TypedDict, total=False):
    """The fields of `CacheConfig` as keywords of `DistributedCache`."""

    name: str
    namespace: str
    version: int
    categories: Mapping[str, CacheCategory | Mapping[str, Any] | float]
    accept_any_category: bool
    types: Iterable[type]
    default_ttl: float
    max_items: int
    max_bytes: int
    eviction: Eviction
    compression: Compression
    timeout: float
    connect_timeout: float
    tombstone_ttl: float
    invalidation_lag: float
    lock_lease: float


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """The settings of a `DistributedCache`.

    Attributes:
        name: Of the cache, in events and logs.
        namespace: Of the application; starts every key in Redis.
        version: Of the stored data; raise it when old values must not be read any more.
        categories: By name: a `CacheCategory`, a mapping of its fields, or just its `ttl` in seconds. They are added to
            those shipped: agent_response 1800, user_context 3600, youtube_api 900, analytics 600.
        accept_any_category: Treat an unknown category like none instead of refusing it.
        types: Classes whose instances may stand in values without a type of their own: dataclasses, enums, models.
        default_ttl: Time to live of values without a category, in seconds.
        max_items: Bound of memory, in entries.
        max_bytes: Bound of memory, in bytes of encoded values and keys.
        eviction: What leaves memory first: "lfu" what is used least often, "lru" what was not used for longest.
        compression: What is made smaller on its way to Redis.
        timeout: Longest wait for Redis in one operation, in seconds: for a free connection and the answer together.
        connect_timeout: Longest wait for a new connection, in seconds; within an operation `timeout` ends it earlier.
        tombstone_ttl: Seconds that Redis remembers a deletion, and at least the mark of a tag, so that a load which
            began before it cannot undo it. What took longer to load is not stored.
        invalidation_lag: Seconds for which a read from Redis may overlook that another process has invalidated a tag,
            a category or everything. 0 asks with every read.
        lock_lease: Seconds after which the lock of a load is free where its process has died. It is renewed while the
            load lasts.

    Raises:
        ConfigurationError: A value is out of range.
    """

    name: str = "cache"
    namespace: str = "app"
    version: int = 1
    categories: Mapping[str, CacheCategory | Mapping[str, Any] | float] = field(
        default_factory=dict[str, CacheCategory | Mapping[str, Any] | float]
    )
    accept_any_category: bool = False
    types: Iterable[type] = ()
    default_ttl: float = 300.0
    max_items: int = 10_000
    max_bytes: int = 64 * 1024 * 1024
    eviction: Eviction = "lfu"
    compression: Compression = field(default_factory=Compression)
    timeout: float = 0.25
    connect_timeout: float = 0.5
    tombstone_ttl: float = 60.0
    invalidation_lag: float = 1.0
    lock_lease: float = 10.0

    def __post_init__(self) -> None:
        for name in ("name", "namespace"):
            _check_text(name, getattr(self, name))
        for name in ("version", "max_items", "max_bytes"):
            _check_whole(name, getattr(self, name))
        for name in ("default_ttl", "timeout", "connect_timeout", "tombstone_ttl", "invalidation_lag", "lock_lease"):
            try:
                check_seconds(name, getattr(self, name), zero=name == "invalidation_lag")
            except (TypeError, ValueError) as error:
                raise ConfigurationError(str(error)) from error
        if self.eviction not in {"lfu", "lru"}:
            raise ConfigurationError(f"eviction is {self.eviction!r:.200}; accepted are 'lfu' and 'lru'")
        if not isinstance(self.compression, Compression):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"compression is {self.compression!r:.200}; accepted is a Compression")
        object.__setattr__(self, "types", _checked_types(self.types))


def _checked_types(types: Iterable[type]) -> tuple[type, ...]:
    given = tuple(types) if isinstance(types, Iterable) else (types,)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not all(isinstance(each, type) for each in given):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"types is {types!r:.200}; accepted are classes, in a list or tuple")
    return given


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= 100 or not value.isprintable():
        raise ConfigurationError(f"{name} is {value!r}; accepted is a text of 1 to 100 printable characters")


def _check_whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**62:
        raise ConfigurationError(f"{name} is {value!r}; accepted are whole numbers from 1")
