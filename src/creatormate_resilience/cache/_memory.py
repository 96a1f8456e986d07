"""The first level: entries in this process, bounded in number and in bytes, the least recently used leaving first."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from creatormate_resilience.cache._entry import Entry, Kind
from creatormate_resilience.exceptions import MissingDependencyError

_INSTALLED = find_spec("cachebox") is not None
if TYPE_CHECKING or _INSTALLED:
    import cachebox

__all__ = ("Memory",)

_OVERHEAD = 256
"""Bytes of an entry besides its key and body, about."""


class Memory:
    """Entries and remembered deletions by key. Of two versions of a key the greater one stays, whichever comes first.

    Args:
        max_items: Bound of entries; as many deletions are remembered beside them.
        max_bytes: Bound of bytes of keys and encoded values.

    Raises:
        MissingDependencyError: `cachebox` is not installed.
    """

    __slots__ = ("_deleted", "_entries", "evictions", "get", "oversized")

    def __init__(self, max_items: int, max_bytes: int) -> None:
        if not _INSTALLED:
            raise MissingDependencyError("cachebox", extra="cache", needed_by="the cache")
        share = max(1, max_bytes // max_items)

        def weight(key: str, entry: Entry) -> int:
            # No entry weighs less than its share of the bytes, so the one bound keeps the number of entries too.
            return max(share, len(key) + len(entry.body) + _OVERHEAD)

        self._entries: cachebox.LRUCache[str, Entry] = cachebox.LRUCache(share * max_items, getsizeof=weight)
        self._deleted: cachebox.LRUCache[str, Entry] = cachebox.LRUCache(max_items)
        self.get: Callable[[str], Entry | None] = self._entries.get
        self.evictions = 0
        self.oversized = 0

    def accepts(self, key: str, version: bytes, now: float) -> bool:
        """Whether nothing newer than this version is known of the key."""
        return not (_newer(self._entries.peek, key, version, now) or _newer(self._deleted.peek, key, version, now))

    def put(self, key: str, entry: Entry, now: float) -> bool:
        """Take an entry, or the note of a deletion, unless something newer is known.

        Returns:
            False when something newer is known. An entry too large to hold counts as taken: it only is not kept.
        """
        if not self.accepts(key, entry.version, now):
            return False
        if entry.kind is Kind.TOMBSTONE:
            self.forget(key)
            self._deleted.insert(key, entry)
            return True
        self._deleted.pop(key, None)
        before = len(self._entries) + (key not in self._entries)
        try:
            self._entries.insert(key, entry)
        except OverflowError:
            self.forget(key)
            self.oversized += 1
        else:
            self.evictions += before - len(self._entries)
        return True

    def forget(self, key: str) -> None:
        """Drop what is held of a key, as if it had never been."""
        self._entries.pop(key, None)

    @property
    def bytes(self) -> int:
        """Bytes accounted for; small entries count with their share of the bound."""
        return self._entries.current_size()

    def __len__(self) -> int:
        return len(self._entries)


def _newer(peek: Callable[[str], Entry | None], key: str, version: bytes, now: float) -> bool:
    held = peek(key)
    return held is not None and held.version > version and now < held.stale_until
