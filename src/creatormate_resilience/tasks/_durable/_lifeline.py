"""A worker's signs of life, from a thread of its own, so that code that blocks the event loop does not silence them."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import Protocol

from creatormate_resilience.log import get_logger

__all__ = ("Beating", "Lifeline", "Vitals")

_log = get_logger("tasks")
_TICK = 0.5
_LONGEST_JOIN = 5.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a worker is.

    Attributes:
        frozen: Seconds that its event loop has given no answer.
        silent: Seconds since its last sign of life that the database took; None before the first.
    """

    frozen: float
    silent: float | None


class Beating(Protocol):
    """Where signs of life go to; used in one thread."""

    def beat(self, worker: int) -> None:
        """Write one down. It may raise: then it is tried again."""
        ...

    def close(self) -> None:
        """The last one was written."""
        ...


class Lifeline:
    """Writes signs of life down while the event loop answers, and stops when it has not for too long.

    Then the lease runs out and others run its tasks. Whoever is frozen for good must not keep them.

    Args:
        name: Of the thread.
        pulse: Writes one down.
        interval: Seconds between two.
        max_freeze: Longest time that the event loop may stand still, in seconds.
    """

    def __init__(self, name: str, pulse: Beating, interval: float, max_freeze: float) -> None:
        self._name = f"{name}-lifeline"
        self._pulse = pulse
        self._interval = interval
        self._max_freeze = max_freeze
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._asked = self._answered = 0.0
        self._told = False
        self._last: float | None = None
        self._steady_since: float | None = None

    def start(self, loop: asyncio.AbstractEventLoop, worker: int) -> None:
        """Begin, for the worker of this number on the event loop that runs here."""
        self._thread = threading.Thread(target=self._live, args=(loop, worker), name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give no more."""
        self._stopped.set()

    def join(self) -> None:
        """Wait until the last one was given and its connection closed; blocks for some seconds at most."""
        if self._thread is not None:
            self._thread.join(_LONGEST_JOIN)

    def vitals(self) -> Vitals:
        """How the worker is; from any thread."""
        now = time.monotonic()
        lag = self._lag(now)
        return Vitals(0.0 if lag < 2 * _TICK else lag, None if self._last is None else now - self._last)

    def steady(self) -> float:
        """Seconds for which no sign of life was missed; 0 where one is missing now. From any thread."""
        now, since = time.monotonic(), self._steady_since
        return 0.0 if since is None or self._missed(now) else now - since

    def _live(self, loop: asyncio.AbstractEventLoop, worker: int) -> None:
        due = time.monotonic()
        try:
            while not self._stopped.is_set():
                now = time.monotonic()
                if self._answered >= self._asked:
                    self._asked = now
                    loop.call_soon_threadsafe(self._answer)
                if now >= due and self._may_beat(now) and self._try(worker):
                    due = now + self._interval
                self._stopped.wait(min(_TICK, self._interval))
        except RuntimeError:  # the loop was closed before us
            return
        finally:
            self._pulse.close()

    def _answer(self) -> None:
        self._answered = time.monotonic()

    def _lag(self, now: float) -> float:
        """Seconds that the event loop owes an answer; 0 where it owes none, also while this thread itself waits."""
        return 0.0 if self._answered >= self._asked else now - self._asked

    def _may_beat(self, now: float) -> bool:
        frozen = self._lag(now)
        if frozen <= self._max_freeze:
            self._told = False
            return True
        self._steady_since = None
        if not self._told:
            self._told = True
            _log.error("the event loop of a worker is frozen; its tasks go to others", seconds=round(frozen, 1))
        return False

    def _try(self, worker: int) -> bool:
        try:
            self._pulse.beat(worker)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one may be taken
            self._steady_since = None
            _log.warning("a worker's sign of life was not taken", exc_info=error)
            return False
        taken = time.monotonic()  # it may have waited for the database for long
        if self._steady_since is None or self._missed(taken):
            self._steady_since = taken
        self._last = taken
        return True

    def _missed(self, now: float) -> bool:
        return self._last is None or now - self._last > 2 * self._interval
