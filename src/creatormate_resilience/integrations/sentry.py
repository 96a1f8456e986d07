"""Sentry: events without secrets, one for each failed request, with the error's code and id as tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from anyio import to_thread

from creatormate_resilience.clock import Clock, SystemClock
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import (
    ConfigurationError,
    InternalError,
    MissingDependencyError,
    ResilienceError,
    Severity,
    map_exception,
)
from creatormate_resilience.integrations._sentry_event import redact_event, widened
from creatormate_resilience.integrations.asgi import RequestFailed
from creatormate_resilience.log import get_logger
from creatormate_resilience.redaction import TRUNCATED, Redactor
from creatormate_resilience.request_context import RequestContext, get_request_context

_INSTALLED = find_spec("sentry_sdk") is not None
if TYPE_CHECKING or _INSTALLED:
    import sentry_sdk
    from sentry_sdk.utils import Dsn, event_from_exception

__all__ = (
    "Hook",
    "SentryListener",
    "StartedSentry",
    "is_sentry_started",
    "make_before_breadcrumb",
    "make_before_send",
    "start_sentry",
)

_log = get_logger("integrations.sentry")

Data: TypeAlias = dict[str, Any]
Hook: TypeAlias = Callable[[Any, Any], Any]
"""What Sentry calls before it keeps or sends something: with that and a hint; gives what to send, or None."""

Change: TypeAlias = Callable[[Any, Mapping[str, Any]], Data | None]

_OWN_LOGGERS = "creatormate_resilience"
_LEVELS = MappingProxyType({
    Severity.INFO: "info", Severity.WARNING: "warning", Severity.ERROR: "error", Severity.CRITICAL: "fatal",
})  # fmt: skip
# `send_default_pii` is off where nobody says anything; giving it is deprecated since 2.7x.
_DEFAULTS: Mapping[str, Any] = MappingProxyType({"include_local_variables": False, "max_request_body_size": "never"})

_SENT = "_sent_to_sentry"
_ON_ITS_WAY = 1.0
_LEAVES = 1_000
_KINDS = 32


def make_before_send(
    redactor: Redactor | None = None, min_severity: Severity = Severity.ERROR, *, clock: Clock | None = None
) -> Hook:
    """A `before_send` and `before_send_transaction` for `sentry_sdk.init`, for those who call it themselves.

    Args:
        redactor: Finds the secrets; its budgets are widened to what a real event needs.
        min_severity: Errors of this library below it are not reported. Foreign exceptions always are.
        clock: Where time comes from.

    Returns:
        A function that gives the event without secrets, or None where it is not to be sent: the error is not severe
        enough, the same exception was sent within the last second, or it is a line of this library's own log, whose
        errors `SentryListener` reports. Errors of this library get the tags `error_id`, `code` and `category`, and are
        grouped by code and route; where a request is being served the event gets its `request_id`. It never raises:
        what cannot be redacted is not sent, and that is logged once for each kind of failure.
    """
    return _Hook(_Gate(widened(redactor), _checked(min_severity), clock or SystemClock()))


def make_before_breadcrumb(redactor: Redactor | None = None) -> Hook:
    """A `before_breadcrumb` for `sentry_sdk.init`: a breadcrumb without secrets, or none.

    Args:
        redactor: Finds the secrets.
    """
    return _Hook(partial(_without_secrets, widened(redactor)))


def start_sentry(
    dsn: str, *, redactor: Redactor | None = None, min_severity: Severity = Severity.ERROR, **options: Any
) -> StartedSentry:
    """Start Sentry for this process so that no secrets reach it.

    Args:
        dsn: Where to report, as Sentry shows it: `https://<public key>@<host>/<project>`.
        redactor: Finds the secrets.
        min_severity: Errors of this library below it are not reported.
        **options: Of `sentry_sdk.init`. Local variables, request bodies and personal data are sent only if asked for
            here. Your own `before_send` and its like run first, and what they return is redacted.

    Returns:
        What to flush or close when the process ends.

    Raises:
        ConfigurationError: The DSN is malformed; the message does not show it.
        MissingDependencyError: The extra `sentry` is not installed.

    Attachments are sent as they are: what is in them is the application's choice.
    """
    if not _INSTALLED:
        raise MissingDependencyError("sentry_sdk", extra="sentry", needed_by="integrations.sentry")
    _check_dsn(dsn)
    sentry_sdk.init(dsn, **_with_hooks({**_DEFAULTS, **options}, widened(redactor), _checked(min_severity)))
    return StartedSentry(sentry_sdk.get_client())


def is_sentry_started() -> bool:
    """Whether Sentry runs in this process, whoever started it."""
    return _INSTALLED and sentry_sdk.is_initialized()


class StartedSentry:
    """Sentry while it runs; given by `start_sentry`."""

    __slots__ = ("_client",)

    def __init__(self, client: Any) -> None:
        self._client = client

    def flush(self, timeout: float = 2.0) -> None:
        """Wait until what was reported is sent.

        Args:
            timeout: Seconds to wait at most.
        """
        self._client.flush(timeout=timeout)

    def close(self, timeout: float = 2.0) -> None:
        """Send what was reported, then report no more. Patches that Sentry made stay, and do nothing.

        Args:
            timeout: Seconds to wait at most.
        """
        self._client.close(timeout=timeout)
        if sentry_sdk.get_client() is self._client:
            sentry_sdk.get_global_scope().set_client(None)

    async def aclose(self, timeout: float = 2.0) -> None:
        """`close` without blocking the event loop.

        Args:
            timeout: Seconds to wait at most.
        """
        await to_thread.run_sync(self.close, timeout)


class SentryListener:
    """Reports failed requests, as a listener of `setup_error_handlers`; without Sentry started it does nothing.

    Args:
        min_severity: Errors below it are not reported.

    Reported is what was answered with a status from 500 on, and what nobody expected; with Sentry's own Starlette,
    FastAPI and logging integrations on, still once.
    """

    __slots__ = ("_min_severity",)

    def __init__(self, min_severity: Severity = Severity.ERROR) -> None:
        self._min_severity = _checked(min_severity)

    def __call__(self, event: Event, /) -> None:
        """Report the event, if it is one that counts."""
        if not isinstance(event, RequestFailed) or not is_sentry_started():
            return
        if (event.status >= 500 or event.unexpected) and event.error.severity >= self._min_severity:
            _capture(event)


def _capture(event: RequestFailed) -> None:
    mechanism = {"type": "creatormate_resilience", "handled": not event.unexpected}
    options = sentry_sdk.get_client().options
    found, hint = event_from_exception(event.exception, client_options=options, mechanism=mechanism)
    # The labels are in the event itself, so that no scope is changed.
    sentry_sdk.capture_event(cast("Any", _labelled(cast("Data", found), event.error, event.request)), hint=hint)


def _check_dsn(dsn: object) -> None:
    try:
        Dsn(dsn if isinstance(dsn, str) else "")
    except ValueError:
        raise ConfigurationError(
            "dsn is malformed; accepted is what Sentry shows: https://<public key>@<host>/<project number>"
        ) from None  # the cause would show a part of it


def _checked(severity: object) -> Severity:
    if not isinstance(severity, Severity):
        raise ConfigurationError(f"min_severity is {severity!r}; accepted is a Severity")
    return severity


def _with_hooks(options: Data, redactor: Redactor, min_severity: Severity) -> Data:
    experiments: Data = dict(options.get("_experiments") or {})

    def hook(name: str, change: Change, instead: Mapping[str, Any] | None = None) -> Hook:
        return _Hook(change, options.get(name) or experiments.get(name), instead)

    events, redacted = _Gate(redactor, min_severity, SystemClock()), partial(_without_secrets, redactor)
    hooks = {
        "before_send": hook("before_send", events),
        "before_send_transaction": hook("before_send_transaction", events),
        "before_breadcrumb": hook("before_breadcrumb", redacted),
    }
    # Every version reads these here; as options some do not know them, and one warns of spans that are not streamed.
    streamed = {
        "before_send_log": hook("before_send_log", redacted),
        "before_send_metric": hook("before_send_metric", redacted),
        "before_send_span": hook("before_send_span", redacted, {"name": TRUNCATED}),  # Sentry lets none be dropped
    }
    kept = {name: value for name, value in options.items() if name not in streamed}
    return kept | hooks | {"_experiments": experiments | streamed}


@dataclass(frozen=True, slots=True)
class _Hook:
    """Changes what passes through it and never raises, because then Sentry would send some things as they were.

    Attributes:
        change: Gives what to send of it, or None.
        first: The application's own hook.
        instead: What is sent in place of nothing.
        told: Kinds of failures that were logged.
    """

    change: Change
    first: Hook | None = None
    instead: Mapping[str, Any] | None = None
    told: set[str] = field(default_factory=set[str])

    def __call__(self, event: Any, hint: Any = None) -> Any:
        result: Data | None = None
        try:
            given = event if self.first is None else self.first(event, hint)
            result = None if given is None else self.change(given, hint or {})
        except Exception as exc:  # noqa: BLE001 - a hook of the application, or what is in an event, may raise anything
            self.tell(type(exc).__qualname__)
        return dict(self.instead) if result is None and self.instead is not None else result

    def tell(self, kind: str) -> None:
        if kind not in self.told and len(self.told) < _KINDS:
            self.told.add(kind)  # before the line is written, for Sentry makes a breadcrumb of it
            with suppress(Exception):  # a log that is broken must not harm whoever reports an error
                _log.error("something was not sent to Sentry because its secrets could not be taken out", failure=kind)


def _without_secrets(redactor: Redactor, event: Any, _hint: Mapping[str, Any]) -> Data:
    return redact_event(event, redactor)


@dataclass(frozen=True, slots=True)
class _Gate:
    """Says what of events may be sent."""

    redactor: Redactor
    min_severity: Severity
    clock: Clock

    def __call__(self, event: Any, hint: Mapping[str, Any]) -> Data | None:
        exc: BaseException | None = (hint.get("exc_info") or (None, None))[1]
        error = None if exc is None else _family_error(exc)
        too_mild = error is not None and error.severity < self.min_severity
        if too_mild or _is_own_line(hint) or (exc is not None and self.was_just_sent(exc)):
            return None
        sendable = _labelled(redact_event(event, self.redactor), error, get_request_context())
        if exc is not None:
            with suppress(Exception):  # one that takes no attributes
                setattr(exc, _SENT, self.clock.monotonic())
        return sendable

    def was_just_sent(self, exc: BaseException) -> bool:
        """On its way out an exception may pass several who report it; Sentry itself sees that only within one task."""
        sent = getattr(exc, _SENT, None)
        return isinstance(sent, float) and 0 <= self.clock.monotonic() - sent < _ON_ITS_WAY


def _family_error(exc: BaseException) -> ResilienceError | None:
    """The error of this library that the exception is; of a group, if there is nothing foreign in it."""
    return map_exception(exc) if all(isinstance(leaf, ResilienceError) for leaf in _leaves(exc)) else None


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    """What is in a group; the group itself where that is too much to look at."""
    left = [exc]
    for _ in range(_LEAVES):
        if not left:
            return
        current = left.pop()
        if isinstance(current, BaseExceptionGroup):
            left += cast("BaseExceptionGroup[BaseException]", current).exceptions
        else:
            yield current
    yield exc


def _is_own_line(hint: Mapping[str, Any]) -> bool:
    name = getattr(hint.get("log_record"), "name", "")
    return name == _OWN_LOGGERS or name.startswith(f"{_OWN_LOGGERS}.")


def _labelled(event: Data, error: ResilienceError | None, request: RequestContext | None) -> Data:
    tags: Data = {} if request is None else {"request_id": request.request_id}
    if error is not None:
        tags |= {"error_id": error.error_id, "code": error.code, "category": str(error.category)}
        event["level"] = _LEVELS[error.severity]
        route = None if request is None else request.route
        if route is not None and not isinstance(error, InternalError):  # bugs are better grouped by their stack
            event.setdefault("fingerprint", [error.code, route])
    if tags:
        event["tags"] = {**(event.get("tags") or {}), **tags}
    return event
