"""The waiting tasks in the order they are to start: by priority, in turns between keys, with waiting counted. Pure."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from creatormate_resilience.tasks._options import TaskPriority

__all__ = ("TaskQueue",)

T = TypeVar("T", bound=Hashable)
K = TypeVar("K", bound=Hashable)
_SPARE_HEADS = 64


class TaskQueue(Generic[K, T]):
    """Waiting items of several kinds. Within a kind and priority keys take turns; within a key, first in, first out.

    Args:
        kinds: All kinds there are.
        aging: Seconds of waiting that are worth one level of priority.

    An item's weight is its priority plus its time in the queue divided by `aging`. All weights grow at the same pace,
    so their order never changes: the greatest weight is the least `joined - priority * aging`, and no clock is needed
    to choose. A LOW item is overtaken by CRITICAL ones that come less than `3 * aging` seconds later, and by nothing
    that comes after. An item whose age lets it pass a higher priority does so whoever's turn it is, and nobody's turn
    lets an item pass a lower priority, or another kind, that its own weight does not.
    """

    __slots__ = ("_aging", "_held", "_lines", "_ready", "_ready_kinds", "size")

    def __init__(self, kinds: Iterable[K], aging: float) -> None:
        self._aging = aging
        self._lines: dict[K, tuple[_Line[T], ...]] = {
            kind: tuple(_Line[T](priority) for priority in sorted(TaskPriority, reverse=True)) for kind in kinds
        }
        self._ready: list[_Line[T]] | None = None
        """Lines with items that may start, of the kinds that were asked for last; None where it has to be looked up."""
        self._ready_kinds: Iterable[K] = ()
        self.size = 0
        """How many items wait."""
        self._held: set[str | None] = set()

    def push(self, item: T, kind: K, priority: TaskPriority, now: float, key: str | None = None) -> None:
        """Let an item join.

        Args:
            item: It, once at a time.
            kind: Its kind.
            priority: Its priority.
            now: Seconds, not before those of any earlier call.
            key: Whose it is; those of nobody share one turn.
        """
        line = self._lines[kind][-1 - priority]
        if not line.turns:
            self._ready = None
        line.push(item, now, key, held=key in self._held)
        self.size += 1

    def pop(self, kinds: Iterable[K]) -> T | None:
        """Take out the item that is next among these kinds; None when nothing of them may start."""
        lines = self._ready
        if lines is None or kinds is not self._ready_kinds:
            lines = self._ready = [line for kind in kinds for line in self._lines[kind] if line.turns]
            self._ready_kinds = kinds
        if not lines:
            return None
        line = lines[0] if len(lines) == 1 else min(lines, key=self._rank)
        item = line.pop(aged=len(lines) > 1 and self._passes(line, lines))
        if not line.turns:
            self._ready = None
        self.size -= 1
        return item

    def remove(self, item: T, kind: K, priority: TaskPriority, key: str | None = None) -> None:
        """Take out an item that no longer wants to start; nothing happens when it is not here."""
        if self._lines[kind][-1 - priority].remove(item, key):
            self._ready = None
            self.size -= 1

    def hold(self, key: str) -> None:
        """Let no item of this key start until it is released."""
        self._held.add(key)
        self._ready = None
        for lines in self._lines.values():
            for line in lines:
                line.hold(key)

    def release(self, key: str) -> None:
        """Let items of this key start again; nothing happens when it is not held."""
        if key in self._held:
            self._held.remove(key)
            self._ready = None
            for lines in self._lines.values():
                for line in lines:
                    line.release(key)

    def is_held(self, key: str) -> bool:
        """Whether it is held."""
        return key in self._held

    def oldest(self) -> float | None:
        """When the item that waits longest joined; None when nothing waits."""
        heads = [joined for lines in self._lines.values() for line in lines for joined, _ in line.heads_of_all()]
        return min(heads, default=None)

    def lowest(self) -> T | None:
        """The item that has waited longest among those of the lowest priority; None when nothing waits."""
        for level in reversed(range(len(TaskPriority))):
            heads = [head for lines in self._lines.values() for head in lines[level].heads_of_all()]
            if heads:
                return min(heads, key=lambda head: head[0])[1]
        return None

    def count_below(self, priority: TaskPriority) -> int:
        """How many items of lower priorities wait."""
        return sum(len(line) for lines in self._lines.values() for line in lines if line.priority < priority)

    def _rank(self, line: _Line[T]) -> float:
        return line.oldest() - line.priority * self._aging

    def _passes(self, line: _Line[T], lines: Iterable[_Line[T]]) -> bool:
        """Whether the oldest item of a line is to start, although it may be another key's turn.

        It is where it passes a higher priority, and where the one whose turn it is has not waited long enough to start
        before the other lines.
        """
        turn = line.next_turn() - line.priority * self._aging
        return any(line.priority < other.priority or self._rank(other) < turn for other in lines if other is not line)


class _Line(Generic[T]):
    """Items of one kind and priority."""

    __slots__ = ("_heads", "_held", "_pushed", "priority", "turns")

    def __init__(self, priority: TaskPriority) -> None:
        self.priority = priority
        # An ordered dict is a deque from which an item can be taken out anywhere at constant cost.
        self.turns: OrderedDict[str | None, OrderedDict[T, float]] = OrderedDict()
        """The items of each key that is not held; the key whose turn it is comes first."""
        self._held: dict[str | None, OrderedDict[T, float]] = {}
        # First items of the keys by age, kept where there are several keys. Entries of what was taken out since are
        # older than what followed, so that they come up first and are thrown away then.
        self._heads: list[tuple[float, int, str | None]] = []
        self._pushed = 0

    def __len__(self) -> int:
        return sum(len(items) for of_keys in (self.turns, self._held) for items in of_keys.values())

    def push(self, item: T, now: float, key: str | None, *, held: bool) -> None:
        of_keys = self._held if held else self.turns
        items = of_keys.get(key)
        if items is None:
            of_keys[key] = OrderedDict({item: now})
            if not held:
                self._turn_added(key, now)
        else:
            items[item] = now

    def pop(self, *, aged: bool) -> T:
        key = self._eldest() if aged else next(iter(self.turns))
        items = self.turns[key]
        item = items.popitem(last=False)[0]
        self._after_head(key, items)
        if items and len(self.turns) > 1:
            self.turns.move_to_end(key)
        return item

    def remove(self, item: T, key: str | None) -> bool:
        items = self.turns.get(key)
        if items is None or item not in items:
            held = self._held.get(key)
            if held is None or held.pop(item, None) is None:
                return False
            if not held:
                del self._held[key]
            return True
        was_head = next(iter(items)) == item
        del items[item]
        if was_head:
            self._after_head(key, items)
        return True

    def hold(self, key: str) -> None:
        items = self.turns.pop(key, None)
        if items is not None:
            self._held[key] = items

    def release(self, key: str) -> None:
        items = self._held.pop(key, None)
        if items is not None:
            self.turns[key] = items
            self._turn_added(key, next(iter(items.values())))

    def oldest(self) -> float:
        """When the oldest of those that may start joined. Only where there is one."""
        return next(iter(self.turns[self._eldest()].values()))

    def next_turn(self) -> float:
        """When the item whose turn it is joined. Only where there is one."""
        return next(iter(next(iter(self.turns.values())).values()))

    def heads_of_all(self) -> Iterable[tuple[float, T]]:
        """The first item of each key, held or not, with when it joined."""
        for of_keys in (self.turns, self._held):
            for items in of_keys.values():
                item, joined = next(iter(items.items()))
                yield joined, item

    def _after_head(self, key: str | None, items: OrderedDict[T, float]) -> None:
        if not items:
            del self.turns[key]
        elif len(self.turns) > 1:
            self._note(key, next(iter(items.values())))

    def _turn_added(self, key: str | None, joined: float) -> None:
        if len(self.turns) == 2:  # from here on heads are kept
            self._note_all()
        elif len(self.turns) > 2:
            self._note(key, joined)

    def _note(self, key: str | None, joined: float) -> None:
        if len(self._heads) > 2 * len(self.turns) + _SPARE_HEADS:  # nobody has asked for the eldest for long
            self._note_all()
        else:
            self._pushed += 1
            heapq.heappush(self._heads, (joined, self._pushed, key))

    def _note_all(self) -> None:
        self._heads = [(next(iter(items.values())), n, key) for n, (key, items) in enumerate(self.turns.items())]
        self._pushed = len(self._heads)
        heapq.heapify(self._heads)

    def _eldest(self) -> str | None:
        """The key of the oldest item that may start."""
        if len(self.turns) == 1:
            return next(iter(self.turns))
        while True:
            joined, _, key = self._heads[0]
            items = self.turns.get(key)
            if items is not None and next(iter(items.values())) == joined:
                return key
            heapq.heappop(self._heads)
