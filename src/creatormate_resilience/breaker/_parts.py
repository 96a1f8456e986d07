"""What a breaker is given besides its configuration, checked when it is given."""

from __future__ import annotations

from creatormate_resilience.breaker._machine import BreakerState
from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("as_state", "check_store")


def check_store(store: object) -> None:
    """See that verdicts can be shared through it.

    Raises:
        ConfigurationError: They cannot.
    """
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
