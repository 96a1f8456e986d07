"""A stdlib log record as one flat, redacted mapping, whatever is in it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from creatormate_resilience.log._logger import Line, exception_in, misfit, request_ids
from creatormate_resilience.log._traceback import traceback_text
from creatormate_resilience.redaction import redact, redact_text

__all__ = ("describe",)

_STACK_LIMIT = 16_384
# What every record has, what formatters leave on it, and what uvicorn puts there for its own colours.
_NO_FIELDS = frozenset[str](logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_HEAD = ("timestamp", "level", "severity", "logger", "event")
_SEVERITIES = ((50, 21), (40, 17), (30, 13), (20, 9), (10, 5))


def describe(record: logging.LogRecord) -> dict[str, Any]:
    """All that a record tells.

    Args:
        record: Any record, from this library or not.

    Returns:
        `timestamp`, `level`, `severity` (OpenTelemetry's number), `logger`, `event`, ids of the request being served,
        then the record's own fields, and `traceback` and `stack` where it has them. JSON-safe, without secrets. A field
        that has the name of one of the first five gets an underscore behind it.
    """
    message: object = record.msg
    if isinstance(message, Line):
        event, fields = message.event, message.fields
    else:
        event, fields = _event(record), request_ids() | _fields(record)
    told = _head(record, event)
    if told.keys().isdisjoint(fields):
        return told | fields
    return told | {f"{key}_" if key in _HEAD else key: value for key, value in fields.items()}


def _head(record: logging.LogRecord, event: str) -> dict[str, Any]:
    return {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "severity": _severity(record.levelno),
        "logger": record.name,
        "event": event,
    }


def _severity(level: int) -> int:
    for least, number in _SEVERITIES:
        if level >= least:
            return number
    return 1


def _event(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage() if not isinstance(record.args, Mapping) else str(record.msg) % redact(record.args)
    except Exception as error:  # noqa: BLE001 - the arguments do not fit, or raise when printed: tell the rest
        text = misfit(record.msg, record.args, error)
    return redact_text(text)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    extras: dict[str, Any] = {key: value for key, value in record.__dict__.items() if key not in _NO_FIELDS}
    fields: dict[str, Any] = redact(extras) if extras else {}
    if (exc := exception_in(record.exc_info)) is not None:
        fields["traceback"] = traceback_text(exc)
    elif record.exc_text and not record.exc_info:  # a process or a queue rendered it and took the exception off
        fields["traceback"] = redact_text(record.exc_text, _STACK_LIMIT)
    if record.stack_info:
        fields["stack"] = redact_text(record.stack_info, _STACK_LIMIT)
    return fields
