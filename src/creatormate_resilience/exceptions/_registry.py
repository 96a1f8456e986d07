"""What the class statement of an error must say: a code of its own, and advice that the next layer can read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from creatormate_resilience.exceptions._chain import dotted_name
from creatormate_resilience.exceptions._vocabulary import ErrorCategory, Severity

__all__ = ("check_declaration", "known_type", "types_below")

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,61}[A-Z0-9]")  # google.rpc.ErrorInfo.reason
_GRPC_CODES = frozenset(
    {"CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "ABORTED",
     "PERMISSION_DENIED", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "OUT_OF_RANGE",
     "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)  # fmt: skip


def types_below(cls: type[Any]) -> Iterator[type[Any]]:
    """A class and every subclass known to the process, parents first."""
    yield cls
    for child in cls.__subclasses__():
        yield from types_below(child)


def known_type(root: type[Any], code: object) -> type[Any] | None:
    """The type that owns a code, or None."""
    return next((cls for cls in types_below(root) if cls.code == code), None)


def check_declaration(cls: type[Any], root: type[Any]) -> None:
    """Refuse a class statement that the rest of the library could not work with.

    Raises:
        TypeError: An attribute is not of the accepted kind, or the code belongs to another class.
    """
    declared = cls.__dict__
    for name, accepts, accepted in _CHECKS:
        if name in declared and not accepts(declared[name]):
            raise TypeError(f"{cls.__qualname__}.{name} is {declared[name]!r}; accepted {accepted}")
    if "code" not in declared:
        return
    for other in types_below(root):
        if other.code == cls.code and dotted_name(other) != dotted_name(cls) and not issubclass(cls, other):
            raise TypeError(
                f"{cls.__qualname__}.code {cls.code!r} is taken by {dotted_name(other)}; give it a code of its own"
            )


def _is_code(value: Any) -> bool:
    return isinstance(value, str) and _CODE.fullmatch(value) is not None


def _is_wait(value: Any) -> bool:
    return value is None or (type(value) in {int, float} and 0 <= value < float("inf"))


_CHECKS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("code", _is_code, "are 3 to 63 of A-Z, 0-9 and _, starting with a letter"),
    ("category", lambda value: isinstance(value, ErrorCategory), "is an ErrorCategory"),
    ("status_code", lambda value: type(value) is int and 400 <= value <= 599, "are 400 to 599"),
    ("grpc_code", lambda value: isinstance(value, str) and value in _GRPC_CODES, "is the name of a gRPC status"),
    ("severity", lambda value: isinstance(value, Severity), "is a Severity"),
    ("default_retryable", lambda value: isinstance(value, bool), "are True and False"),
    ("default_retry_after", _is_wait, "are seconds, finite and not negative, or None"),
    ("default_user_message", lambda value: isinstance(value, str), "is a text"),
)
