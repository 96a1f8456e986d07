"""Mappers of an application's own, for exceptions that this library does not know or should see otherwise."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from creatormate_resilience.exceptions._chain import describe, dotted_name
from creatormate_resilience.exceptions._root import ResilienceError

__all__ = ("Mapper", "Mappers", "error_mapper", "own_mapping")

_log = logging.getLogger("creatormate_resilience.exceptions")
Mapper: TypeAlias = Callable[[Any], ResilienceError | None]
F = TypeVar("F", bound=Mapper)


class Mappers:
    """Functions by the dotted name of the exception they are for.

    Adding replaces the whole mapping, so that reading needs no lock. There is one of these in a process, as there is
    one tree of error classes: `map_exception` is asked where nobody could hand it over.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: Mapping[str, Mapper] = MappingProxyType({})

    def add(self, names: tuple[str, ...], mapper: Mapper) -> None:
        """Register a function; it takes the place of one with the same module and name, as on a reload."""
        with self._lock:
            for name in names:
                other = self._by_name.get(name)
                if other is not None and _place(other) != _place(mapper):
                    raise TypeError(f"{name} is mapped by {_place(other)} already; {_place(mapper)} cannot map it too")
            self._by_name = MappingProxyType({**self._by_name, **dict.fromkeys(names, mapper)})

    def map(self, name: str, exc: BaseException) -> ResilienceError | None:
        """What the function for this name makes of an exception; None where there is none or it fails."""
        mapper = self._by_name.get(name)
        if mapper is None:
            return None
        try:
            error: Any = mapper(exc)
        except Exception as bug:  # noqa: BLE001 - this runs in error paths: it must not hide what went wrong
            _log.error("the error mapper %s raised on %s: %s", _place(mapper), name, describe(bug))
            return None
        if error is not None and not isinstance(error, ResilienceError):
            _log.error("the error mapper %s returned a %s", _place(mapper), type(error).__name__)
            return None
        return error


_MAPPERS = Mappers()


def error_mapper(*exceptions: type[BaseException] | str) -> Callable[[F], F]:
    """Say what foreign exceptions mean: `@error_mapper(CardDeclined)`, or by dotted name, so that nothing is imported.

    Args:
        *exceptions: Classes, or names such as "stripe.error.CardError". Subclasses are meant too; the nearest class
            that has a mapper decides, one of yours before this library's own.

    Returns:
        A decorator for a function that takes the exception and returns a `ResilienceError`, or None to pass. The
        exception becomes the error's cause where it has none.

    Raises:
        TypeError: No exception is named, one is of this library's family, or one has another mapper already.
    """
    if not exceptions:
        raise TypeError("error_mapper() names no exception; accepted are classes and dotted names")
    names = tuple(map(_name_of, exceptions))

    def register(mapper: F) -> F:
        _MAPPERS.add(names, mapper)
        return mapper

    return register


def own_mapping(name: str, exc: BaseException) -> ResilienceError | None:
    """What an application's mapper for this dotted name makes of an exception."""
    return _MAPPERS.map(name, exc)


def _name_of(exception: type[BaseException] | str) -> str:
    if isinstance(exception, str):
        parts = exception.split(".")
        if len(parts) > 1 and all(part.isidentifier() for part in parts):
            return exception
    elif isinstance(exception, type) and issubclass(exception, BaseException):  # pyright: ignore[reportUnnecessaryIsInstance]
        if not issubclass(exception, ResilienceError):
            return dotted_name(exception)
        raise TypeError(f"{exception.__qualname__} is of the family already; accepted are foreign exceptions")
    raise TypeError(f"{exception!r} is no exception; accepted are classes and names such as 'stripe.error.CardError'")


def _place(mapper: Mapper) -> str:
    return f"{getattr(mapper, '__module__', '?')}.{getattr(mapper, '__qualname__', repr(mapper))}"
