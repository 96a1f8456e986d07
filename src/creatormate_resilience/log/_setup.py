"""Logging for an application: one handler on the root logger that makes every record safe to print."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TextIO

import structlog

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.log._format import JSONFormatter, TerminalFormatter
from creatormate_resilience.log._logger import render

__all__ = ("LoggingSetup", "configure_logging")

_SERVERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


class _Handler(logging.StreamHandler[TextIO]):
    """Writes each record at once and whole; never shows a record that it could not write."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if text.isascii():
            return text
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - the stdlib's name
        # The stdlib prints the record's text and arguments here, which may hold secrets.
        if logging.raiseExceptions and sys.__stderr__ is not None and sys.__stderr__ is not self.stream:
            reason = type(sys.exception()).__name__
            with contextlib.suppress(OSError, ValueError):  # then there is nobody left to tell
                sys.__stderr__.write(f"creatormate_resilience: the log could not be written ({reason})\n")


@dataclass(frozen=True, slots=True)
class _Change:
    """What one logger was like, and the handlers taken off it."""

    logger: logging.Logger
    level: int
    propagate: bool
    removed: tuple[logging.Handler, ...]

    @classmethod
    def of(cls, name: str | None, obsolete: Callable[[logging.Handler], bool]) -> _Change:
        logger = logging.getLogger(name)
        change = cls(logger, logger.level, logger.propagate, tuple(filter(obsolete, logger.handlers)))
        for handler in change.removed:
            logger.removeHandler(handler)
        return change

    def undo(self) -> None:
        self.logger.setLevel(self.level)
        self.logger.propagate = self.propagate
        for handler in self.removed:
            self.logger.addHandler(handler)


class LoggingSetup:
    """What `configure_logging` did; `undo()`, or leaving it as a context manager, puts back what was before."""

    __slots__ = ("_changes", "_configured_structlog", "_handler")

    def __init__(self, handler: logging.Handler, changes: tuple[_Change, ...], *, configured_structlog: bool) -> None:
        self._handler = handler
        self._changes = changes
        self._configured_structlog = configured_structlog

    def undo(self) -> None:
        """Put back handlers, levels and structlog as they were; nothing where a later call has taken over."""
        root = logging.getLogger()
        if self._handler not in root.handlers:
            return
        root.removeHandler(self._handler)
        for change in self._changes:
            change.undo()
        if self._configured_structlog:
            structlog.reset_defaults()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()


def configure_logging(
    *,
    format: Literal["json", "terminal"] | None = None,  # noqa: A002 - the name that everybody looks for
    level: str | int = "INFO",
    stream: TextIO | None = None,
) -> LoggingSetup:
    """Print all log records of the process in one form, without secrets.

    Args:
        format: "json": one object in one line; "terminal": for people, coloured unless `NO_COLOR` is set; None takes
            "terminal" where the stream is one, else "json".
        level: What is printed at least, for loggers that have no level of their own.
        stream: Where to; None is `sys.stderr`.

    Returns:
        What puts everything back.

    Raises:
        ConfigurationError: A parameter has an unknown value.

    It puts one handler on the root logger, in place of its own from an earlier call; other handlers stay. uvicorn's
    loggers lose the handlers that print to the terminal and pass their records on instead; as uvicorn sets them up when
    it starts, call this in the application's module or lifespan, or start uvicorn with `log_config=None`. structlog is
    pointed here as well, unless the application has configured it.
    """
    if format not in ("json", "terminal", None):
        raise ConfigurationError(f"format is {format!r}; accepted are 'json', 'terminal' and None")
    number = _level(level)
    target = sys.stderr if stream is None else stream
    handler = _Handler(target)
    at_terminal = _is_terminal(target)
    if format == "terminal" or (format is None and at_terminal):
        # The one variable of the environment read outside `settings`: https://no-color.org is about terminals.
        handler.setFormatter(TerminalFormatter(colour=at_terminal and not os.environ.get("NO_COLOR")))
    else:
        handler.setFormatter(JSONFormatter())
    changes = _install(handler, number)
    return LoggingSetup(handler, changes, configured_structlog=_configure_structlog())


def _install(handler: logging.Handler, level: int) -> tuple[_Change, ...]:
    changes = [_Change.of(None, lambda other: isinstance(other, _Handler))]
    changes[0].logger.setLevel(level)
    changes[0].logger.addHandler(handler)
    for name in _SERVERS:
        change = _Change.of(name, lambda other: type(other) is logging.StreamHandler)
        change.logger.propagate = change.propagate or bool(change.removed)
        changes.append(change)
    return tuple(changes)


def _configure_structlog() -> bool:
    if structlog.is_configured():
        return False
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            render,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        context_class=dict,
        cache_logger_on_first_use=False,  # or loggers in use could not be put back
    )
    return True


def _level(level: object) -> int:
    known = logging.getLevelNamesMapping()
    if isinstance(level, str) and level.upper() in known:
        return known[level.upper()]
    if isinstance(level, int) and not isinstance(level, bool) and level >= 0:
        return level
    raise ConfigurationError(f"level is {level!r}; accepted are {', '.join(known)} and whole numbers from 0")


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # not quite a file, or a closed one
        return False
