"""Marks: what invalidates everything at once, a category or a tag, without touching a single entry.

A mark is a version. An entry that carries it and is older does not count any more. A category, and the cache as a
whole, have a mark only where they were invalidated. A tag has one wherever an entry has the tag, and an entry whose tag
has none does not count: whatever a server may evict, what was invalidated does not come back.
"""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from creatormate_resilience.cache._category import base_of
from creatormate_resilience.cache._entry import Entry
from creatormate_resilience.cache._keys import RESERVED, tag_identity

__all__ = ("EVERYTHING", "Marks", "category_mark", "marks_of", "tag_mark")

EVERYTHING = f"{RESERVED}all"
_TAG = f"{RESERVED}tag:"


def category_mark(category: str) -> str:
    """Name of the mark of a category."""
    return f"{RESERVED}category:{category}"


def tag_mark(tag: str) -> str:
    """Name of the mark of a tag."""
    return _TAG + tag_identity(tag)


def marks_of(category: str, tags: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the marks that can invalidate an entry."""
    return (EVERYTHING, category_mark(base_of(category)), *map(tag_mark, tags))


@dataclass(frozen=True, slots=True)
class _Known:
    version: bytes
    """Empty where Redis has no such mark."""
    asked_at: float


_UNKNOWN = _Known(b"", -math.inf)


class Marks:
    """The marks, as far as this process knows them.

    Args:
        limit: How many are remembered. Of those that go, the tags' are asked for again; the others are folded into one
            for everything, which invalidates more than it had to and nothing less.
        lag: Seconds for which what Redis said of a mark is good enough.

    Attributes:
        names: As `marks_of`, remembered for those asked for lately.
        in_use: Whether there has been a mark at all.
        epoch: Another object after each invalidation, so that entries notice that they have to be looked at.
    """

    __slots__ = ("_floor", "_known", "_lag", "_limit", "epoch", "in_use", "names")

    def __init__(self, limit: int, lag: float) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._limit = limit
        self._lag = lag
        self.names = functools.lru_cache(maxsize=1024)(marks_of)
        self._floor = b""
        self.in_use = False
        self.epoch = object()

    def outdates(self, category: str, tags: tuple[str, ...], version: bytes) -> bool:
        """Whether something of this version does not count: invalidated, or with a tag that has no mark."""
        oldest = self.oldest_valid(category, tags)
        return oldest is None or version < oldest

    def oldest_valid(self, category: str, tags: tuple[str, ...]) -> bytes | None:
        """The version from which on something counts; None where nothing does, because a tag has no mark."""
        return self._newest(category, tags) if all(self.knows(tag_mark(tag)) for tag in tags) else None

    def invalidated(self, category: str, tags: tuple[str, ...], version: bytes) -> bool:
        """Whether something of this version has been invalidated, as far as is known."""
        return version < self._newest(category, tags)

    def _newest(self, category: str, tags: tuple[str, ...]) -> bytes:
        return max(self._floor, *(self._known.get(name, _UNKNOWN).version for name in self.names(category, tags)))

    def holds_for(self, entry: Entry) -> bool:
        """Whether an entry still counts; it is noted on the entry."""
        if entry.epoch is not self.epoch:
            if self.outdates(entry.category, entry.tags, entry.version):
                return False
            entry.confirm(self.epoch)
        return True

    def knows(self, name: str) -> bool:
        """Whether there is such a mark, as far as is known."""
        known = self._known.get(name)
        return known is not None and bool(known.version)

    def due(self, names: Iterable[str], now: float) -> list[str]:
        """Which of these Redis should be asked for."""
        known, asked_since = self._known, now - self._lag
        due = [name for name in names if known.get(name, _UNKNOWN).asked_at <= asked_since]
        return due if len(due) < 2 else list(dict.fromkeys(due))

    def learn(self, name: str, version: bytes | None, now: float) -> None:
        """Note what Redis has of a mark, or what was just written; None where it has none."""
        known, is_tag = self._known.get(name), name.startswith(_TAG)
        before = b"" if known is None else known.version
        newest = b"" if is_tag and version is None else max(version or b"", before)
        if newest != before and not (known is None and is_tag):  # nothing valid carries a tag that was not known
            self.epoch = object()
        self.in_use = self.in_use or bool(newest)
        self._known[name] = _Known(newest, now)
        self._known.move_to_end(name)
        while len(self._known) > self._limit:
            self._drop(*self._known.popitem(last=False))

    def _drop(self, name: str, known: _Known) -> None:
        if not name.startswith(_TAG):
            self._floor = max(self._floor, known.version)
