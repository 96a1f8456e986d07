"""What is known about the request being served, carried in a ContextVar: ids, client, method, route, trace.

It is made from an ASGI scope. Only the request id is worked out at once; the rest when it is first asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

__all__ = ("RequestContext", "get_request_context", "read_request_id", "request_scope")

_Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[\x20-\x7e]*)?"
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"})


class _Trace(NamedTuple):
    trace_id: str
    parent_id: str
    sampled: bool


class _Unread:
    """Stands where nothing was worked out yet, because None is an answer."""


class RequestContext:
    """One HTTP request or websocket.

    Args:
        scope: The ASGI scope. It is kept, because routing writes into it later.
        resolve_client_ip: Finds the client from the peer and the headers, such as `ClientIPResolver(...).resolve`.

    Attributes:
        request_id: The `X-Request-ID` that came, where it is a good one; else a new one.
        error_id: Of the error that was reported last for it; None while all is well.
    """

    __slots__ = ("_client_ip", "_headers", "_resolve_client_ip", "_scope", "_trace", "error_id", "request_id")

    def __init__(
        self, scope: Mapping[str, Any], resolve_client_ip: Callable[[str | None, _Headers], str | None]
    ) -> None:
        self._headers: _Headers = scope.get("headers", ())
        self.request_id: str = read_request_id(self._headers)
        self.error_id: str | None = None
        self._scope = scope
        self._resolve_client_ip = resolve_client_ip
        self._client_ip: str | type[_Unread] | None = _Unread
        self._trace: _Trace | type[_Unread] | None = _Unread

    @property
    def client_ip(self) -> str | None:
        """The client's address as the resolver sees it; None where it is not known."""
        if isinstance(self._client_ip, type):
            client = self._scope.get("client")
            self._client_ip = self._resolve_client_ip(client[0] if client else None, self._headers)
        return self._client_ip

    @property
    def method(self) -> str:
        """The HTTP method, GET for a websocket; `_OTHER` for what is none, so that clients cannot make up labels."""
        method = self._scope.get("method", "GET")
        return method if method in _METHODS else "_OTHER"

    @property
    def route(self) -> str | None:
        """The path as the application declared it, such as `/items/{id}`, with the prefixes of mounts and routers.

        None before routing, where nothing matched, and where the framework does not tell: FastAPI names its own routes
        and Starlette (1.10) all; a middleware between here and the router that copies the scope hides it.
        """
        return _route(self._scope)

    @property
    def trace_id(self) -> str | None:
        """The trace that the caller is part of, from a valid W3C `traceparent`: 32 hexadecimal digits."""
        trace = self._read_trace()
        return None if trace is None else trace.trace_id

    @property
    def parent_id(self) -> str | None:
        """The caller's span in that trace: 16 hexadecimal digits."""
        trace = self._read_trace()
        return None if trace is None else trace.parent_id

    @property
    def sampled(self) -> bool | None:
        """Whether the caller records that trace."""
        trace = self._read_trace()
        return None if trace is None else trace.sampled

    def _read_trace(self) -> _Trace | None:
        if isinstance(self._trace, type):
            self._trace = _parse_traceparent(self._headers)
        return self._trace

    def __repr__(self) -> str:
        return f"<RequestContext request_id={self.request_id!r} trace_id={self.trace_id!r}>"


_current: ContextVar[RequestContext | None] = ContextVar("creatormate_resilience_request", default=None)


def get_request_context() -> RequestContext | None:
    """The request being served in the current context, or None."""
    return _current.get()


class request_scope:  # noqa: N801 - used like a function
    """Make this the current request for a `with` block; None says that what runs inside belongs to no request.

    Args:
        context: The request.
    """

    __slots__ = ("_context", "_token")

    def __init__(self, context: RequestContext | None) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = _current.set(self._context)

    def __exit__(self, *_exc_info: object) -> None:
        _current.reset(self._token)


def read_request_id(headers: _Headers) -> str:
    """The request's id as the caller gave it, or a new one.

    Args:
        headers: Names (in lower case) and values, as in `scope["headers"]`.

    Returns:
        The `X-Request-ID` if there is exactly one and it has 8 to 64 of `A-Z a-z 0-9 . _ -`, so that it can stand in
        logs and headers as it is; else 32 random hexadecimal digits.
    """
    given = [value for name, value in headers if name == b"x-request-id"]
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return given[0].decode("ascii")
    return os.urandom(16).hex()


def _parse_traceparent(headers: _Headers) -> _Trace | None:
    """Read as https://www.w3.org/TR/trace-context/ section 3.2 says: a later version by the fields of version 00."""
    given = [value for name, value in headers if name == b"traceparent"]
    match = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    if match is None or (match[1] == b"00" and match[5] is not None):
        return None
    return _Trace(match[2].decode("ascii"), match[3].decode("ascii"), bool(int(match[4], 16) & 1))


def _route(scope: Mapping[str, Any]) -> str | None:
    prefix = _mounted_at(scope)
    if prefix is None:
        return None
    route: Any = scope.get("route")
    # FastAPI's routes do not know the prefixes of the routers that include them; what it leaves here does.
    fastapi: Mapping[str, Any] = scope.get("fastapi") or {}
    included: Any = fastapi.get("effective_route_context")
    for declared in (getattr(included, "starlette_route", None), included, route):
        if _is_mount(declared):  # nothing inside said more, and the prefix holds its path
            return prefix or None
        path = getattr(declared, "path", None)
        if path and isinstance(path, str):
            return f"{prefix}{path}"
    return None


def _mounted_at(scope: Mapping[str, Any]) -> str | None:
    """The paths that the mounts on the way declare; None where they cannot be told from the raw `root_path`."""
    outermost = scope.get("app_root_path")  # set by the first mount
    if outermost is None:
        return ""
    routes: Iterable[Any] = getattr(scope.get("router"), "routes", ())
    raw: str = scope["root_path"].removeprefix(outermost)
    template = ""
    while raw:
        for mount in filter(_is_mount, routes):
            if (match := mount.path_regex.match(f"{raw}/")) is not None:
                break
        else:
            return None
        template += mount.path
        raw = f"/{match['path']}".removesuffix("/")
        routes = mount.routes
    return template


def _is_mount(route: object) -> bool:
    return hasattr(route, "routes") and hasattr(route, "path_regex")
