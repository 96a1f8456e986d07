"""The first level: entries in this process, bounded in number and in bytes."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TypeAlias

from creatormate_resilience.cache._entry import Entry, Freshness, Kind
from creatormate_resilience.exceptions import MissingDependencyError

_INSTALLED = find_spec("cachebox") is not None
if TYPE_CHECKING or _INSTALLED:
    import cachebox

__all__ = ("Eviction", "Memory")

Eviction: TypeAlias = Literal["lfu", "lru"]
_OVERHEAD = 256
"""Bytes of an entry besides its key, tags and body, about."""


class Memory:
    """Entries and remembered deletions by key. Of two versions of a key the greater one stays, whichever comes first.

    Args:
        max_items: Bound of entries; as many deletions are remembered beside them.
        max_bytes: Bound of bytes of keys and encoded values.
        eviction: Which entry leaves first: the one used least often, or least recently.

    Raises:
        MissingDependencyError: `cachebox` is not installed.

    Attributes:
        entries: By key, for looking one up where every nanosecond counts.
    """

    __slots__ = ("_added", "_deleted", "_max_items", "_peek", "_puts", "entries", "get", "oversized")

    def __init__(self, max_items: int, max_bytes: int, eviction: Eviction) -> None:
        if not _INSTALLED:
            raise MissingDependencyError("cachebox", extra="cache", needed_by="the cache")
        share = max(1, max_bytes // max_items)

        def weight(key: str, entry: Entry) -> int:
            # No entry weighs less than its share of the bytes, so the one bound keeps the number of entries too.
            return max(share, len(key) + sum(map(len, entry.tags)) + len(entry.body) + _OVERHEAD)

        kept = cachebox.LFUCache if eviction == "lfu" else cachebox.LRUCache
        self.entries: cachebox.LFUCache[str, Entry] | cachebox.LRUCache[str, Entry] = kept(
            share * max_items, getsizeof=weight
        )
        self._deleted: cachebox.LRUCache[str, Entry] = cachebox.LRUCache(max_items)
        self.get: Callable[[str], Entry | None] = self.entries.get
        self._peek: Callable[[str], Entry | None] = self.entries.peek
        self._max_items = max_items
        self._puts = 0
        self._added = 0  # and not taken out again
        self.oversized = 0

    def put(self, key: str, entry: Entry, now: float) -> bool:
        """Take an entry, or the note of a deletion, unless something newer is known.

        Returns:
            False when something newer is known. An entry too large to hold counts as taken: it only is not kept.
        """
        held = self._peek(key)
        if _newer(held, entry.version, now) or (self._deleted and _newer(self._deleted.peek(key), entry.version, now)):
            return False
        if entry.kind is Kind.TOMBSTONE:
            self.forget(key)
            self._deleted.insert(key, entry)
            return True
        if self._deleted:
            self._deleted.pop(key, None)
        self._puts += 1
        if self._puts >= self._max_items:
            self._bury_the_dead(now)
        try:
            self.entries.insert(key, entry)
            self._added += held is None
        except OverflowError:
            self.forget(key)
            self.oversized += 1
        return True

    def forget(self, key: str) -> None:
        """Drop what is held of a key, as if it had never been."""
        self._added -= self.entries.pop(key, None) is not None

    def clear(self) -> None:
        """Drop all entries. Deletions stay remembered."""
        self._added -= len(self.entries)
        self.entries.clear()

    @property
    def evictions(self) -> int:
        """Entries that left for lack of room."""
        return self._added - len(self.entries)

    @property
    def bytes(self) -> int:
        """Bytes accounted for; small entries count with their share of the bound."""
        return self.entries.current_size()

    def __len__(self) -> int:
        return len(self.entries)

    def _bury_the_dead(self, now: float) -> None:
        # What was used often would else stay long after its life. As rare as filling memory once, it costs little.
        self._puts = 0
        for key in [key for key, entry in self.entries.items() if entry.freshness(now) is Freshness.DEAD]:
            self.forget(key)


def _newer(held: Entry | None, version: bytes, now: float) -> bool:
    return held is not None and held.version > version and now < held.stale_until
