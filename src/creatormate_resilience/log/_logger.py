"""This library's own loggers: structlog over one stdlib logger per unit, silent until the application wants them."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, cast

import structlog

from creatormate_resilience.exceptions._chain import printed
from creatormate_resilience.log._traceback import frames, traceback_text
from creatormate_resilience.redaction import redact, redact_text
from creatormate_resilience.request_context import get_request_context

__all__ = ("Line", "exception_in", "get_logger", "is_heard", "misfit", "render", "request_ids", "write_line")

_ROOT = "creatormate_resilience"
logging.getLogger(_ROOT).addHandler(logging.NullHandler())


class Line:
    """The message of a record; a text where somebody prints it, and what the text is made of where somebody does not.

    Attributes:
        event: What happened.
        fields: The details: plain data, redacted.
    """

    __slots__ = ("event", "fields")

    def __init__(self, event: str, fields: dict[str, Any]) -> None:
        self.event = event
        self.fields = fields

    def __str__(self) -> str:
        """`event key=value ...`; frames are left out, for the traceback beside them tells the same."""
        shown = " ".join(f"{key}={value!r}" for key, value in self.fields.items() if key != "frames")
        return f"{self.event} {shown}" if shown else self.event


def request_ids() -> dict[str, str]:
    """`request_id` and `trace_id` of the request being served, as far as there are any."""
    context = get_request_context()
    if context is None:
        return {}
    ids = {"request_id": context.request_id}
    if (trace_id := context.trace_id) is not None:
        ids["trace_id"] = trace_id
    return ids


@functools.cache
def _logger_of(unit: str) -> logging.Logger:
    return logging.getLogger(f"{_ROOT}.{unit}")  # takes a lock each time


def is_heard(unit: str, level: int) -> bool:
    """Whether a line of a unit would be printed anywhere, for callers whose fields take time to put together.

    Args:
        unit: Name of the unit, as for `get_logger`.
        level: Of the line, a number of the standard library.
    """
    logger = _logger_of(unit)
    return logger.isEnabledFor(level) and _has_listener(logger)


def _has_listener(logger: logging.Logger) -> bool:
    heard: logging.Logger | None = logger
    while heard is not None:
        for handler in heard.handlers:
            if not isinstance(handler, logging.NullHandler):
                return True
        heard = heard.parent if heard.propagate else None
    return False


def _drop_unheard(logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Where the application has set up no logging, a line costs next to nothing."""
    if not _has_listener(logger):
        raise structlog.DropEvent
    return event


def render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> tuple[tuple[Line], dict[str, Any]]:
    """The last structlog processor: what a stdlib logger's method is called with."""
    stack_info = bool(event.pop("stack_info", None))
    exc = exception_in(event.pop("exc_info", None))
    text = redact_text(_filled(event.pop("event", ""), event.pop("positional_args", ())))
    fields: dict[str, Any] = redact(dict(event)) if event else {}
    # Made after the redaction: their texts are safe, and a redactor may take digits in an id for a card's number.
    fields = {**request_ids(), **fields}
    if exc is not None:
        fields |= {"frames": frames(exc), "traceback": traceback_text(exc)}
    # exc_info must be said: a stdlib logger's `exception` method would add the exception with all its secrets.
    return (Line(text, fields),), {"extra": {"resilience": fields}, "exc_info": None, "stack_info": stack_info}


def write_line(unit: str, level: int, event: str, fields: dict[str, Any]) -> None:
    """Log what is redacted already, at half the cost of `get_logger`; for lines that are written by the thousand.

    Args:
        unit: Name of the unit, as for `get_logger`.
        level: A number of the standard library.
        event: What happened.
        fields: Plain data without secrets; ids of the current request are put in front of them.
    """
    logger = _logger_of(unit)
    fields = {**request_ids(), **fields}
    extra = {"resilience": fields}
    logger.handle(logger.makeRecord(logger.name, level, "", 0, Line(event, fields), (), None, extra=extra))


def _filled(text: object, args: tuple[object, ...]) -> str:
    try:
        return str(text) % args if args else str(text)
    except Exception as error:  # noqa: BLE001 - the arguments do not fit, or raise when printed: tell the rest
        return misfit(text, args, error)


def misfit(text: object, args: object, error: Exception) -> str:
    """What to print of a text that could not be filled with its arguments."""
    return f"{printed(text)} [{type(error).__name__} with {redact(args)!r:.500}]"


def exception_in(exc_info: object) -> BaseException | None:
    """The exception that an `exc_info` of any form means: an exception, a triple, or True for the current one."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        triple = cast("tuple[object, BaseException | None, TracebackType | None]", exc_info)
        return triple[1] if len(triple) == 3 and isinstance(triple[1], BaseException) else None
    return sys.exception() if exc_info else None


_PROCESSORS = (structlog.stdlib.filter_by_level, _drop_unheard, render)


def get_logger(unit: str) -> structlog.stdlib.BoundLogger:
    """The log of one unit.

    Args:
        unit: Name of the unit, such as "cache"; the stdlib logger is `creatormate_resilience.cache`.

    Returns:
        A structlog logger: `log.warning("redis is away", retry_in=0.5)`. Fields are redacted, an exception becomes the
        fields `frames` and `traceback`, and the current request's ids are added; the stdlib record carries all of them
        as `record.resilience` too. Nothing is printed unless the application configured logging.
    """
    return cast(
        "structlog.stdlib.BoundLogger",
        structlog.wrap_logger(
            _logger_of(unit),
            processors=_PROCESSORS,
            wrapper_class=structlog.stdlib.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=True,
        ),
    )
