"""This library's own log: structlog over one stdlib logger per unit, silent until the application sets logging up."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, cast

import structlog

from creatormate_resilience.redaction import redact

__all__ = ("get_logger",)

_ROOT = "creatormate_resilience"
logging.getLogger(_ROOT).addHandler(logging.NullHandler())


def _drop_unheard(logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Where the application has set up no logging, a line costs next to nothing."""
    heard: logging.Logger | None = logger
    while heard is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in heard.handlers):
            return event
        heard = heard.parent if heard.propagate else None
    raise structlog.DropEvent


def _redacted(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    kept = {key: event.pop(key) for key in ("exc_info", "stack_info") if key in event}
    return {**cast("dict[str, Any]", redact(dict(event))), **kept}


def _render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> tuple[tuple[str], dict[str, Any]]:
    options: dict[str, Any] = {key: event.pop(key) for key in ("exc_info", "stack_info") if key in event}
    text = str(event.pop("event", ""))
    fields = " ".join(f"{key}={value!r}" for key, value in event.items())
    line = f"{text} {fields}" if fields else text
    return (line,), {"extra": {"resilience": dict(event)}, **options}


def get_logger(unit: str) -> structlog.stdlib.BoundLogger:
    """The log of one unit.

    Args:
        unit: Name of the unit, such as "cache"; the stdlib logger is `creatormate_resilience.cache`.

    Returns:
        A structlog logger: `log.warning("redis is away", retry_in=0.5)`. Fields are redacted; the stdlib record
        carries them as `record.resilience` too. Nothing is printed unless the application configured logging.
    """
    return cast(
        "structlog.stdlib.BoundLogger",
        structlog.wrap_logger(
            logging.getLogger(f"{_ROOT}.{unit}"),
            processors=[structlog.stdlib.filter_by_level, _drop_unheard, _redacted, _render],
            wrapper_class=structlog.stdlib.BoundLogger,
            context_class=dict,
        ),
    )
