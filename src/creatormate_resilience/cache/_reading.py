"""Reading: what is known of a key, in memory, in Redis, and by the marks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from creatormate_resilience.cache._batching import Batcher
from creatormate_resilience.cache._entry import BY_BODY, Entry, Freshness, Kind
from creatormate_resilience.cache._marks import EVERYTHING, marks_of
from creatormate_resilience.cache._parts import Parts
from creatormate_resilience.cache._statistics import CacheSource, CacheState
from creatormate_resilience.cache._wire import CorruptEntryError
from creatormate_resilience.exceptions import CacheUnavailableError

__all__ = ("NOTHING", "Found", "Reader")

Oldest: TypeAlias = Mapping[tuple[str, tuple[str, ...]], bytes | None]
_AWAY = (CacheUnavailableError, TimeoutError, ConnectionAbortedError)


class Found(NamedTuple):
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


class Reader:
    """Finds entries, and hands out their values.

    Args:
        parts: Of the cache.
    """

    __slots__ = ("_parts", "_trips")

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        # The store bounds its own trips; here only the wait for one is bounded.
        self._trips: Batcher[str, Found] = Batcher(self._ask, seconds=parts.config.timeout, cuts_off=False)

    def hand_out(self, key: str, found: Found, default: Any, *, stale: bool = False) -> Any:
        """The value found, counted as a hit; else `default`, counted as a miss.

        Args:
            key: Whose value.
            found: What is known.
            default: Returned where that is nothing.
            stale: Whether a stale value will do. While Redis is away it always does.
        """
        entry = found.entry
        if entry is not None and (stale or self.usable(found)):
            try:
                value = self.value(found)
            except CorruptEntryError as error:
                self._parts.reject(key, error)
            else:
                count_hit(found)
                return value
        self._parts.categories.counters("").misses += 1  # of which category it would have been nobody knows
        return default

    def usable(self, found: Found) -> bool:
        """Whether this may be served to who did not ask for stale values."""
        return found.entry is not None and (not found.stale or self._parts.link.state is CacheState.DEGRADED)

    def value(self, found: Found) -> Any:
        """The value of what was found, safe to hand out.

        Raises:
            CorruptEntryError: It cannot be made of the bytes any more.
        """
        assert found.entry is not None  # noqa: S101 - callers have looked
        if found.value is not BY_BODY:
            return found.value
        return self._parts.value(found.entry) if found.entry.value is BY_BODY else found.entry.value

    async def find(self, key: str) -> Found:
        """What is known of a key: by memory while that may answer alone, else by Redis, else by memory after all."""
        found = self.find_here(key)
        if self._parts.store is None or self._answers_alone(found):
            return found
        return self._outcome(key, (await self._trips.ask((key,)))[0])

    async def find_many(self, keys: Iterable[str]) -> dict[str, Found]:
        """`find` for several keys, with one trip to Redis, or two where it has to be asked for marks too."""
        found = {key: self.find_here(key) for key in keys}
        asked = [key for key, held in found.items() if not self._answers_alone(held)]
        if self._parts.store is None or not asked:
            return found
        outcomes = await self._trips.ask(asked)
        return found | {key: self._outcome(key, outcome) for key, outcome in zip(asked, outcomes, strict=True)}

    async def aclose(self) -> None:
        """End what is under way."""
        await self._trips.aclose()

    def _outcome(self, key: str, outcome: Found | Exception) -> Found:
        if not isinstance(outcome, Exception):
            return outcome
        if isinstance(outcome, _AWAY):
            return self.find_here(key)
        raise outcome

    def find_here(self, key: str) -> Found:
        """What memory knows of a key, confirmed by Redis or not."""
        parts = self._parts
        entry = parts.memory.get(key)
        if entry is None:
            return NOTHING
        freshness = entry.freshness(parts.now())
        if freshness is Freshness.DEAD or not parts.marks.holds_for(entry):
            parts.memory.forget(key)
            return NOTHING
        return Found(entry, stale=freshness is Freshness.STALE)

    def _answers_alone(self, held: Found) -> bool:
        return held.entry is not None and held.entry.freshness(self._parts.now()) is Freshness.FRESH

    async def _ask(self, keys: Sequence[str]) -> list[Found]:
        """One trip: what Redis says of these keys, for each who asks."""
        parts, store = self._parts, self._parts.store
        assert store is not None  # noqa: S101 - callers have looked
        held = {key: parts.memory.get(key) for key in keys}
        due = parts.marks.due((EVERYTHING,), parts.now())
        answers = await parts.link.reach(store.get_many, [parts.keys.wire(name) for name in (*held, *due)])
        if due:
            self._learn(due, answers[len(held) :])
        told = [None if data is None else parts.opened(key, data) for key, data in zip(held, answers, strict=False)]
        carried = {opened[0].marked for opened in told if opened is not None}
        await self._ask_for_marks_of(carried)
        oldest = {marked: parts.marks.oldest_valid(*marked) for marked in carried}
        found = [self._told(key, opened, held[key], oldest) for key, opened in zip(held, told, strict=True)]
        if len(found) == len(keys):
            return found
        by_key = dict(zip(held, found, strict=True))
        return [Found(by_key[key].entry, BY_BODY, by_key[key].stale, by_key[key].source) for key in keys]

    async def _ask_for_marks_of(self, carried: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        for category, tags in carried:
            if self._parts.marks.due(self._parts.marks.names(category, tags), self._parts.now()):
                await self.ask_for_marks(name for each in carried for name in marks_of(*each))
                return

    async def ask_for_marks(self, names: Iterable[str]) -> None:
        """Learn from Redis what is not known well enough of these marks.

        Raises:
            CacheUnavailableError: Redis did not answer.
        """
        parts = self._parts
        due = parts.marks.due(names, parts.now())
        if due and parts.store is not None:
            self._learn(due, await parts.link.reach(parts.store.get_many, [parts.keys.wire(name) for name in due]))

    def _learn(self, names: list[str], answers: list[bytes | None]) -> None:
        parts = self._parts
        for name, data in zip(names, answers, strict=True):
            opened = None if data is None else parts.opened(name, data)
            parts.marks.learn(name, None if opened is None else opened[0].version, parts.now())

    def _told(self, key: str, told: tuple[Entry, Any] | None, held: Entry | None, oldest: Oldest) -> Found:
        """What is known of a key now that Redis has answered; `held` is what memory had when it was asked."""
        parts = self._parts
        newest = parts.memory.get(key)
        if newest is not None and newest is not held:
            return self.find_here(key)  # written while Redis was asked
        if told is None or _is_before(told[0], oldest):
            parts.memory.forget(key)
            return NOTHING
        entry, value = told
        if held is not None and held.version == entry.version:
            entry.rest_until = held.rest_until
        if not parts.keep(key, entry):
            return self.find_here(key)  # this process wrote or deleted it later
        now = parts.now()
        if entry.kind >= Kind.TOMBSTONE or now >= entry.stale_until:
            return NOTHING
        return Found(entry, value, now >= entry.fresh_until, "redis")


def _is_before(entry: Entry, oldest: Oldest) -> bool:
    """Whether an entry is older than the oldest valid one with its marks."""
    valid_from = oldest[entry.marked]
    return valid_from is None or entry.version < valid_from


def count_hit(found: Found) -> None:
    """Count a value that was handed out."""
    assert found.entry is not None  # noqa: S101 - callers have looked
    counters = found.entry.counters
    counters.memory_hits += found.source == "memory"
    counters.redis_hits += found.source == "redis"
    counters.stale_hits += found.stale
