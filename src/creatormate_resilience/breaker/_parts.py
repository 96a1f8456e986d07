"""What a breaker is given besides its configuration, checked when it is given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from creatormate_resilience.breaker._machine import BreakerState
from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("as_state", "check_parts")


def check_parts(clock: object, listeners: object, store: object) -> None:
    """See that what a breaker is given can do what it is for.

    Raises:
        ConfigurationError: It cannot; the message names the parameter.
    """
    if clock is not None and not callable(getattr(clock, "monotonic", None)):
        raise ConfigurationError(f"clock is {clock!r:.200}; accepted is a Clock, or None")
    if not isinstance(listeners, Iterable) or not all(map(callable, cast("Iterable[object]", listeners))):
        raise ConfigurationError(f"listeners is {listeners!r:.200}; accepted are functions of an event")
    if store is not None and not callable(getattr(store, "subscribe", None)):
        raise ConfigurationError(f"store is {store!r:.200}; accepted is a BreakerStore, or None")


def as_state(state: BreakerState) -> BreakerState:
    """The state, where it is one.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        return BreakerState(state)
    except ValueError:
        accepted = ", ".join(BreakerState)
        raise ConfigurationError(f"initial_state is {state!r}; accepted are {accepted}") from None
