"""Categories: how long values of one sort live, and what they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal

from creatormate_resilience.cache._codec import ValueCodec
from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("DEFAULT_CATEGORIES", "CacheCategory", "Categories", "check_seconds")

_LONGEST = 10 * 366 * 86_400.0


def check_seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """The number of seconds, or the error that says what is accepted.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of range.
    """
    accepted = f"accepted are finite seconds {'from' if zero else 'above'} 0 and up to ten years"
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; {accepted}")
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero) or value > _LONGEST:
        raise ValueError(f"{name} is {value!r}; {accepted}")
    return float(value)


@dataclass(frozen=True, slots=True)
class CacheCategory:
    """How values of one sort are kept.

    Attributes:
        ttl: Time to live, in seconds.
        l1_ttl: Seconds that memory serves a value before it asks Redis again; None for 30, or `ttl` where that is less.
            Without Redis it means nothing.
        grace: Seconds past the time to live in which the old value may still stand in, marked stale, for a failing
            loader or an absent Redis. 0 never serves stale.
        jitter: Share of `ttl`, 0 to 1, by which a life may randomly be shorter, so that values stored together do not
            expire together. A `ttl` given with a call is taken as it is.
        type: What the values are, as pydantic understands types: a model, a dataclass, `list[User]`. None takes plain
            values of any shape.
        isolation: "copy": what a reader does to a value, no other reader sees. "none": all get the same object, for
            those who promise not to write to it.

    Raises:
        ConfigurationError: A value is out of range.
    """

    ttl: float
    l1_ttl: float | None = None
    grace: float = 0.0
    jitter: float = 0.1
    type: Any = None
    isolation: Literal["copy", "none"] = "copy"

    def __post_init__(self) -> None:
        try:
            check_seconds("ttl", self.ttl)
            check_seconds("grace", self.grace, zero=True)
            if self.l1_ttl is not None:
                check_seconds("l1_ttl", self.l1_ttl)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"cache category: {error}") from error
        if not isinstance(self.jitter, int | float) or not 0 <= self.jitter <= 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"cache category: jitter is {self.jitter!r}; accepted is 0 to 1")
        if self.isolation not in {"copy", "none"}:
            raise ConfigurationError(f"cache category: isolation is {self.isolation!r}; accepted are 'copy' and 'none'")


DEFAULT_CATEGORIES: Mapping[str, CacheCategory] = MappingProxyType({
    "agent_response": CacheCategory(ttl=1800),
    "user_context": CacheCategory(ttl=3600),
    "youtube_api": CacheCategory(ttl=900),
    "analytics": CacheCategory(ttl=600),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Known:
    category: CacheCategory
    codec: ValueCodec


class Categories:
    """The categories of one cache, each with its codec.

    Args:
        given: The application's own, added to those shipped: `CacheCategory`, a mapping of its fields, or just seconds.
        default_ttl: Time to live of values without a category, in seconds.
        accept_any: Treat an unknown category as none instead of refusing it.

    Raises:
        ConfigurationError: A name or a value is not accepted.
    """

    __slots__ = ("_accept_any", "_default", "_known")

    def __init__(
        self, given: Mapping[str, CacheCategory | Mapping[str, Any] | float], *, default_ttl: float, accept_any: bool
    ) -> None:
        categories = {**DEFAULT_CATEGORIES, **{name: _category(name, value) for name, value in given.items()}}
        self._known = {
            name: _Known(category, ValueCodec(category.type, name=name)) for name, category in categories.items()
        }
        self._default = _Known(CacheCategory(ttl=default_ttl), ValueCodec())
        self._accept_any = accept_any

    def check(self, name: str | None) -> str:
        """The name as entries carry it.

        Raises:
            ConfigurationError: No such category is known; the message lists those that are.
        """
        if name is None:
            return ""
        if name in self._known or (self._accept_any and _name_fits(name)):
            return name
        raise ConfigurationError(f"unknown cache category {name!r}; known are {', '.join(sorted(self._known))}")

    def category(self, name: str) -> CacheCategory:
        """How to keep values of this category; the default for an empty or unknown name."""
        return self._known.get(name, self._default).category

    def codec(self, name: str) -> ValueCodec:
        """How to encode them."""
        return self._known.get(name, self._default).codec


def _name_fits(name: object) -> bool:
    return (
        isinstance(name, str) and len(name) > 0 and len(name.encode("utf-8", "replace")) <= 255 and name.isprintable()
    )


def _category(name: str, value: CacheCategory | Mapping[str, Any] | float) -> CacheCategory:
    if not _name_fits(name):
        raise ConfigurationError(f"cache category {name!r}: accepted are names of 1 to 255 printable characters")
    if isinstance(value, CacheCategory):
        return value
    values = value if isinstance(value, Mapping) else {"ttl": value}
    known = {field.name for field in fields(CacheCategory)}
    unknown = sorted(map(str, set(values) - known))
    if unknown or "ttl" not in values:
        wrong = f"unknown {', '.join(map(repr, unknown))}" if unknown else "no 'ttl'"
        raise ConfigurationError(f"cache category {name!r} has {wrong}; accepted are {', '.join(sorted(known))}")
    try:
        return CacheCategory(**values)
    except ConfigurationError as error:
        raise ConfigurationError(f"cache category {name!r}: {error.detail}") from error
