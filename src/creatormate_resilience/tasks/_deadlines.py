"""Deadlines of many runs on few timers of the event loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ("Deadlines",)

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls back for each item whose time is over.

    Items with the same timeout run out in the order in which they came, so that one timer for each timeout in use is
    enough, and adding and taking out an item costs no more than a dict does.

    Args:
        on_deadline: Called with each item whose time is over; it is taken out before.
    """

    __slots__ = ("_lines", "_on_deadline")

    def __init__(self, on_deadline: Callable[[T], None]) -> None:
        self._on_deadline = on_deadline
        self._lines: dict[float, OrderedDict[T, float]] = {}

    def add(self, item: T, timeout: float, now: float, loop: asyncio.AbstractEventLoop) -> float:
        """Start an item's time.

        Args:
            item: It.
            timeout: In seconds.
            now: Seconds of the event loop's clock.
            loop: The event loop.

        Returns:
            Its deadline, on that clock.
        """
        deadline = now + timeout
        line = self._lines.get(timeout)
        if line is None:
            line = self._lines[timeout] = OrderedDict()
            loop.call_at(deadline, self._strike, timeout, loop)
        line[item] = deadline
        return deadline

    def remove(self, item: T, timeout: float) -> None:
        """Stop an item's time; nothing happens where it is over."""
        line = self._lines.get(timeout)
        if line is not None:
            line.pop(item, None)

    def _strike(self, timeout: float, loop: asyncio.AbstractEventLoop) -> None:
        line, now = self._lines[timeout], loop.time() + loop_resolution(loop)
        while line:
            item, deadline = next(iter(line.items()))
            if deadline > now:
                loop.call_at(deadline, self._strike, timeout, loop)
                return
            del line[item]
            self._on_deadline(item)
        del self._lines[timeout]


def loop_resolution(loop: asyncio.AbstractEventLoop) -> float:
    """How much too early the loop's timers may strike: asyncio by its clock's tick, uvloop by a millisecond."""
    return getattr(loop, "_clock_resolution", 1e-3)
