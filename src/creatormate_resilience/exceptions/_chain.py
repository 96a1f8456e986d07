"""The causes of an exception: walked to an end even where they form a circle, and told as redacted lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from creatormate_resilience.redaction import redact_text

__all__ = ("describe", "dotted_name", "exception_chain", "group_leaves", "printed")

_CHAIN_LIMIT = 10
_LEAVES = 5
_LEVELS = 3
_NAME_LIMIT = 200
_FIELDS = 10
_SHOW_INPUT = frozenset({
    "pydantic_core._pydantic_core.ValidationError", "fastapi.exceptions.RequestValidationError",
    "fastapi.exceptions.ResponseValidationError", "fastapi.exceptions.WebSocketRequestValidationError",
})  # fmt: skip
"""Exceptions whose text shows the rejected value, which may be a password."""


def exception_chain(exc: BaseException) -> Iterator[BaseException]:
    """The causes of an exception, nearest first, without the exception itself; cycles and long chains end.

    Args:
        exc: Where to start.

    Yields:
        `__cause__`, or `__context__` where it is not suppressed, and so on; ten at most.
    """
    seen = {id(exc)}
    current = exc
    for _ in range(_CHAIN_LIMIT):
        cause = current.__cause__
        if cause is None and not current.__suppress_context__:
            cause = current.__context__
        if cause is None or id(cause) in seen:
            return
        seen.add(id(cause))
        yield cause
        current = cause


def group_leaves(exc: BaseException) -> list[BaseException]:
    """The exceptions inside a group, five at most, from three levels; of anything else itself."""
    leaves: list[BaseException] = []
    _collect(exc, 0, leaves)
    return leaves


def _collect(exc: Any, level: int, leaves: list[BaseException]) -> None:
    if not isinstance(exc, BaseExceptionGroup) or level == _LEVELS:
        leaves.append(cast("BaseException", exc))
        return
    for inner in cast("BaseExceptionGroup[BaseException]", exc).exceptions:
        if len(leaves) == _LEAVES:
            return
        _collect(inner, level + 1, leaves)


def describe(exc: BaseException) -> str:
    """`module.Type: message`, redacted; a group is followed by what is in it."""
    leaves = group_leaves(exc)
    return _line(exc) if leaves == [exc] else f"{_line(exc)} [{'; '.join(map(_line, leaves))}]"


def _line(exc: BaseException) -> str:
    return f"{dotted_name(type(exc))[:_NAME_LIMIT]}: {redact_text(printed(exc), 500)}"


def dotted_name(cls: type[object]) -> str:
    """Where a class is defined and what it is called there."""
    return f"{cls.__module__}.{cls.__qualname__}"


def printed(value: object) -> str:
    """`str(value)`, whatever the value does when it is printed; of validation errors without what was validated."""
    try:
        if dotted_name(type(value)) in _SHOW_INPUT:
            return _validation_errors(value)
        return str(value)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a foreign __str__ may raise anything; the rest is told
        return f"[__str__ raised {type(error).__name__}]"


def _validation_errors(exc: Any) -> str:
    errors: list[Any] = list(exc.errors())
    told = (f"{'.'.join(map(str, error['loc']))}: {error['type']}" for error in errors[:_FIELDS])
    return f"{len(errors)} wrong: {'; '.join(told)}"
