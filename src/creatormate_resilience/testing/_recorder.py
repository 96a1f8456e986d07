"""A listener that remembers, and the assertion on what a circuit went through."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from itertools import zip_longest
from typing import TypeVar

from creatormate_resilience.breaker import BreakerState, BreakerStateChanged
from creatormate_resilience.events import Event

__all__ = ("Recorder", "assert_transitions")

E = TypeVar("E", bound=Event)

_MOST = 1_000_000_000


class Recorder:
    """A listener that keeps the latest events: `CircuitBreaker("shop", listeners=[recorder])`.

    Args:
        max_events: How many are kept; older ones go first and are counted in `dropped`.

    Raises:
        ValueError: `max_events` is not a whole number from 1.
    """

    def __init__(self, max_events: int = 10_000) -> None:
        if isinstance(max_events, bool) or not isinstance(max_events, int) or not 1 <= max_events <= _MOST:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"max_events is {max_events!r:.200}; accepted are whole numbers from 1 to {_MOST:_}")
        self._events: deque[Event] = deque(maxlen=max_events)
        self._seen = 0
        self._lock = threading.Lock()

    def __call__(self, event: Event, /) -> None:
        """Keep the event."""
        with self._lock:
            self._events.append(event)
            self._seen += 1

    @property
    def events(self) -> tuple[Event, ...]:
        """What is kept, oldest first."""
        with self._lock:
            return tuple(self._events)

    @property
    def dropped(self) -> int:
        """How many events were too old to be kept."""
        with self._lock:
            return self._seen - len(self._events)

    def of(self, kind: type[E], *, source: str | None = None) -> tuple[E, ...]:
        """The events of a type.

        Args:
            kind: Their type.
            source: Name of who spoke; None for everybody.

        Returns:
            Those that are kept, oldest first.
        """
        return tuple(each for each in self.events if isinstance(each, kind) and source in {None, each.source})

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._events.clear()
            self._seen = 0

    def __repr__(self) -> str:
        return f"<Recorder: {len(self.events)} events, {self.dropped} dropped>"


def assert_transitions(recorder: Recorder, states: Iterable[BreakerState | str], *, source: str | None = None) -> None:
    """Assert which states a circuit entered, one after the other.

    Args:
        recorder: A listener of the breaker since it was made, or since `clear`.
        states: What it entered. The state it began in was not entered.
        source: The breaker's name; may be left out where the recorder heard of one breaker only.

    Raises:
        AssertionError: It went through others; the message shows both, and where they part.
        TypeError: `recorder` is none (a breaker itself keeps no history), or `states` is a single one.
        ValueError: There is no such state, or it is not clear which breaker is meant.
    """
    if not isinstance(recorder, Recorder):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"recorder is {recorder!r}; accepted is a Recorder, given to the breaker as `listeners=[recorder]`"
        )
    if isinstance(states, str):
        raise TypeError(f"states is {states!r}; accepted is a list of states")
    expected = [BreakerState(state) for state in states]
    changes = recorder.of(BreakerStateChanged, source=source)
    names = sorted({change.source for change in changes})
    if len(names) > 1:
        raise ValueError(f"the recorder heard of {', '.join(map(repr, names))}; say with `source` which is meant")
    if recorder.dropped:
        raise AssertionError(f"{recorder!r} has forgotten how it began; give it a larger max_events, or clear it")
    # Threads may announce in another order than they decided in; the numbers tell.
    seen = sorted(changes, key=lambda change: change.number)
    if [change.new for change in seen] != expected:
        raise AssertionError(_difference(source or "".join(names) or "?", expected, seen))


def _difference(name: str, expected: list[BreakerState], seen: list[BreakerStateChanged]) -> str:
    rows = [f"circuit {name!r} did not go through the states expected", "  expected      seen"]
    for wanted, change in zip_longest(expected, seen):
        got = "-" if change is None else str(change.new)
        mark = " " if change is not None and change.new is wanted else "!"
        why = f"   (last failure: {change.last_failure})" if change is not None and change.last_failure else ""
        rows.append(f"{mark} {wanted or '-'!s:<13} {got}{why}")
    return "\n".join(rows)
