"""Categories: how long values of one sort live, and what they are."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal

from creatormate_resilience.cache._codec import ValueCodec
from creatormate_resilience.cache._statistics import Counters
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.options import check_share

__all__ = (
    "DEFAULT_CATEGORIES",
    "CacheCategory",
    "Categories",
    "Known",
    "base_of",
    "check_seconds",
    "check_ttl",
    "is_of",
)

_LONGEST = 10 * 366 * 86_400.0
_LONGEST_NAME = 200
_PART_OF = "\n"  # in no name that anybody can give


def check_seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """The number of seconds, or the error that says what is accepted.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of range.
    """
    accepted = f"accepted are finite seconds {'from' if zero else 'above'} 0 and up to ten years"
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r:.200}; {accepted}")
    if not 0 <= value <= _LONGEST or (value == 0 and not zero):
        raise ValueError(f"{name} is {value!r:.200}; {accepted}")
    return float(value)


def check_ttl(ttl: float | None) -> float | None:
    """A time to live as it was given, or None; see `check_seconds`."""
    return None if ttl is None else check_seconds("ttl", ttl)


@dataclass(frozen=True, slots=True)
class CacheCategory:
    """How values of one sort are kept.

    Attributes:
        ttl: Time to live, in seconds.
        l1_ttl: Seconds that memory serves a value before it asks Redis again; None for 30, or `ttl` where that is less.
            Without Redis it means nothing.
        grace: Seconds past the time to live in which the old value may still stand in, marked stale, for a failing or
            slow loader or an absent Redis. 0 never serves stale.
        throttle: Seconds after a failed load for which the old value goes on standing in, before the loader is asked
            again.
        negative_ttl: Time to live of a loaded None, in seconds; None keeps it like any other value, 0 not at all.
        jitter: Share of `ttl`, 0 to 1, by which a life may randomly be shorter, so that values stored together do not
            expire together. A `ttl` given with a call is taken as it is.
        soft_timeout: Seconds after which who waits for a load gets the old value, where its grace lasts; the load goes
            on. None waits for the load.
        hard_timeout: Seconds after which a load is interrupted and has failed; None sets no limit.
        eager_refresh: How early a value is loaded again in the background, before its time to live is over: 1 is what
            theory calls optimal, more is earlier, 0 is never (XFetch, https://www.vldb.org/pvldb/vol8/p886-vattani.pdf).
        lock: Load a key in one process at a time; the others wait for its value. Costs two more trips to Redis a load.
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
    throttle: float = 5.0
    negative_ttl: float | None = None
    jitter: float = 0.1
    soft_timeout: float | None = None
    hard_timeout: float | None = 30.0
    eager_refresh: float = 0.0
    lock: bool = False
    type: Any = None
    isolation: Literal["copy", "none"] = "copy"

    def __post_init__(self) -> None:
        try:
            check_seconds("ttl", self.ttl)
            for name in ("grace", "throttle", "negative_ttl", "eager_refresh"):
                if getattr(self, name) is not None:
                    check_seconds(name, getattr(self, name), zero=True)
            for name in ("l1_ttl", "soft_timeout", "hard_timeout"):
                if getattr(self, name) is not None:
                    check_seconds(name, getattr(self, name))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"cache category: {error}") from error
        check_share("cache category: jitter", self.jitter)
        if self.eager_refresh > 100:
            raise ConfigurationError(f"cache category: eager_refresh is {self.eager_refresh!r}; accepted is 0 to 100")
        if not isinstance(self.lock, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"cache category: lock is {self.lock!r}; accepted are True and False")
        if self.isolation not in {"copy", "none"}:
            raise ConfigurationError(f"cache category: isolation is {self.isolation!r}; accepted are 'copy' and 'none'")
        self._check_soft_timeout()

    def _check_soft_timeout(self) -> None:
        if self.soft_timeout is None:
            return
        if not self.grace:
            raise ConfigurationError(
                "cache category: soft_timeout needs a grace, in seconds: without it nothing is old"
            )
        if self.soft_timeout >= (self.hard_timeout or math.inf):
            raise ConfigurationError(
                f"cache category: soft_timeout is {self.soft_timeout!r}; accepted is less than hard_timeout"
            )


