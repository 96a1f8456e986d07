"""Statements that took long, told to listeners: what ran, for how long, from where; never with what values."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias, cast

from creatormate_resilience.events import Event

__all__ = ("Nulls", "QueryExplained", "RateLimit", "SlowQuery", "nulls_for", "shape_of")

Nulls: TypeAlias = tuple[None, ...] | dict[str, None]
"""Parameters of a statement without their values: by position, or by name."""

_SHOWN = 20
"""Parameters whose shape is shown."""


@dataclass(frozen=True, slots=True)
class SlowQuery(Event):
    """A statement took longer than `slow_query_threshold`.

    Attributes:
        fingerprint: The statement without literals.
        seconds: How long it took.
        rows: Rows returned or changed, as far as the driver told.
        parameters_shape: Types and lengths of the parameters, such as `("int", "str[12]")`; never their values.
        error: The type of what it raised, `CancelledError` where it was cancelled; None where it came to its end.
        where: The innermost frames of the application, outermost first, as `function (file:line)`.
        suppressed: Slow runs of the same statement since its last event, that were not told.
    """

    fingerprint: str
    seconds: float
    rows: int
    parameters_shape: tuple[str, ...]
    error: str | None
    where: tuple[str, ...]
    suppressed: int


@dataclass(frozen=True, slots=True)
class QueryExplained(Event):
    """The plan of a statement that was slow.

    Attributes:
        fingerprint: The statement without literals.
        plan: How the server would run it with any parameters, one step to a line, without literals.
    """

    fingerprint: str
    plan: str


def shape_of(parameters: Any, sets: int) -> tuple[str, ...]:
    """Types and lengths of parameters.

    Args:
        parameters: As the driver got them: a sequence or a mapping, or many of these.
        sets: How many of these; the first then stands for all.

    Returns:
        A description of each of the first 20.
    """
    first: Any = parameters[0] if sets > 1 else parameters
    if isinstance(first, Mapping):
        named = cast("Mapping[str, object]", first)
        shapes = [f"{name}: {_shape(value)}" for name, value in islice(named.items(), _SHOWN)]
    else:
        shapes = [_shape(value) for value in islice(first or (), _SHOWN)]
    left_out = len(cast("Sized", first or ())) - len(shapes)
    return (*shapes, f"and {left_out} more") if left_out else tuple(shapes)


def nulls_for(parameters: Any) -> Nulls:
    """As many parameters, or with the same names, all of them NULL."""
    if isinstance(parameters, Mapping):
        return dict.fromkeys(cast("Mapping[str, object]", parameters))
    return (None,) * len(parameters or ())


def _shape(value: object) -> str:
    kind = type(value).__name__
    return f"{kind}[{len(value)}]" if isinstance(value, Sized) else kind


class RateLimit:
    """Lets one event for each fingerprint pass in an interval, and not more than so many in all. Pure.

    Args:
        interval: Seconds between two events of one fingerprint.
        most: Most fingerprints that may speak in an interval.
    """

    __slots__ = ("_interval", "_most", "_told")

    def __init__(self, interval: float = 10.0, most: int = 100) -> None:
        self._interval, self._most = interval, most
        self._told: dict[str, tuple[float, int]] = {}

    def suppressed(self, fingerprint: str, now: float) -> int | None:
        """How many were held back since the last that passed; None where this one is held back too."""
        told, count = self._told.get(fingerprint, (None, 0))
        if told is not None and now - told < self._interval:
            self._told[fingerprint] = (told, count + 1)
            return None
        if told is None and len(self._told) >= self._most:
            self._told = {each: seen for each, seen in self._told.items() if now - seen[0] < self._interval}
            if len(self._told) >= self._most:
                return None
        self._told[fingerprint] = (now, 0)
        return count
