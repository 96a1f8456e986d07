"""The time by which the current operation must be done, carried in a ContextVar so that inner policies can see it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType

from creatormate_resilience.clock import Clock, SystemClock

__all__ = (
    "DEADLINE_HEADER",
    "Deadline",
    "DeadlineScope",
    "current_deadline",
    "deadline_header",
    "deadline_scope",
    "receive_deadline",
    "remaining_time",
    "replace_deadline",
)

DEADLINE_HEADER = "X-Request-Timeout-Ms"
"""Carries the milliseconds left for a request to the service that answers it, where both ends opt in."""

_LONGEST_HEADER = 12
_LONGEST = 1e9
_SHORTEST = -sys.float_info.max
_deadline: ContextVar[Deadline | None] = ContextVar("creatormate_resilience_deadline", default=None)
_SYSTEM_CLOCK = SystemClock()


@dataclass(slots=True)  # not frozen: every call under a timeout makes one, and that would cost half a microsecond
class Deadline:
    """A moment on a clock. Its attributes are for reading.

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


class DeadlineScope:
    """A block with a deadline; made by `deadline_scope`. For one use."""

    __slots__ = ("_clock", "_keeper", "_received", "_seconds", "_token")

    def __init__(
        self,
        seconds: float,
        clock: Clock = _SYSTEM_CLOCK,
        *,
        received: bool = False,
        struck: Callable[[], bool] | None = None,
    ) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not _SHORTEST <= seconds <= _LONGEST:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"seconds is {seconds!r:.200}; accepted are finite seconds up to {_LONGEST:g}")
        self._seconds = seconds
        self._clock = clock
        self._received = received
        self._keeper = struck
        self._token: Token[Deadline | None] | None = None

    def __enter__(self) -> Deadline:
        self._check_unused()
        return self._begin(self._keeper)

    def _check_unused(self) -> None:
        if self._token is not None:
            raise RuntimeError(f"a {type(self).__name__} is for one block; make another")

    def _begin(self, struck: Callable[[], bool] | None) -> Deadline:
        outer = _deadline.get()
        if outer is not None and outer.remaining() <= self._seconds:
            deadline = outer
        else:
            deadline = Deadline(self._clock.monotonic() + self._seconds, self._clock, self._received, struck)
        self._token = _deadline.set(deadline)
        return deadline

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self._token is not None:
            try:
                _deadline.reset(self._token)
            except ValueError:  # left in another context, which never had this deadline: a fixture's, a dependency's
                return


def deadline_scope(
    seconds: float,
    *,
    clock: Clock = _SYSTEM_CLOCK,
    received: bool = False,
    struck: Callable[[], bool] | None = None,
) -> DeadlineScope:
    """Set a deadline for a block; an outer deadline that comes sooner stays in force.

    Used as `with deadline_scope(5): ...`. It only tells; it interrupts nothing. `policies.Timeout` is what interrupts.

    Args:
        seconds: From the block's beginning, in seconds.
        clock: The clock to stand on.
        received: True when the deadline came from a caller (see `Deadline`).
        struck: For what interrupts the block (see `Deadline`).

    Returns:
        A context manager for one block; it gives the deadline in force inside.

    Raises:
        ValueError: `seconds` is not a finite number, or more than 1e9.
    """
    return DeadlineScope(seconds, clock, received=received, struck=struck)


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


def deadline_header() -> tuple[str, str] | None:
    """The current deadline as a header for a request to a service that is trusted to keep it.

    Returns:
        Name and value: the milliseconds left, rounded down, 0 where none are. None where there is no deadline. A moment
        in time is never sent: two machines have two clocks.
    """
    left = remaining_time()
    return None if left is None else (DEADLINE_HEADER, str(max(0, int(left * 1000))))


def receive_deadline(
    value: str | None, *, limit: float, clock: Clock = _SYSTEM_CLOCK
) -> AbstractContextManager[Deadline | None]:
    """Take over the deadline of a caller for a block.

    Used as `with receive_deadline(headers.get(DEADLINE_HEADER), limit=30): ...`. A caller can only ask for less time
    than `limit`. Its deadline is marked as received, so that running out of it is not held against what this service
    calls. Like every deadline it only tells; `policies.Timeout` interrupts.

    Args:
        value: Of the header, as it came, or None. What is no number of milliseconds counts as None.
        limit: Longest time that is given to a caller who names one, in seconds.
        clock: The clock to stand on.

    Returns:
        A context manager for one block. Without a value there is no new deadline in it.

    Raises:
        ValueError: `limit` is no finite number above 0, or more than 1e9.
        TypeError: `value` is no text.
    """
    if not isinstance(value, str | None):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"value is {value!r:.200}; accepted is the header's text, or None")
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit <= _LONGEST:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"limit is {limit!r:.200}; accepted are finite seconds above 0 to {_LONGEST:g}")
    if value is None or not 0 < len(value) <= _LONGEST_HEADER or not (value.isascii() and value.isdigit()):
        return nullcontext(_deadline.get())
    return deadline_scope(min(int(value) / 1000, limit), clock=clock, received=True)
