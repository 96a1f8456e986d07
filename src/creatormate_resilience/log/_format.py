"""Records as text: JSON for machines, one physical line an event; lines for people, which no text inside can forge."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from creatormate_resilience.log._record import describe

__all__ = ("JSONFormatter", "TerminalFormatter")

_RESET = "\x1b[0m"
_DIM = "\x1b[2m"
_COLOURS = ((40, "\x1b[31m"), (30, "\x1b[33m"), (20, "\x1b[32m"), (0, "\x1b[36m"))
_HEAD = frozenset({"timestamp", "level", "severity", "logger", "event"})
_BLOCKS = ("traceback", "stack")


class JSONFormatter(logging.Formatter):
    """One JSON object a record, in ASCII: no text inside can begin a new line or command a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._encode = json.JSONEncoder(
            ensure_ascii=True, allow_nan=False, check_circular=False, separators=(",", ":")
        ).encode  # a redacted value has no circles

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; what cannot be told is replaced by the reason."""
        try:
            return self._encode(describe(record))
        except Exception as error:  # noqa: BLE001 - a line that is poor is better than none
            return self._encode(_unreadable(record, error))


class TerminalFormatter(logging.Formatter):
    """One line a record, then its traceback behind a bar.

    Args:
        colour: Whether to colour it.
    """

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The record for people; what cannot be told is replaced by the reason."""
        try:
            return "\n".join(self._lines(describe(record), record.levelno))
        except Exception as error:  # noqa: BLE001 - a line that is poor is better than none
            return "\n".join(self._lines(_unreadable(record, error), logging.ERROR))

    def _lines(self, told: Mapping[str, Any], level: int) -> Iterator[str]:
        # What stands in front is the same on every event's line, and nothing else begins with it: the rest is escaped.
        begin = f"{told['timestamp'][11:23]} {told['level'][:8].upper():8}"
        details = " ".join(_pair(key, told[key]) for key in told if key not in _HEAD and key not in _BLOCKS)
        logger = visible(told["logger"])
        if self._colour:
            colour = next(code for least, code in _COLOURS if level >= least)
            begin, logger = f"{colour}{visible(begin)}{_RESET}", f"{_DIM}{logger}{_RESET}"
        else:
            begin = visible(begin)
        yield " ".join(filter(None, (begin, visible(told["event"]), details, logger)))
        for key in _BLOCKS:
            yield from (f"    | {visible(line)}" for line in str(told.get(key, "")).splitlines())


def visible(text: str) -> str:
    """The text with every control character, line separator and direction mark written as its escape.

    Args:
        text: Any text.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _pair(key: str, value: object) -> str:
    plain = isinstance(value, str) and value.isprintable() and not set(value) & set(" =\"'")
    return f"{visible(key)}={value if plain else visible(json.dumps(value, ensure_ascii=False))}"


def _unreadable(record: logging.LogRecord, error: Exception) -> dict[str, Any]:
    told = {"timestamp": "1970-01-01T00:00:00.000+00:00", "level": "error", "severity": 17, "logger": "", "event": ""}
    for key, value in (("logger", record.name), ("level", record.levelname)):
        if isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            told[key] = value[:200]
    return told | {"event": f"[a log record that cannot be told: {type(error).__name__}]"}
