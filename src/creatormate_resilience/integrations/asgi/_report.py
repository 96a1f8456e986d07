"""What a failed request leaves behind: one log line and one event for each exception, however many layers see it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Any, NamedTuple

from creatormate_resilience.events import Listener, notify
from creatormate_resilience.exceptions import InternalError, ResilienceError, Severity, map_exception
from creatormate_resilience.exceptions._chain import describe
from creatormate_resilience.exceptions._problem import safe_text
from creatormate_resilience.integrations.asgi._answer import sendable_status
from creatormate_resilience.integrations.asgi._config import ErrorHandlingConfig
from creatormate_resilience.integrations.asgi._events import RequestFailed
from creatormate_resilience.log import frames, get_logger, is_heard, traceback_text, write_line
from creatormate_resilience.redaction import redact, redact_text
from creatormate_resilience.request_context import RequestContext, get_request_context

__all__ = ("ErrorReporter",)

_UNIT = "integrations.asgi"
_log = get_logger(_UNIT)
_LEVELS = MappingProxyType({
    Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.ERROR: logging.ERROR,
    Severity.CRITICAL: logging.CRITICAL,
})  # fmt: skip
_MARK = "_reported_for_request"
_CODES = 512
_CAUSES = 20
_PLUMBING = frozenset({"anyio", "asyncio", "creatormate_resilience", "fastapi", "starlette"})
"""What stands between the server and the application in every traceback."""


class _Mark(NamedTuple):
    """What is left on an exception that was reported; not the error, which would be a circle."""

    request_id: str
    error_id: str


class ErrorReporter:
    """Logs failed requests and tells listeners of them.

    Args:
        config: Who listens, and how many tracebacks are worth their time (0.3 ms each).
        late_listeners: Asked at each failure who else listens now.
    """

    def __init__(
        self, config: ErrorHandlingConfig, late_listeners: Callable[[], Iterable[Listener]] = tuple[Listener, ...]
    ) -> None:
        self._listeners = tuple(config.listeners)
        self._late_listeners = late_listeners
        self._clock = config.clock
        self._rate = config.tracebacks_per_second
        self._tokens: dict[str, tuple[float, float]] = {}

    def report(
        self, exc: BaseException, *, status: int | None = None, unexpected: bool | None = None, aborted: bool = False
    ) -> ResilienceError:
        """Report an exception, unless this request has reported it before.

        Args:
            exc: What was raised.
            status: HTTP status of the answer, where it is not the error's own.
            unexpected: Whether it is a bug; left out, an `InternalError` is one.
            aborted: Whether the answer was cut off.

        Returns:
            The error it means.
        """
        error, request = _mapped(exc), get_request_context()
        told = _told_id(exc, request)
        if told is not None:
            return error.with_id(told)  # a foreign exception is mapped anew by each layer that sees it
        try:
            bug = isinstance(error, InternalError) if unexpected is None else unexpected
            answered = sendable_status(error.for_outside().status_code) if status is None else status
            level = _LEVELS[error.severity]
            if aborted or answered >= 500 > error.status_code:  # worse for the client than the error is
                level = max(level, logging.ERROR)
            if is_heard(_UNIT, level):
                what = "a request failed unexpectedly" if bug else "a request failed"
                fields = self._fields(exc, error, answered, request, bug=bug)
                write_line(_UNIT, level, what, fields | {"aborted": True} if aborted else fields)
        except Exception as problem:  # noqa: BLE001 - an application's own property may raise anything
            error, bug = InternalError(type(exc).__name__), True
            answered = error.status_code
            told_at_least = {"code": error.code, "status": answered, "error_id": error.error_id, "reason": str(error)}
            _log.error("a request failed and cannot be told in full", problem=type(problem).__name__, **told_at_least)
        _mark(exc, request, error.error_id)
        if request is not None:
            request.error_id = error.error_id
        if listeners := (*self._listeners, *self._late_listeners()):
            notify(listeners, RequestFailed("asgi", error, exc, answered, bug, request))
        return error

    def _fields(
        self, exc: BaseException, error: ResilienceError, status: int, request: RequestContext | None, *, bug: bool
    ) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "code": safe_text(error.code),
            "status": status,
            "error_id": safe_text(error.error_id),
        }
        if request is not None:
            fields["method"], fields["route"], fields["client_ip"] = request.method, request.route, request.client_ip
        fields["reason"] = redact_text(str(error))
        if error.context:
            fields["context"] = redact(error.context)
        if causes := error.cause_chain or (() if exc is error else (describe(exc),)):
            fields["causes"] = list(causes[:_CAUSES])
        fields["frames"] = frames(exc, without=() if bug else _PLUMBING)
        if bug and self._may_trace(error.code):
            fields["traceback"] = traceback_text(exc)
        return fields

    def _may_trace(self, code: str) -> bool:
        """A token bucket for each code (a burst of one second's worth): a storm of errors must not cost the service."""
        if not self._rate:
            return False
        now, size = self._clock.monotonic(), max(self._rate, 1.0)
        tokens, last = self._tokens.get(code, (size, now))
        tokens = min(size, tokens + (now - last) * self._rate)
        if len(self._tokens) >= _CODES:
            self._tokens.clear()
        self._tokens[code] = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1


def _mapped(exc: BaseException) -> ResilienceError:
    try:
        return map_exception(exc)
    except Exception:  # noqa: BLE001 - a foreign exception's class may override anything
        return InternalError(type(exc).__name__)


def _told_id(exc: BaseException, request: RequestContext | None) -> str | None:
    """The id under which this request has reported the exception before."""
    try:
        mark: object = getattr(exc, _MARK, None)
    except Exception:  # noqa: BLE001 - nor need its attributes work
        return None
    return mark.error_id if isinstance(mark, _Mark) and request and mark.request_id == request.request_id else None


def _mark(exc: BaseException, request: RequestContext | None, error_id: str) -> None:
    if request is not None:
        try:
            setattr(exc, _MARK, _Mark(request.request_id, error_id))
        except Exception:  # noqa: BLE001 - one that takes no attributes is told again by each layer that sees it
            return
