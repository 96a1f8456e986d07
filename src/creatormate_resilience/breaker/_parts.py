"""What a breaker is given besides its configuration, checked when it is given."""

from __future__ import annotations

import sys
from typing import Any

from creatormate_resilience.breaker._machine import BreakerState
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.policy import is_async

__all__ = ("as_state", "check_retry_after", "check_store")

_WANTED = ("subscribe", "publish")


def check_store(store: object) -> None:
    """See that verdicts can be shared through it.

    Raises:
        ConfigurationError: They cannot.
    """
    if store is None:
        return
    methods = [getattr(store, name, None) for name in _WANTED]
    if isinstance(store, type) or not all(map(callable, methods)):
        wanted = " and ".join(_WANTED)
        raise ConfigurationError(f"store is {store!r:.200}; accepted is a BreakerStore, which has {wanted}, or None")
    if any(map(is_async, methods)):
        raise ConfigurationError(f"store is {store!r:.200}, whose methods are async and would not be awaited")


def check_retry_after(retry_after: Any) -> None:
    """See that it is a time to be open for, or None.

    Raises:
        ValueError: It is neither.
    """
    if retry_after is None:
        return
    number = isinstance(retry_after, int | float) and not isinstance(retry_after, bool)
    if not number or not 0 < retry_after <= sys.float_info.max:
        raise ValueError(f"retry_after is {retry_after!r:.200}; accepted are finite seconds above 0")


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
