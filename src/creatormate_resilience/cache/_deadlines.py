"""Many deadlines of one duration with one timer: a timer of its own would cost a quick call a tenth of its time."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ("Deadlines", "Watched")


class Watched:
    """Something that must end in time.

    Attributes:
        at: Its deadline, by the clock of the event loop.
        over: It has ended.
    """

    __slots__ = ("at", "over")

    def __init__(self) -> None:
        self.at = 0.0
        self.over = False

    def expire(self) -> None:
        """End it: the deadline has passed."""
        raise NotImplementedError


class Deadlines:
    """Ends what is not over in time. Belongs to one event loop.

    All have the same time, so who came first is due first. What is over stays here only while something older is not.

    Args:
        seconds: How long each has.
    """

    __slots__ = ("_due", "_timer", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._due: deque[Watched] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, watched: Watched) -> None:
        """Give it its time, from now on."""
        loop = asyncio.get_running_loop()
        watched.at = loop.time() + self.seconds
        self._due.append(watched)
        if self._timer is None:
            self._timer = loop.call_at(watched.at, self._expire)

    def forget(self) -> None:
        """Let go of what is over."""
        while self._due and self._due[0].over:
            self._due.popleft()

    def close(self) -> None:
        """Stop watching."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __len__(self) -> int:
        return len(self._due)

    def _expire(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._due and (self._due[0].over or self._due[0].at <= now):
            watched = self._due.popleft()
            if not watched.over:
                watched.expire()
        if self._due:
            self._timer = loop.call_at(self._due[0].at, self._expire)