DEFAULT_CATEGORIES: Mapping[str, CacheCategory] = MappingProxyType({
    "agent_response": CacheCategory(ttl=1800),
    "user_context": CacheCategory(ttl=3600),
    "youtube_api": CacheCategory(ttl=900),
    "analytics": CacheCategory(ttl=600),
})  # fmt: skip


def base_of(category: str) -> str:
    """The category that this one is a part of; itself unless `Categories.part` made it."""
    return category.partition(_PART_OF)[0]


def is_of(stored: str, asked: str) -> bool:
    """Whether a value of one category will do where another is asked for: all but what has a type of its own."""
    return stored == asked or (_PART_OF not in stored and _PART_OF not in asked)


@dataclass(frozen=True, slots=True)
class Known:
    """A category, how its values are encoded, and what is counted of them."""

    category: CacheCategory
    codec: ValueCodec
    counters: Counters

    def shared(self, value: Any) -> Any:
        """The value if all readers may have it, else `BY_BODY`."""
        return self.codec.shared(value, isolate=self.category.isolation == "copy")


class Categories:
    """The categories of one cache, each with its codec and its counts.

    Args:
        given: The application's own, added to those shipped: `CacheCategory`, a mapping of its fields, or just seconds.
        default_ttl: Time to live of values without a category, in seconds.
        accept_any: Treat an unknown category as none instead of refusing it.
        types: Classes whose instances plain values may hold.

    Raises:
        ConfigurationError: A name or a value is not accepted.
    """

    __slots__ = ("_accept_any", "_default", "_known", "_types")

    def __init__(
        self,
        given: Mapping[str, CacheCategory | Mapping[str, Any] | float],
        *,
        default_ttl: float,
        accept_any: bool,
        types: Iterable[type] = (),
    ) -> None:
        self._types = tuple(types)
        categories = {**DEFAULT_CATEGORIES, **{name: _category(name, value) for name, value in given.items()}}
        self._known = {name: self._make(name, category) for name, category in categories.items()}
        self._default = self._make("", CacheCategory(ttl=default_ttl))
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
        known = ", ".join(sorted(name for name in self._known if _PART_OF not in name))
        raise ConfigurationError(f"unknown cache category {name!r}; known are {known}")

    def part(self, name: str, label: str, of_type: Any) -> str:
        """A part of a category whose values have a type of their own, such as the results of one function.

        Args:
            name: Of the category, checked.
            label: Of the part.
            of_type: See `ValueCodec`.

        Returns:
            Name of the part, as entries carry it. It is invalidated and counted with its category.
        """
        part = f"{name}{_PART_OF}{hashlib.blake2b(label.encode(), digest_size=8).hexdigest()}"
        whole = self._known.get(name, self._default)
        self._known[part] = Known(whole.category, ValueCodec(of_type, name=name or label), whole.counters)
        return part

    def of(self, name: str) -> Known:
        """All about a category; the default for an empty or unknown name."""
        return self._known.get(name) or self._known.get(base_of(name), self._default)

    def category(self, name: str) -> CacheCategory:
        """How to keep values of this category."""
        return self.of(name).category

    def counters(self, name: str) -> Counters:
        """What is counted of them."""
        return self.of(name).counters

    def counted(self) -> dict[str, Counters]:
        """The counts of each category by name."""
        known = {name: known.counters for name, known in self._known.items() if _PART_OF not in name}
        return {"": self._default.counters, **known}

    def _make(self, name: str, category: CacheCategory) -> Known:
        types = self._types if category.type is None else ()
        return Known(category, ValueCodec(category.type, name=name, known_types=types), Counters())


def _name_fits(name: object) -> bool:
    return (
        isinstance(name, str)
        and len(name) > 0
        and len(name.encode("utf-8", "replace")) <= _LONGEST_NAME
        and name.isprintable()
    )


def _category(name: str, value: CacheCategory | Mapping[str, Any] | float) -> CacheCategory:
    if not _name_fits(name):
        raise ConfigurationError(
            f"cache category {name!r}: accepted are names of 1 to {_LONGEST_NAME} printable characters"
        )
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
