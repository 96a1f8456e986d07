"""The time by which the current operation must be done, carried in a ContextVar so that inner policies can see it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from creatormate_resilience.clock import Clock, SystemClock

__all__ = ("Deadline", "current_deadline", "deadline_scope", "remaining_time")

_deadline: ContextVar[Deadline | None] = ContextVar("creatormate_resilience_deadline", default=None)
_SYSTEM_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on a clock.

    Attributes:
        at: The moment, in seconds of `clock.monotonic()`.
        clock: The clock it stands on.
        received: True when a caller set it for us. Running out of such a deadline says nothing about what we call.
    """

    at: float
    clock: Clock
    received: bool = False

    def remaining(self) -> float:
        """Seconds left; zero or less when it has passed."""
        return self.at - self.clock.monotonic()

    @property
    def expired(self) -> bool:
        """Whether the moment has come."""
        return self.remaining() <= 0


def current_deadline() -> Deadline | None:
    """The deadline of the current context, or None."""
    return _deadline.get()


def remaining_time() -> float | None:
    """Seconds until the current deadline (zero or less when it has passed), or None where there is none."""
    deadline = _deadline.get()
    return None if deadline is None else deadline.remaining()


@contextmanager
def deadline_scope(seconds: float, *, clock: Clock = _SYSTEM_CLOCK, received: bool = False) -> Generator[Deadline]:
    """Set a deadline for the block. An outer deadline that comes sooner stays in force.

    It only tells; it interrupts nothing. `policies.Timeout` is what interrupts.

    Args:
        seconds: From now, in seconds.
        clock: The clock to stand on.
        received: True when the deadline came from a caller (see `Deadline`).

    Yields:
        The deadline in force inside the block.
    """
    outer = _deadline.get()
    deadline = Deadline(clock.monotonic() + seconds, clock, received)
    if outer is not None and outer.remaining() <= seconds:
        deadline = outer
    token = _deadline.set(deadline)
    try:
        yield deadline
    finally:
        _deadline.reset(token)
