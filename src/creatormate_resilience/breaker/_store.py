"""Sharing verdicts: breakers of one name open and close together, although each counts for itself."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import Protocol

from creatormate_resilience.breaker._machine import BreakerState
from creatormate_resilience.clock import Clock, SystemClock

__all__ = ("BreakerStore", "InProcessStore", "Subscriber", "Verdict")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a breaker has decided by itself, for the others of its name.

    Attributes:
        name: Of the breaker.
        state: OPEN or CLOSED.
        wait: Seconds that it stays open from now on; 0 for CLOSED.
    """

    name: str
    state: BreakerState
    wait: float = 0.0


class Subscriber(Protocol):
    """A breaker, as a store sees it."""

    name: str

    def adopt(self, verdict: Verdict) -> None:
        """Follow another breaker's verdict."""
        ...


class BreakerStore(Protocol):
    """Carries verdicts, not calls: a breaker asks nobody before it lets a call through."""

    def subscribe(self, subscriber: Subscriber) -> Verdict | None:
        """Take in a breaker, which is not kept alive by that.

        Returns:
            The verdict in force, with what is left of its time; None where there is none.
        """
        ...

    def publish(self, verdict: Verdict, sender: Subscriber) -> None:
        """Tell all other breakers of that name. It never raises and does not wait."""
        ...


class InProcessStore:
    """Verdicts within one process: for several event loops, or several registries, that call the same dependency.

    Args:
        clock: Where durations come from.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._subscribers: dict[str, weakref.WeakSet[Subscriber]] = {}
        self._open_until: dict[str, float] = {}

    def subscribe(self, subscriber: Subscriber) -> Verdict | None:
        """Take in a breaker; it learns at once whether the circuit is open."""
        with self._lock:
            self._subscribers.setdefault(subscriber.name, weakref.WeakSet()).add(subscriber)
            left = self._open_until.get(subscriber.name, 0.0) - self._clock.monotonic()
        return Verdict(subscriber.name, BreakerState.OPEN, left) if left > 0 else None

    def publish(self, verdict: Verdict, sender: Subscriber) -> None:
        """Tell all other breakers of that name, in the caller's thread, outside of all locks."""
        with self._lock:
            if verdict.state is BreakerState.OPEN:
                self._open_until[verdict.name] = self._clock.monotonic() + verdict.wait
            else:
                self._open_until.pop(verdict.name, None)
            others = [each for each in self._subscribers.get(verdict.name, ()) if each is not sender]
        for other in others:
            other.adopt(verdict)

    def __repr__(self) -> str:
        return f"<InProcessStore of {len(self._subscribers)} names, {len(self._open_until)} with an open circuit>"
