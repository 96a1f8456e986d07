"""The cache against a model of it: a dict with times, tags and categories, whatever is done in whatever order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from creatormate_resilience.cache import CacheCategory, DistributedCache
from creatormate_resilience.testing import FakeClock

KEYS = st.sampled_from(["a", "b", "c", "~d", "e" * 300])
TAGS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=2, unique=True)
CATEGORIES = st.sampled_from([None, "short", "graced"])
VALUES = st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=3), st.lists(st.integers(0, 3), max_size=2))
TTLS = st.one_of(st.none(), st.integers(1, 30))
LIVES = {None: (300, 0), "short": (5, 0), "graced": (10, 20)}


@dataclass
class Kept:
    """What the model knows of a key."""

    value: Any
    category: str | None
    fresh_until: float
    stale_until: float
    tags: set[str] = field(default_factory=set)


class CacheMachine(RuleBasedStateMachine):
    """Every verb that needs no other process."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.kept: dict[str, Kept] = {}

    @initialize()
    def begin(self) -> None:
        categories = {
            "short": CacheCategory(ttl=5, jitter=0),
            "graced": CacheCategory(ttl=10, grace=20, throttle=0, jitter=0),
        }
        self.cache = DistributedCache(clock=self.clock, categories=categories)

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def fresh(self, key: str) -> Kept | None:
        kept = self.kept.get(key)
        return kept if kept is not None and self.clock.monotonic() < kept.fresh_until else None

    def keep(self, key: str, value: Any, ttl: int | None, category: str | None, tags: list[str]) -> None:
        life, grace = LIVES[category]
        until = self.clock.monotonic() + (life if ttl is None else ttl)
        self.kept[key] = Kept(value, category, until, until + grace, set(tags))

    @rule(seconds=st.integers(1, 12))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(key=KEYS, value=VALUES, ttl=TTLS, category=CATEGORIES, tags=TAGS)
    def set(self, key: str, value: Any, ttl: int | None, category: str | None, tags: list[str]) -> None:
        self.run(self.cache.set(key, value, ttl, category, tags))
        self.keep(key, value, ttl, category, tags)

    @rule(key=KEYS, value=VALUES, ttl=TTLS, category=CATEGORIES, tags=TAGS)
    def add(self, key: str, value: Any, ttl: int | None, category: str | None, tags: list[str]) -> None:
        added = self.run(self.cache.add(key, value, ttl, category, tags))
        assert added == (self.fresh(key) is None)
        if added:
            self.keep(key, value, ttl, category, tags)

    @rule(key=KEYS, value=VALUES, ttl=TTLS, category=CATEGORIES, tags=TAGS)
    def load(self, key: str, value: Any, ttl: int | None, category: str | None, tags: list[str]) -> None:
        loaded = self.run(self.cache.get_or_set(key, lambda: value, ttl, category, tags))
        if (kept := self.fresh(key)) is None:
            self.keep(key, value, ttl, category, tags)
        assert loaded == (value if kept is None else kept.value)

    @rule(key=KEYS, category=CATEGORIES)
    def fail_to_load(self, key: str, category: str | None) -> None:
        def fail() -> Any:
            raise ConnectionError

        kept = self.kept.get(key)
        known = kept is not None and self.clock.monotonic() < kept.stale_until
        try:
            assert self.run(self.cache.get_or_set(key, fail, category=category)) == (kept and kept.value)
            assert known
        except ConnectionError:
            assert not known

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self.run(self.cache.delete(key)) == (self.fresh(key) is not None)
        self.kept.pop(key, None)

    @rule(key=KEYS, ttl=TTLS)
    def touch(self, key: str, ttl: int | None) -> None:
        kept = self.fresh(key)
        assert self.run(self.cache.touch(key, ttl)) == (kept is not None)
        if kept is not None:
            self.keep(key, kept.value, ttl, kept.category, list(kept.tags))

    @rule(key=KEYS, delta=st.integers(-3, 3))
    def count(self, key: str, delta: int) -> None:
        kept = self.fresh(key)
        if kept is not None and type(kept.value) is not int:
            return
        assert self.run(self.cache.incr(key, delta)) == delta + (kept.value if kept else 0)
        if kept is None:
            self.keep(key, delta, None, None, [])
        else:
            kept.value += delta

    @rule(tag=st.sampled_from(["x", "y", "z"]))
    def invalidate_tag(self, tag: str) -> None:
        self.run(self.cache.invalidate_tag(tag))
        self.kept = {key: kept for key, kept in self.kept.items() if tag not in kept.tags}

    @rule(category=st.sampled_from(["short", "graced"]))
    def invalidate_category(self, category: str) -> None:
        self.run(self.cache.invalidate_category(category))
        self.kept = {key: kept for key, kept in self.kept.items() if kept.category != category}

    @rule()
    def clear(self) -> None:
        self.run(self.cache.clear())
        self.kept = {}

    @invariant()
    def every_read_is_what_the_model_says(self) -> None:
        if not hasattr(self, "cache"):
            return
        for key in ("a", "b", "c", "~d", "e" * 300):
            kept, now = self.kept.get(key), self.clock.monotonic()
            expected = kept.value if kept is not None and now < kept.fresh_until else "nothing"
            assert self.run(self.cache.get(key, "nothing")) == expected
            assert self.cache.peek(key, "nothing") == expected
            seen = self.run(self.cache.lookup(key))
            assert seen.found == (kept is not None and now < kept.stale_until)
            assert seen.stale == (seen.found and expected == "nothing" and kept is not None and now >= kept.fresh_until)

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            self.run(self.cache.aclose())
        self.runner.close()


TestCache = CacheMachine.TestCase
