"""The time by which the current operation must be done, carried in a ContextVar so that inner policies can see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from creatormate_resilience.clock import Clock, SystemClock

__all__ = ("Deadline", "current_deadline", "deadline_scope", "remaining_time", "replace_deadline")

_deadline: ContextVar[Deadline | None] = ContextVar("creatormate_resilience_deadline", default=None)
_SYSTEM_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on a clock.

    Attributes:
        at: The moment, in seconds of `clock.monotonic()`.
        clock: The clock it stands on.
        received: True when a caller set it for us. Running out of such a deadline says nothing about what we call.
        struck: Says whether what keeps this deadline has already interrupted the work. A loop's timer may strike a
            little before the moment: uvloop counts in milliseconds, and trio's clock may be a mock.
    """

    at: float
    clock: Clock
    received: bool = False
    struck: Callable[[], bool] | None = field(default=None, compare=False, repr=False)

    def remaining(self) -> float:
        """Seconds left; zero or less when it has passed."""
        return self.at - self.clock.monotonic()

    @property
    def expired(self) -> bool:
        """Whether the moment has come."""
        return self.remaining() <= 0 or (self.struck is not None and self.struck())


def current_deadline() -> Deadline | None:
    """The deadline of the current context, or None."""
    return _deadline.get()


def remaining_time() -> float | None:
    """Seconds until the current deadline (zero or less when it has passed), or None where there is none."""
    deadline = _deadline.get()
    return None if deadline is None else deadline.remaining()


def replace_deadline(deadline: Deadline | None) -> None:
    """Set the deadline of the current context for good, even to a later one or none.

    Args:
        deadline: For a context that was copied to run something of its own, such as a background task, which must not
            die with the request that submitted it.
    """
    _deadline.set(deadline)


@contextmanager
def deadline_scope(
    seconds: float,
    *,
    clock: Clock = _SYSTEM_CLOCK,
    received: bool = False,
    struck: Callable[[], bool] | None = None,
) -> Generator[Deadline]:
    """Set a deadline for the block. An outer deadline that comes sooner stays in force.

    It only tells; it interrupts nothing. `policies.Timeout` is what interrupts.

    Args:
        seconds: From now, in seconds.
        clock: The clock to stand on.
        received: True when the deadline came from a caller (see `Deadline`).
        struck: For what interrupts the block (see `Deadline`).

    Yields:
        The deadline in force inside the block.

    Raises:
        ValueError: `seconds` is not a finite number.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not -math.inf < seconds < math.inf:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"seconds is {seconds!r}; accepted are finite seconds")
    outer = _deadline.get()
    deadline = Deadline(clock.monotonic() + seconds, clock, received, struck)
    if outer is not None and outer.remaining() <= seconds:
        deadline = outer
    token = _deadline.set(deadline)
    try:
        yield deadline
    finally:
        _deadline.reset(token)
