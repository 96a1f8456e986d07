"""The waiting tasks in the order they are to start: by priority, with waiting counted in their favour. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from creatormate_resilience.tasks._options import TaskPriority

__all__ = ("TaskQueue",)

T = TypeVar("T", bound=Hashable)
K = TypeVar("K", bound=Hashable)


class TaskQueue(Generic[K, T]):
    """Waiting items of several kinds; within one kind and priority, first in is first out.

    Args:
        kinds: All kinds there are.
        aging: Seconds of waiting that are worth one level of priority.

    An item's weight is its priority plus its time in the queue divided by `aging`. All weights grow at the same pace,
    so their order never changes: the greatest weight is the least `joined - priority * aging`, and no clock is needed
    to choose. A LOW item is overtaken by CRITICAL ones that come less than `3 * aging` seconds later, and by nothing
    that comes after.
    """

    __slots__ = ("_aging", "_lines", "_size")

    def __init__(self, kinds: Iterable[K], aging: float) -> None:
        self._aging = aging
        # An ordered dict is a deque from which an item can be taken out anywhere at constant cost.
        self._lines: dict[K, tuple[tuple[TaskPriority, OrderedDict[T, float]], ...]] = {
            kind: tuple((priority, OrderedDict[T, float]()) for priority in sorted(TaskPriority, reverse=True))
            for kind in kinds
        }
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, item: T, kind: K, priority: TaskPriority, now: float) -> None:
        """Let an item join.

        Args:
            item: It, once at a time.
            kind: Its kind.
            priority: Its priority.
            now: Seconds, not before those of any earlier call.
        """
        self._line(kind, priority)[item] = now
        self._size += 1

    def pop(self, kinds: Iterable[K]) -> T | None:
        """Take out the item that is next among these kinds; None when nothing of them waits."""
        best: tuple[float, OrderedDict[T, float]] | None = None
        for kind in kinds:
            for priority, line in self._lines[kind]:
                if line:
                    rank = next(iter(line.values())) - priority * self._aging
                    if best is None or rank < best[0]:
                        best = rank, line
        if best is None:
            return None
        self._size -= 1
        return best[1].popitem(last=False)[0]

    def remove(self, item: T, kind: K, priority: TaskPriority) -> None:
        """Take out an item that no longer wants to start; nothing happens when it is not here."""
        if self._line(kind, priority).pop(item, None) is not None:
            self._size -= 1

    def oldest(self) -> float | None:
        """When the item that waits longest joined; None when nothing waits."""
        heads = [next(iter(line.values())) for lines in self._lines.values() for _, line in lines if line]
        return min(heads, default=None)

    def _line(self, kind: K, priority: TaskPriority) -> OrderedDict[T, float]:
        return self._lines[kind][-1 - priority][1]
