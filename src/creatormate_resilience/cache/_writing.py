"""Writing: the one place through which every write, delete and invalidation passes, each with its version."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from creatormate_resilience.cache._entry import Entry, Freshness, Kind
from creatormate_resilience.cache._marks import marks_of, tag_mark
from creatormate_resilience.cache._parts import Parts
from creatormate_resilience.cache._reading import Reader
from creatormate_resilience.cache._wire import pack, pack_moments
from creatormate_resilience.cache.redis import RedisStore, Reply, Write
from creatormate_resilience.exceptions import CacheUnavailableError

__all__ = ("Change", "Writer", "check_delta")

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One write, delete or invalidation.

    Attributes:
        key: The name inside.
        entry: What is to be true from its version on; a tombstone for a delete, a mark for an invalidation.
        loaded: It came from a loader. Then a newer version anywhere simply wins; what a caller asked to write does not
            give way to another node's clock.
        mode: "add" writes only where nothing fresh is known; "mark" makes a mark where there is none, and else lets
            that one live as long as this would.
        floor: For "add": what is older than this is known not to count.
    """

    key: str
    entry: Entry
    loaded: bool = False
    mode: Literal["set", "add", "mark"] = "set"
    floor: bytes = b""


class Writer:
    """Makes changes true in memory and in Redis.

    Args:
        parts: Of the cache.
        reader: Of the cache.
    """

    __slots__ = ("_parts", "_reader")

    def __init__(self, parts: Parts, reader: Reader) -> None:
        self._parts = parts
        self._reader = reader

    async def commit(self, changes: Sequence[Change]) -> list[bool]:
        """Make changes true here and in Redis.

        Returns:
            For each change whether a fresh value was there before, as far as could be seen.
        """
        replaced = [self._known_fresh(change.key) for change in changes]
        marks = [mark for change in changes for mark in self._marks_of(change.entry)]
        for change in (*marks, *changes):
            self._take(change)
        if self._parts.store is None or not changes:
            return replaced
        try:
            replies = await self._sent([*marks, *changes])
        except CacheUnavailableError:
            return replaced  # memory has it; the outage protocol will keep it for Redis here
        return [reply.replaced for reply in replies[len(marks) :]]

    async def ensure_marks(self, tags: Iterable[str], version: bytes) -> None:
        """See that these tags have a mark before something is loaded that will carry them.

        Else the mark would be made at the end of the first load, and all others that began earlier would be older.
        """
        parts = self._parts
        wanted = [tag_mark(tag) for tag in tags]
        if missing := [name for name in wanted if not parts.marks.knows(name)]:
            mark = parts.mark(version, parts.now() + parts.config.tombstone_ttl)
            await self.commit([Change(name, mark, mode="mark") for name in missing])

    async def add(self, key: str, entry: Entry) -> bool:
        """Write where nothing fresh is known.

        Raises:
            CacheUnavailableError: Redis is configured and did not answer, so nobody knows.
        """
        marks = self._marks_of(entry)
        if self._parts.store is None:
            absent = not self._known_fresh(key)
        else:
            floor = await self._floor(key, entry.category)
            *_, reply = await self._sent([*marks, Change(key, entry, mode="add", floor=floor)])
            absent = reply.outcome == "written"
        if absent:
            for change in (*marks, Change(key, entry)):
                self._take(change)
        return absent

    async def add_number(self, key: str, delta: int, entry: Entry) -> int:
        """Add to an integer, or begin with `delta`; `entry` is what to begin with.

        Raises:
            CacheUnavailableError: Redis is configured and did not answer, so nobody knows.
            TypeError: What is stored is no integer.
            OverflowError: The sum is beyond 2**53.
        """
        total = await self._added(key, delta, entry)
        if total == "no integer":
            raise TypeError(f"incr: the value of {key!r:.200} is not an integer within 2**53")
        if total == "out of range":
            raise OverflowError(f"incr: the sum for {key!r:.200} is beyond 2**53")
        return total

    async def _added(self, key: str, delta: int, entry: Entry) -> int | Literal["no integer", "out of range"]:
        parts = self._parts
        if parts.store is None:
            return self._add_number_here(key, delta, entry)
        floor = await self._floor(key, entry.category)
        write = self._write(Change(key, dataclasses.replace(entry, body=b""), floor=floor))
        total = await parts.link.reach(parts.store.add_number, write, delta)
        parts.memory.forget(key)  # other processes count too, so the next read asks
        entry.counters.writes += isinstance(total, int)
        return total

    async def touch(self, key: str, ttl: float | None) -> bool:
        """Give a fresh entry a new life; False where there is none."""
        parts = self._parts
        held = (await self._reader.find(key)).entry
        if held is None or held.freshness(parts.now()) is Freshness.STALE:
            return False
        stored_at, confirm_at, fresh_until, stale_until = parts.life(parts.categories.category(held.category), ttl)
        renewed = dataclasses.replace(
            held, stored_at=stored_at, confirm_at=confirm_at, fresh_until=fresh_until, stale_until=stale_until
        )
        # The version stays: a touch is no newer value, and must not outlive what was invalidated meanwhile.
        known = None if parts.store is None else await self._touched(parts.store, key, renewed)
        if known is None:
            return parts.keep(key, renewed)
        parts.memory.forget(key)  # Redis may hold a newer value, whose life it was that was renewed
        return known

    async def _touched(self, store: RedisStore, key: str, renewed: Entry) -> bool | None:
        parts = self._parts
        moments = pack_moments(renewed.fresh_until + parts.ahead(), renewed.stale_until + parts.ahead())
        life = renewed.stale_until - parts.now()
        marks = [self._write(mark) for mark in self._marks_of(renewed)]
        try:
            if marks:
                await parts.link.reach(store.write, marks)
            return await parts.link.reach(store.touch, parts.keys.wire(key), renewed.version, moments, life)
        except CacheUnavailableError:
            return None

    def _marks_of(self, entry: Entry) -> list[Change]:
        """The marks without which an entry with tags would not count, living as long as it does."""
        if not entry.tags:
            return []
        mark = self._parts.mark(entry.version, entry.stale_until)
        return [Change(tag_mark(tag), mark, mode="mark") for tag in entry.tags]

    def _take(self, change: Change) -> None:
        """Make a change true in this process, and count it."""
        parts, entry = self._parts, change.entry
        if entry.kind is Kind.MARK:
            parts.invalidations += change.mode == "set"
            if change.mode == "set" or not parts.marks.knows(change.key):
                parts.marks.learn(change.key, entry.version, parts.now())
        elif entry.kind is Kind.TOMBSTONE:
            parts.deletes += 1
            parts.memory.put(change.key, entry, parts.now())
        else:
            entry.counters.writes += 1
            if not parts.marks.outdates(entry.category, entry.tags, entry.version):
                parts.keep(change.key, entry)

    async def _floor(self, key: str, category: str) -> bytes:
        """A version; what Redis holds of the key and is older does not count. Empty where nothing was invalidated."""
        parts = self._parts
        await self._reader.ask_for_marks(marks_of(category, ()))
        if not parts.marks.in_use:
            return b""
        floor = parts.versions.next()
        return b"" if (await self._reader.find(key)).entry is not None else floor

    def _add_number_here(self, key: str, delta: int, entry: Entry) -> int | Literal["no integer", "out of range"]:
        held = self._reader.find_here(key)
        if held.entry is not None and not held.stale:
            if held.entry.kind is not Kind.INTEGER:
                return "no integer"
            delta += int(held.entry.body)
            entry = dataclasses.replace(held.entry, version=entry.version)
        if abs(delta) > 2**53:
            return "out of range"
        self._take(Change(key, dataclasses.replace(entry, body=b"%d" % delta, value=delta)))
        return delta

    def _known_fresh(self, key: str) -> bool:
        held = self._reader.find_here(key)
        return held.entry is not None and not held.stale

    # Sending ----------------------------------------------------------------------------------------------------------
    async def _sent(self, changes: Sequence[Change]) -> list[Reply]:
        parts = self._parts
        assert parts.store is not None  # noqa: S101 - callers have looked
        replies = await parts.link.reach(parts.store.write, [self._write(change) for change in changes])
        for _ in range(_ATTEMPTS):
            late = [index for index, reply in enumerate(replies) if self._must_win(changes[index], reply)]
            if not late:
                break
            again = [self._restamped(changes[index]) for index in late]
            answers = await parts.link.reach(parts.store.write, [self._write(change) for change in again])
            for index, reply in zip(late, answers, strict=True):
                replies[index] = reply
        return replies

    def _must_win(self, change: Change, reply: Reply) -> bool:
        """Whether a write that was refused has to be repeated with a newer version."""
        parts = self._parts
        if change.mode == "mark":
            if reply.outcome != "written":
                parts.marks.learn(change.key, reply.version, parts.now())
            return False
        if reply.outcome != "refused":
            return False
        parts.versions.observe(reply.version)
        if change.loaded:
            if (held := parts.memory.get(change.key)) is not None and held.version == change.entry.version:
                parts.memory.forget(change.key)  # deleted or written elsewhere since the load began
            return False
        return not parts.versions.is_own(reply.version)

    def _restamped(self, change: Change) -> Change:
        parts = self._parts
        entry = dataclasses.replace(change.entry, version=parts.versions.next())
        if entry.kind is Kind.MARK:
            parts.marks.learn(change.key, entry.version, parts.now())
        elif change.mode != "add":
            parts.keep(change.key, entry)
        return dataclasses.replace(change, entry=entry)

    def _write(self, change: Change) -> Write:
        parts = self._parts
        data = pack(change.entry, parts.ahead(), parts.config.compression)
        life = change.entry.stale_until - parts.now()
        wire = parts.keys.wire(change.key)
        return Write(wire, data, life, parts.versions.ceiling(), change.mode, change.floor)


def check_delta(delta: int) -> None:
    """See that this can be added to a stored integer."""
    if not isinstance(delta, int) or isinstance(delta, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"delta is {delta!r:.200}; accepted are whole numbers")
    if abs(delta) > 2**53:
        raise OverflowError(f"delta is {delta!r:.200}; accepted are whole numbers up to 2**53")
