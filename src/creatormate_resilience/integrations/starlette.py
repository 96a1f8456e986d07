"""Starlette: the lifespan of a `Resilience`, errors as problem documents, health routes. Works for FastAPI as well."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import (
    ClientDisconnectedError,
    MissingDependencyError,
    ResilienceError,
    map_exception,
)
from creatormate_resilience.exceptions._problem import phrase
from creatormate_resilience.integrations.asgi import (
    Changes,
    ErrorBoundaryMiddleware,
    ErrorHandlingConfig,
    ErrorHandlingOptions,
    ErrorReporter,
    FrameworkAnswers,
    ProblemAnswer,
    RequestContextMiddleware,
    accepted_language,
)
from creatormate_resilience.integrations.asgi._answer import safe_headers, sendable_status
from creatormate_resilience.log import get_logger
from creatormate_resilience.options import config_of
from creatormate_resilience.redaction import plain
from creatormate_resilience.toolkit import Resilience

_INSTALLED = find_spec("starlette") is not None
if TYPE_CHECKING or _INSTALLED:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import ASGIApp

__all__ = (
    "Lifespan",
    "health_routes",
    "problem_response",
    "resilience_lifespan",
    "setup_error_handlers",
)

_log = get_logger("integrations.starlette")
Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


def resilience_lifespan(resilience: Resilience | None = None, *, inner: Lifespan | None = None) -> Lifespan:
    """The lifespan that starts and closes a `Resilience` with the application.

    Args:
        resilience: What to start; None builds one from the environment when the application starts.
        inner: The application's own lifespan; runs while the `Resilience` is up.

    Returns:
        For `FastAPI(lifespan=...)` or `Starlette(lifespan=...)`. Handlers find it as `request.app.state.resilience`;
        the shortcuts find it by themselves.
    """
    _require()
    if resilience is not None and not isinstance(resilience, Resilience):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"resilience is {resilience!r:.200}; accepted is a Resilience: `lifespan=resilience_lifespan(r)`"
        )

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[Any]:
        async with AsyncExitStack() as stack:
            started = resilience or Resilience()
            dsn = started.settings.sentry_dsn
            if dsn is not None and not _sentry_runs():
                stack.push_async_callback(_sentry().start_sentry(dsn).aclose)
            app.state.resilience = await stack.enter_async_context(started)
            yield None if inner is None else await stack.enter_async_context(inner(app))

    return lifespan


def _sentry() -> Any:
    # Loading Sentry's SDK takes half a second, so only who uses it pays for it.
    return importlib.import_module("creatormate_resilience.integrations.sentry")


def _sentry_runs() -> bool:
    return "sentry_sdk" in sys.modules and _sentry().is_sentry_started()


def _sentry_listeners() -> Iterable[Listener]:
    """Sentry, where the application or our lifespan has started it."""
    return (_sentry().SentryListener(),) if _sentry_runs() else ()


def problem_response(
    error: ResilienceError, config: ErrorHandlingConfig | None = None, **options: Unpack[ErrorHandlingOptions]
) -> Response:
    """An error as an RFC 9457 answer, for handlers of your own.

    Args:
        error: What went wrong; its `detail` and `context` stay inside.
        config: How errors are answered, or `**options`, its fields.
        **options: See `ErrorHandlingConfig`.

    Returns:
        `application/problem+json` with `Retry-After`, `WWW-Authenticate` and the error's own headers where they belong.
    """
    _require()
    if not isinstance(error, ResilienceError):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"error is {error!r:.200}; accepted is a ResilienceError; `map_exception` makes one")
    answer = ProblemAnswer(error, config_of(ErrorHandlingConfig, config, options))
    response = Response(answer.body, answer.status)
    response.raw_headers[:] = answer.headers
    return response


def setup_error_handlers(
    app: Starlette, config: ErrorHandlingConfig | None = None, **options: Unpack[ErrorHandlingOptions]
) -> None:
    """Answer every error with a problem document that shows nothing internal; give every request a context.

    Args:
        app: A Starlette or FastAPI application; before or after its middleware is added, or from its lifespan.
        config: How errors are answered, or `**options`, its fields.
        **options: See `ErrorHandlingConfig`.

    Raises:
        ConfigurationError: An option is not accepted.
    """
    check_app(app)
    config = config_of(ErrorHandlingConfig, config, options)
    reporter = make_reporter(config)
    register_error_handlers(app, config, reporter)
    mount_error_layers(app, config, reporter)


def check_app(app: object) -> None:
    """See that it is an application.

    Raises:
        MissingDependencyError: Starlette is not installed.
        TypeError: It is something else.
    """
    _require()
    if not isinstance(app, Starlette):
        raise TypeError(f"app is {app!r:.200}; accepted is a Starlette or FastAPI application")


def make_reporter(config: ErrorHandlingConfig) -> ErrorReporter:
    """Tells the configured listeners, and Sentry where it runs."""
    return ErrorReporter(config, _sentry_listeners)


def register_error_handlers(app: Starlette, config: ErrorHandlingConfig, reporter: ErrorReporter) -> None:
    """The handlers of this library's errors and of `HTTPException`.

    Args:
        app: The application.
        config: How errors are answered.
        reporter: Where they are reported.
    """
    app.add_exception_handler(ResilienceError, _on_error(config, reporter))
    app.add_exception_handler(HTTPException, _on_http_exception(config, reporter))


def mount_error_layers(app: Starlette, config: ErrorHandlingConfig, reporter: ErrorReporter) -> None:
    """Put the request context around an application and error boundaries around and inside its middleware.

    Args:
        app: The application; if it runs already, the layers count from the next request on.
        config: How errors are answered.
        reporter: Where they are reported.

    The layers are put in place when the application builds its stack, so that it does not matter what is added when.
    """
    build_stack: Callable[[], ASGIApp] = getattr(app.build_middleware_stack, "without_error_layers", None) or (
        app.build_middleware_stack
    )

    def build() -> ASGIApp:
        boundary = Middleware(ErrorBoundaryMiddleware, config, reporter)
        given = app.user_middleware
        # Innermost, so that CORS and other middleware see an error's answer as any other; outermost for their bugs.
        app.user_middleware = [boundary, *given, boundary]
        try:
            stack = build_stack()
        finally:
            app.user_middleware = given
        if {500, Exception} & app.exception_handlers.keys():
            _log.warning(
                "an Exception handler of the application is never called: setup_error_handlers answers before it"
            )
        return RequestContextMiddleware(FrameworkAnswers(stack, config, reporter), config.client_ip)

    build.without_error_layers = build_stack  # type: ignore[attr-defined]
    app.build_middleware_stack = build  # type: ignore[method-assign]
    if app.middleware_stack is not None:
        app.middleware_stack = app.build_middleware_stack()


Handler: TypeAlias = Callable[[Any, Exception], Awaitable[Any]]
"""What Starlette calls: a request or websocket and the exception; async, so that no busy thread can delay an error."""


def _on_error(config: ErrorHandlingConfig, reporter: ErrorReporter) -> Handler:
    async def handle(connection: Any, exc: Exception) -> ProblemAnswer:
        if connection.scope["type"] != "http":
            raise exc  # a websocket's error boundary knows whether it was accepted
        error = reporter.report(exc)
        return ProblemAnswer(error, config, accept_language=accepted_language(connection.scope, config))

    return handle


def _on_http_exception(config: ErrorHandlingConfig, reporter: ErrorReporter) -> Handler:
    """Keeps status, headers and, for 4xx, a short text."""

    async def handle(connection: Any, exc: Exception) -> Any:
        if connection.scope["type"] != "http":
            raise exc
        given: object = getattr(exc, "status_code", 500)
        headers: Mapping[str, str] = getattr(exc, "headers", None) or {}
        if isinstance(given, int) and 200 <= given < 400:  # a redirect, or an answer that may have no body
            return Response(
                None, given, {name.decode(): value.decode("latin-1") for name, value in safe_headers(headers)}
            )
        status = sendable_status(given)
        if isinstance(map_exception(exc.__cause__ or exc), ClientDisconnectedError):  # FastAPI makes a 400 of it
            reporter.report(exc.__cause__ or exc)
            return None
        error = reporter.report(exc, status=status, unexpected=False)
        changes = Changes(status, _shown_detail(exc, status), headers)
        return ProblemAnswer(error, config, changes, accept_language=accepted_language(connection.scope, config))

    return handle


def _shown_detail(exc: Exception, status: int) -> str | None:
    detail = getattr(exc, "detail", None)
    if not isinstance(detail, str) or not 400 <= status < 500 or len(detail) > 500:
        return None
    if detail in {phrase(status), "Content Too Large"}:  # the framework's own words
        return None
    return str(plain(detail))


def health_routes(resilience: Resilience, *, details: bool = False) -> Sequence[Route]:
    """`/livez`, `/readyz` and `/startupz`.

    Args:
        resilience: Whose health.
        details: Whether answers show more than names and states; keep it off where strangers can ask.

    Returns:
        Routes for `Starlette(routes=...)`; for FastAPI see `integrations.fastapi.health_router`.
    """
    _require()
    if not isinstance(resilience, Resilience):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"resilience is {resilience!r:.200}; accepted is a Resilience")
    health = resilience.health

    async def livez(_request: Request) -> Response:
        return _health_response(health.live(), details=details)

    async def readyz(_request: Request) -> Response:
        return _health_response(await health.ready(), details=details)

    async def startupz(_request: Request) -> Response:
        return _health_response(health.startup(), details=details)

    return [Route(f"/{endpoint.__name__}", endpoint) for endpoint in (livez, readyz, startupz)]


def _health_response(report: Any, *, details: bool) -> Response:
    headers = {"cache-control": "no-store"}
    body = json.dumps(report.to_document(details=details))
    return Response(body, report.status_code, headers, media_type="application/health+json")


def _require() -> None:
    if not _INSTALLED:
        raise MissingDependencyError("starlette", extra="fastapi", needed_by="integrations.starlette")
