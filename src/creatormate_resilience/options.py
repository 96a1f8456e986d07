"""What constructors ask of their options: numbers in range, a name, a clock, listeners. Errors name the option."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar, cast

from creatormate_resilience.clock import Clock, SystemClock
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.policy import is_async

__all__ = (
    "check_function",
    "check_number",
    "check_share",
    "check_text",
    "check_whole",
    "clock_of",
    "config_of",
    "listeners_of",
)

C = TypeVar("C")


def config_of(kind: type[C], config: C | None, options: Mapping[str, Any]) -> C:
    """A configuration as it was given: whole, or as options, not both.

    Args:
        kind: The frozen dataclass that it is.
        config: One of these, or None.
        options: Fields of one.

    Raises:
        ConfigurationError: Both are given, an option is unknown or missing, or a value is out of range.
    """
    if config is not None:
        if options:
            raise ConfigurationError(f"config and {', '.join(options)} are both given; accepted is one of them")
        if not isinstance(config, kind):
            raise ConfigurationError(f"config is {config!r:.200}; accepted is a {kind.__name__}")
        return config
    known = {each.name: each for each in fields(cast("Any", kind))}
    if unknown := options.keys() - known:
        raise ConfigurationError(f"unknown option {', '.join(sorted(unknown))}; accepted are {', '.join(known)}")
    if missing := [name for name, each in known.items() if name not in options and _is_required(each)]:
        raise ConfigurationError(f"{', '.join(missing)} is not given; accepted are {', '.join(known)}")
    return kind(**options)


def _is_required(option: Field[Any]) -> bool:
    return option.default is MISSING and option.default_factory is MISSING


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """A whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"from {least}" if most is None else f"from {least} to {most}"
        raise ConfigurationError(f"{name} is {value!r:.200}; accepted are whole numbers {bounds}{_hint(value)}")


def check_number(
    name: str, value: Any, unit: str, *, least: float = 0.0, above_zero: bool = True, most: float = sys.float_info.max
) -> None:
    """A finite number within bounds.

    Args:
        name: The option's.
        value: What was given.
        unit: What it counts, for the error: "seconds".
        least: The smallest accepted.
        above_zero: False accepts 0 too, where `least` is that.
        most: The largest accepted.
    """
    # Compared, because math.isfinite raises on an int that is too large for a float.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most or (above_zero and value == 0):
        word = "above" if above_zero and not least else "from"
        bounds = f"{word} {least:g}{'' if most == sys.float_info.max else f' to {most:g}'}"
        raise ConfigurationError(f"{name} is {value!r:.200}; accepted are finite {unit} {bounds}{_hint(value)}")


def check_share(name: str, value: Any, *, above_zero: bool = False) -> None:
    """A share of something: 0 to 1, or above 0."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= 1
        or (above_zero and value == 0)
    ):
        raise ConfigurationError(f"{name} is {value!r:.200}; accepted is {'above 0' if above_zero else '0'} to 1")


def check_function(name: str, value: object, accepted: str) -> None:
    """A function that answers at once: an awaitable in place of an answer would count as true.

    Args:
        name: The option's.
        value: What was given.
        accepted: What it should be, for the error: "accepted is a function of an Outcome".
    """
    if not callable(value):
        raise ConfigurationError(f"{name} is {value!r:.200}; {accepted}")
    if is_async(value):
        raise ConfigurationError(f"{name} is {value!r:.200}, which is async and would not be awaited; {accepted}")


def check_text(name: str, value: object) -> None:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} is {value!r:.200}; accepted is a text that is not empty{_hint(value)}")


def clock_of(clock: object) -> Clock:
    """The clock that was given, or the system's."""
    if clock is None:
        return SystemClock()
    wanted = ("monotonic", "sleep", "asleep")
    if isinstance(clock, type) or not all(callable(getattr(clock, method, None)) for method in wanted):
        raise ConfigurationError(f"clock is {clock!r:.200}; accepted is a Clock, which has {', '.join(wanted)}")
    return cast("Clock", clock)


def listeners_of(listeners: Iterable[Listener]) -> tuple[Listener, ...]:
    """The listeners that were given."""
    if isinstance(listeners, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        given = tuple(listeners)
        for each in given:
            check_function("listeners", each, "accepted are functions of an event")
        return given
    raise ConfigurationError(f"listeners is {listeners!r:.200}; accepted are functions of an event, in a list or tuple")


def _hint(value: object) -> str:
    return "; a decorator wants its parentheses" if inspect.isroutine(value) else ""
