"""What happened, told to whoever listens: events are frozen values, a listener is any callable of one event."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, cast

from creatormate_resilience.exceptions._chain import describe

__all__ = ("Event", "Listener", "notify")

_log = logging.getLogger("creatormate_resilience.events")


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; each unit defines its own.

    Attributes:
        source: Name of the breaker, policy, cache, database or executor that speaks.
    """

    source: str


class Listener(Protocol):
    """Receives events. It runs in the caller's thread or task, outside all locks, and should return quickly."""

    def __call__(self, event: Event, /) -> None:
        """Take note of the event; what this raises is logged and goes no further."""
        ...


def notify(listeners: Iterable[Listener], event: Event) -> None:
    """Hand the event to every listener. A listener that raises is logged and cannot harm the caller or its peers.

    Args:
        listeners: Who is to be told, in this order.
        event: What happened.
    """
    for listener in listeners:
        try:
            # What a listener returns is nothing, unless somebody made it async: then it would silently never run.
            result = cast("Callable[[Event], object]", listener)(event)
            if inspect.iscoroutine(result):
                result.close()
                _log.error("a listener of %s must not be async: %r", event.source, listener)
        except Exception as error:  # noqa: BLE001 - whatever a listener raises must not reach the caller
            # A traceback would show its text, which may hold anything.
            _log.error("a listener raised on %s from %s: %s", type(event).__name__, event.source, describe(error))
