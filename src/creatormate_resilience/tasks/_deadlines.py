"""Deadlines of many runs on few timers of the event loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextvars import Context
from typing import Generic, TypeVar

__all__ = ("Deadlines",)

T = TypeVar("T")
_SPARE_LINES = 64


class Deadlines(Generic[T]):
    """Calls back for each item whose time is over.

    Items with the same timeout run out in the order in which they came, so that one timer for each timeout in use is
    enough, and adding and taking out an item costs no more than a dict does.

    Args:
        on_deadline: Called with each item whose time is over; it is taken out before.
    """

    __slots__ = ("_clear_at", "_lines", "_on_deadline", "_timers")

    def __init__(self, on_deadline: Callable[[T], None]) -> None:
        self._on_deadline = on_deadline
        self._lines: dict[float, OrderedDict[T, float]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}
        self._clear_at = _SPARE_LINES

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
            if len(self._lines) >= self._clear_at:
                self._clear()
            line = self._lines[timeout] = OrderedDict()
            self._set(timeout, deadline, loop)
        line[item] = deadline
        return deadline

    def remove(self, item: T, timeout: float) -> None:
        """Stop an item's time; nothing happens where it is over."""
        line = self._lines.get(timeout)
        if line is not None:
            line.pop(item, None)

    def _clear(self) -> None:
        """Forget timeouts no item has any more; who gives each task its own would leave a timer for each."""
        for timeout, timer in list(self._timers.items()):
            if not self._lines[timeout]:
                timer.cancel()
                del self._lines[timeout], self._timers[timeout]
        self._clear_at = max(2 * len(self._lines), _SPARE_LINES)

    def _set(self, timeout: float, deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        # In an empty context: it is for all items, and must not show one item's context variables to the others.
        self._timers[timeout] = loop.call_at(deadline, self._strike, timeout, loop, context=Context())

    def _strike(self, timeout: float, loop: asyncio.AbstractEventLoop) -> None:
        del self._timers[timeout]
        line, now = self._lines[timeout], loop.time() + loop_resolution(loop)
        while line:
            item, deadline = next(iter(line.items()))
            if deadline > now:
                self._set(timeout, deadline, loop)
                return
            del line[item]
            self._on_deadline(item)
        del self._lines[timeout]


def loop_resolution(loop: asyncio.AbstractEventLoop) -> float:
    """How much too early the loop's timers may strike: asyncio by its clock's tick, uvloop by a millisecond."""
    return getattr(loop, "_clock_resolution", 1e-3)
