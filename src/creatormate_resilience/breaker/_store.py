"""Sharing verdicts: breakers of one name open and close together, although each counts for itself."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import Protocol, cast

from creatormate_resilience.breaker._machine import BreakerState
from creatormate_resilience.clock import Clock, SystemClock
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.exceptions._chain import describe
from creatormate_resilience.log import get_logger
from creatormate_resilience.options import check_number, check_text

__all__ = ("BreakerStore", "InProcessStore", "Sharing", "Subscriber", "Verdict")

_log = get_logger("breaker")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a breaker has decided by itself, for the others of its name.

    Attributes:
        name: Of the breaker.
        state: OPEN or CLOSED.
        wait: Seconds that it stays open from now on; 0 for CLOSED.

    Raises:
        ConfigurationError: A value is not accepted.
    """

    name: str
    state: BreakerState
    wait: float = 0.0

    def __post_init__(self) -> None:
        check_text("name", self.name)
        if self.state not in (BreakerState.OPEN, BreakerState.CLOSED):
            raise ConfigurationError(
                f"state is {self.state!r}; accepted are {BreakerState.OPEN} and {BreakerState.CLOSED}"
            )
        object.__setattr__(self, "state", BreakerState(self.state))  # a store may have read it as text
        check_number("wait", self.wait, "seconds", above_zero=False)


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
        """Tell all other breakers of that name. It does not wait; what it raises is logged and harms no call."""
        ...


class Sharing:
    """One breaker's way to its store, from which no trouble of the store gets to a caller.

    Each kind of trouble is logged once, until the store has worked again.
    """

    def __init__(self, store: BreakerStore) -> None:
        self._store = store
        self._told: frozenset[tuple[str, type]] = frozenset()

    def subscribe(self, subscriber: Subscriber) -> Verdict | None:
        """Take part; the verdict in force, or None where there is none, or no store to be heard."""
        try:
            verdict = cast("object", self._store.subscribe(subscriber))  # it may not keep its promise
        except Exception as error:  # noqa: BLE001 - logged; a store's trouble must not reach the caller
            self._tell("subscribe", subscriber, error)
            return None
        if verdict is None or isinstance(verdict, Verdict):
            return verdict
        self._tell("subscribe", subscriber, TypeError(f"gave {verdict!r:.200} instead of a Verdict, or None"))
        return None

    def publish(self, verdict: Verdict, sender: Subscriber) -> None:
        """Tell the others, where that works."""
        try:
            self._store.publish(verdict, sender)
        except Exception as error:  # noqa: BLE001 - logged; a store's trouble must not reach the caller
            self._tell("publish", sender, error)
        else:
            self._told = frozenset()

    def _tell(self, action: str, subscriber: Subscriber, error: Exception) -> None:
        kind = (action, type(error))
        if kind not in self._told:
            self._told |= {kind}
            _log.error(
                "the store raised; the breaker goes on alone",
                breaker=subscriber.name, store=type(self._store).__name__, action=action, error=describe(error),
            )  # fmt: skip


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
