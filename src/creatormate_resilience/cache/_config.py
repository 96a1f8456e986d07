"""The settings of a cache, checked when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from creatormate_resilience.cache._category import CacheCategory, check_seconds
from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("CacheConfig", "CacheOptions")


class CacheOptions(TypedDict, total=False):
    """The fields of `CacheConfig` as keywords of `DistributedCache`."""

    name: str
    namespace: str
    version: int
    categories: Mapping[str, CacheCategory | Mapping[str, Any] | float]
    accept_any_category: bool
    default_ttl: float
    max_items: int
    max_bytes: int
    timeout: float
    connect_timeout: float
    tombstone_ttl: float


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
        default_ttl: Time to live of values without a category, in seconds.
        max_items: Bound of memory, in entries.
        max_bytes: Bound of memory, in bytes of encoded values and keys.
        timeout: Longest wait for Redis in one operation, in seconds: for a free connection and the answer together.
        connect_timeout: Longest wait for a new connection, in seconds; within an operation `timeout` ends it earlier.
        tombstone_ttl: Seconds that Redis remembers a deletion, so that a load which began before it cannot undo it.

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
    default_ttl: float = 300.0
    max_items: int = 10_000
    max_bytes: int = 64 * 1024 * 1024
    timeout: float = 0.25
    connect_timeout: float = 0.5
    tombstone_ttl: float = 60.0

    def __post_init__(self) -> None:
        for name in ("name", "namespace"):
            _check_text(name, getattr(self, name))
        for name in ("version", "max_items", "max_bytes"):
            _check_whole(name, getattr(self, name))
        for name in ("default_ttl", "timeout", "connect_timeout", "tombstone_ttl"):
            try:
                check_seconds(name, getattr(self, name))
            except (TypeError, ValueError) as error:
                raise ConfigurationError(str(error)) from error


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= 100 or not value.isprintable():
        raise ConfigurationError(f"{name} is {value!r}; accepted is a text of 1 to 100 printable characters")


def _check_whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**62:
        raise ConfigurationError(f"{name} is {value!r}; accepted are whole numbers from 1")
