"""An error as the bytes of an HTTP answer. Whatever is in the error, a valid answer comes out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from creatormate_resilience.exceptions import AuthenticationError, InternalError, ResilienceError, negotiate_locale
from creatormate_resilience.exceptions._chain import describe
from creatormate_resilience.exceptions._problem import phrase
from creatormate_resilience.integrations.asgi._config import ErrorHandlingConfig
from creatormate_resilience.integrations.asgi._protocol import Headers, Receive, Scope, Send
from creatormate_resilience.log import get_logger
from creatormate_resilience.request_context import get_request_context

__all__ = ("Changes", "ProblemAnswer", "safe_headers", "sendable_status")

_log = get_logger("integrations.asgi")
_OWN = frozenset({
    b"connection", b"content-encoding", b"content-length", b"content-type", b"trailer", b"transfer-encoding",
    b"upgrade", b"x-request-id",
})  # fmt: skip
"""Headers that say how the answer is framed and whose it is; an error cannot change them."""
_LARGEST_BODY = 16_384
_LONGEST_DETAIL = 500
_NAME = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_FORBIDDEN = frozenset({*range(0x20), 0x7F})
_FIXED: tuple[tuple[bytes, bytes], ...] = (
    (b"content-type", b"application/problem+json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
_LAST_RESORT = b'{"type":"about:blank","title":"Internal Server Error","status":500,"code":"INTERNAL_ERROR"}'


class Changes(NamedTuple):
    """What an answer shows instead of the error's own."""

    status: int | None = None
    detail: str | None = None
    headers: Mapping[str, str] | None = None


_NO_CHANGES = Changes()


class ProblemAnswer:
    """An RFC 9457 answer, ready to be sent; an ASGI application.

    Args:
        error: What went wrong; what it conceals stays concealed.
        config: How errors are answered.
        changes: What is shown instead of the error's own.
        accept_language: The client's header, where there is a catalog.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        error: ResilienceError,
        config: ErrorHandlingConfig,
        changes: Changes | None = None,
        *,
        accept_language: str | None = None,
    ) -> None:
        try:
            self.status, self.headers, self.body = _render(
                error.for_outside(), config, changes or _NO_CHANGES, accept_language
            )
        except Exception as bug:  # noqa: BLE001 - an application's own property may raise anything; an answer goes out
            self.status, self.headers, self.body = _render_instead(error, config)
            _log.error("an error cannot be rendered", error=type(error).__name__, problem=describe(bug))

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it; as the refusal of a handshake where the request is one of a websocket."""
        prefix = "websocket.http" if scope["type"] == "websocket" else "http"
        await send({"type": f"{prefix}.response.start", "status": self.status, "headers": self.headers})
        await send({"type": f"{prefix}.response.body", "body": self.body})


def _render(
    error: ResilienceError, config: ErrorHandlingConfig, changes: Changes, accept_language: str | None
) -> tuple[int, Headers, bytes]:
    locale = None if config.catalog is None else negotiate_locale(accept_language, config.catalog.locales)
    document = _document(error, config, locale)
    status = sendable_status(error.status_code if changes.status is None else changes.status)
    if status != document["status"]:
        document |= {"status": status, "title": phrase(status)}
    if changes.detail is not None:
        document["detail"] = changes.detail
    body = _encoded(document)
    given = safe_headers(error.headers if changes.headers is None else changes.headers)
    own = _own_headers({name for name, _ in given}, error, status, document.get("retry_after"), locale)
    return status, [*_FIXED, *given, *own, _length(body)], body


def _render_instead(error: ResilienceError, config: ErrorHandlingConfig) -> tuple[int, Headers, bytes]:
    """What is sent for an error that cannot be told: a bug, under the id that the log knows."""
    try:
        return _render(InternalError(error_id=error.error_id), replace(config, catalog=None), _NO_CHANGES, None)
    except Exception:  # noqa: BLE001 - it has not even an id
        return 500, [*_FIXED, _length(_LAST_RESORT)], _LAST_RESORT


def sendable_status(status: object) -> int:
    """The status of an error; 500 for what HTTP does not know as one, because then no server would send the answer."""
    return int(status) if isinstance(status, int) and 400 <= status <= 599 else 500


def _encoded(document: dict[str, Any]) -> bytes:
    """As JSON. One that is too large for an error loses the end of its text, its context, and errors from the end."""
    body = _json(document)
    if len(body) > _LARGEST_BODY:
        document["detail"] = document["detail"][:_LONGEST_DETAIL]
        if len(_json(document.get("context"))) > _LARGEST_BODY // 4:
            del document["context"]
        while len(body := _json(document)) > _LARGEST_BODY and document.get("errors"):
            document["errors"] = document["errors"][: len(document["errors"]) // 2]
    return body


# What is encoded is plain data and has no circles.
_encode = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":")).encode


def _json(value: object) -> bytes:
    return _encode(value).encode("ascii")


def _own_headers(
    given: set[bytes], error: ResilienceError, status: int, wait: float | None, locale: str | None
) -> Headers:
    headers: Headers = []
    if wait is not None and b"retry-after" not in given:
        headers.append((b"retry-after", b"%d" % min(math.ceil(wait), 2**31)))
    if (status == 401 or isinstance(error, AuthenticationError)) and b"www-authenticate" not in given:
        headers.append((b"www-authenticate", b"Bearer"))
    if locale is not None:
        headers += [(b"vary", b"Accept-Language"), *safe_headers({"content-language": locale})]
    return headers


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(body)


def _document(error: ResilienceError, config: ErrorHandlingConfig, locale: str | None) -> dict[str, Any]:
    request = get_request_context()
    document = error.to_problem(
        type_base_uri=config.type_base_uri,
        domain=config.domain,
        request_id=None if request is None else request.request_id,
        catalog=config.catalog,
        locale=locale,
    )
    if request is not None and request.trace_id is not None:
        document["trace_id"] = request.trace_id
    return document


def safe_headers(headers: Mapping[str, str]) -> Headers:
    """The headers that may be sent: valid names and values, and none that would change how the answer is framed."""
    try:
        return list(_safe(headers.items())) if headers else []
    except Exception:  # noqa: BLE001 - an application may have put anything there
        return []


def _safe(headers: Iterable[tuple[object, object]]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in headers:
        if not isinstance(name, str) or not isinstance(value, str):
            continue
        try:
            raw_name, raw_value = name.lower().encode("ascii"), value.strip(" \t").encode("latin-1")
        except UnicodeEncodeError:
            continue
        if raw_name and _NAME.issuperset(raw_name) and raw_name not in _OWN and _FORBIDDEN.isdisjoint(raw_value):
            yield raw_name, raw_value
