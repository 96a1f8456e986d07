"""Starlette: the lifespan of a `Resilience`, errors as problem documents, health routes. Works for FastAPI as well."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

from creatormate_resilience.exceptions import (
    AuthenticationError,
    InternalError,
    MissingDependencyError,
    ResilienceError,
    Severity,
    map_exception,
)
from creatormate_resilience.log import get_logger
from creatormate_resilience.toolkit import Resilience

_INSTALLED = find_spec("starlette") is not None
if TYPE_CHECKING or _INSTALLED:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = (
    "ErrorBoundaryMiddleware",
    "Lifespan",
    "health_routes",
    "problem_response",
    "resilience_lifespan",
    "setup_error_handlers",
)

_log = get_logger("integrations.starlette")
_FRAMING = frozenset({"connection", "content-length", "content-type", "transfer-encoding"})
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

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[Any]:
        async with resilience or Resilience() as started:
            app.state.resilience = started
            if inner is None:
                yield None
            else:
                async with inner(app) as state:
                    yield state

    return lifespan


def problem_response(error: ResilienceError, *, domain: str | None = None) -> Response:
    """An error as an RFC 9457 answer.

    Args:
        error: What went wrong; its `detail` and `context` stay inside.
        domain: Name of this service, for peers that rebuild the error.

    Returns:
        `application/problem+json` with `Retry-After`, `WWW-Authenticate` and the error's own headers where they belong.
    """
    headers = _safe_headers(error.headers)
    headers |= {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    document = error.to_problem(domain=domain)
    if (retry_after := document.get("retry_after")) is not None:
        headers["retry-after"] = str(max(0, math.ceil(retry_after)))
    if isinstance(error, AuthenticationError):
        headers.setdefault("www-authenticate", "Bearer")
    body = json.dumps(document, ensure_ascii=True, allow_nan=False).encode("ascii")
    return Response(body, error.status_code, headers, media_type="application/problem+json")


def setup_error_handlers(app: Starlette, *, domain: str | None = None) -> None:
    """Answer every error with a problem document that shows nothing internal.

    Args:
        app: A Starlette or FastAPI application; may be called before it starts or from its lifespan.
        domain: Name of this service, for peers that rebuild the error.
    """
    _require()

    async def on_error(_request: Request, exc: Exception) -> Response:
        return problem_response(_logged(exc), domain=domain)

    app.add_exception_handler(ResilienceError, on_error)
    app.add_exception_handler(HTTPException, on_http_exception(domain))
    # Innermost, so that CORS and other middlewares see the answer to an unexpected error as any other answer.
    app.user_middleware.append(Middleware(ErrorBoundaryMiddleware, domain=domain))
    if app.middleware_stack is not None:  # the application is running already: handlers apply from the next request on
        app.middleware_stack = app.build_middleware_stack()


def on_http_exception(domain: str | None) -> Callable[[Request, Exception], Any]:
    """The handler of Starlette's own HTTPException; keeps status, headers and, for 4xx, a short text."""

    async def handle(_request: Request, exc: Exception) -> Response:
        status = getattr(exc, "status_code", 500)
        error = map_exception(exc)
        detail = getattr(exc, "detail", None)
        shown = detail if isinstance(detail, str) and 400 <= status < 500 and len(detail) <= 500 else None
        answer = error.to_problem(domain=domain) | {"status": status} | ({"detail": shown} if shown else {})
        headers = _safe_headers(getattr(exc, "headers", None) or {})
        if status < 400:  # a redirect, or an answer that may have no body
            return Response(None, status, headers)
        return Response(json.dumps(answer), status, headers | {"cache-control": "no-store"}, "application/problem+json")

    return handle


class ErrorBoundaryMiddleware:
    """Answers what nobody handled: a problem document where nothing was sent yet, an aborted stream where it was.

    Args:
        app: The application inside.
        domain: Name of this service.
    """

    def __init__(self, app: ASGIApp, domain: str | None = None) -> None:
        self.app = app
        self.domain = domain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = completed = False

        async def watch(message: Message) -> None:
            nonlocal started, completed
            started = started or message["type"] == "http.response.start"
            completed = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as exc:
            error = _logged(exc)
            if started and not completed:
                raise  # the server must abort the stream; a second answer cannot be sent
            if not started:
                await problem_response(error, domain=self.domain)(scope, receive, send)


def health_routes(resilience: Resilience, *, details: bool = False) -> Sequence[Route]:
    """`/livez`, `/readyz` and `/startupz`.

    Args:
        resilience: Whose health.
        details: Whether answers show more than names and states; keep it off where strangers can ask.

    Returns:
        Routes for `Starlette(routes=...)`; for FastAPI see `integrations.fastapi.health_router`.
    """
    _require()
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


def _logged(exc: Exception) -> ResilienceError:
    error = exc if isinstance(exc, ResilienceError) else map_exception(exc)
    expected = not isinstance(error, InternalError) and error.status_code < 500
    fields: dict[str, Any] = {
        "code": error.code,
        "error_id": error.error_id,
        "reason": str(error),
        "context": error.context,
    }
    if expected:
        _log.info("a request failed", **fields)
    elif error.severity >= Severity.ERROR and isinstance(error, InternalError):
        _log.error("a request failed unexpectedly", exc_info=exc, **fields)
    else:
        _log.warning("a request failed", causes=error.cause_chain, **fields)
    return error


def _safe_headers(headers: Mapping[str, str]) -> dict[str, str]:
    safe = {name: value for name, value in headers.items() if _is_header_safe(name) and _is_header_safe(value)}
    return {name: value for name, value in safe.items() if name.lower() not in _FRAMING}


def _is_header_safe(value: object) -> bool:
    return isinstance(value, str) and all("\x20" <= char <= "\xff" and char != "\x7f" for char in value)


def _require() -> None:
    if not _INSTALLED:
        raise MissingDependencyError("starlette", extra="fastapi", needed_by="integrations.starlette")
