"""Foreign exceptions in this library's terms, recognised by dotted name so that nothing optional is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

from creatormate_resilience.exceptions._chain import dotted_name, group_leaves, printed
from creatormate_resilience.exceptions._database import from_database
from creatormate_resilience.exceptions._mappers import own_mapping
from creatormate_resilience.exceptions._request import (
    AuthenticationError,
    AuthorizationError,
    ClientDisconnectedError,
    ConcurrencyLimitError,
    ConflictError,
    GoneError,
    InputValidationError,
    MethodNotAllowedError,
    NotFoundError,
    PayloadTooLargeError,
    RateLimitExceededError,
    RequestError,
    StaleVersionError,
    UnsupportedMediaTypeError,
)
from creatormate_resilience.exceptions._resource import (
    CacheError,
    CacheUnavailableError,
    LockNotAcquiredError,
    PoolExhaustedError,
)
from creatormate_resilience.exceptions._root import ResilienceError
from creatormate_resilience.exceptions._service import (
    ConfigurationError,
    InternalError,
    OperationTimeoutError,
    ServiceUnavailableError,
)
from creatormate_resilience.exceptions._upstream import (
    ExternalAPIError,
    ExternalAPIProtocolError,
    ExternalAPIRateLimitedError,
    ExternalAPITimeoutError,
    ExternalAPIUnavailableError,
    upstream_error,
)

__all__ = ("known_mapping", "map_exception")

Rule = Callable[[BaseException], ResilienceError]


def map_exception(exc: BaseException) -> ResilienceError:
    """Translate any exception into this library's family.

    Args:
        exc: What was caught. One of the family is returned as it is. A group counts as its gravest leaf: a server's
            fault before a client's, then by severity, then what is not worth trying again.

    Returns:
        The error, with `exc` as its cause; `InternalError` where nothing better is known.
    """
    if not isinstance(exc, BaseException):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"exc is {exc!r:.100}; accepted is an exception")
    leaf = _single_leaf(exc)
    if isinstance(leaf, BaseExceptionGroup):
        return _gravest(cast("BaseExceptionGroup[BaseException]", leaf))
    known = known_mapping(leaf)
    return InternalError(type(leaf).__name__).with_cause(leaf) if known is None else known


def _gravest(group: BaseExceptionGroup[BaseException]) -> ResilienceError:
    leaves = group_leaves(group)
    errors = map(map_exception, leaves)
    worst = max(errors, key=lambda error: (error.status_code // 100, error.severity, not error.retryable))
    if worst not in leaves:  # made here for a foreign leaf: its chain then tells of the others too
        worst.__cause__ = group
    return worst


def known_mapping(exc: BaseException) -> ResilienceError | None:
    """Like `map_exception`, but None for an exception that no rule knows."""
    exc = _single_leaf(exc)
    if isinstance(exc, ResilienceError):
        return exc
    for cls in type(exc).__mro__:
        name = dotted_name(cls)
        if (own := own_mapping(name, exc)) is not None:
            return own if own.__cause__ is not None else own.with_cause(exc)
        if (rule := _RULES.get(name)) is not None:
            return _apply(rule, exc)
    return None


def _apply(rule: Rule, exc: BaseException) -> ResilienceError | None:
    try:
        return rule(exc).with_cause(exc)
    except Exception:  # noqa: BLE001 - a foreign exception's text and attributes may raise anything; then it is unknown
        return None


def _single_leaf(exc: BaseException) -> BaseException:
    while isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        if len(group.exceptions) != 1:
            return group
        exc = group.exceptions[0]
    return exc


def _plainly(cls: Callable[[str], ResilienceError]) -> Rule:
    return lambda exc: cls(_message(exc))


def _upstream(cls: Callable[[str, str], ResilienceError]) -> Rule:
    return lambda exc: cls(_package(exc), _message(exc))


def _message(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {printed(exc)[:2048]}"


def _package(exc: BaseException) -> str:
    return type(exc).__module__.partition(".")[0]


def _from_response(exc: BaseException) -> ResilienceError:
    response: Any = getattr(exc, "response", None)
    status = getattr(exc, "status_code", None) or getattr(exc, "status", None) or getattr(response, "status_code", None)
    headers: Any = getattr(exc, "headers", None) or getattr(response, "headers", None)
    wait = headers.get("retry-after") if isinstance(headers, Mapping) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if isinstance(status, int) and 400 <= status < 600:
        return upstream_error(_package(exc), status, retry_after=wait, detail=_message(exc))  # pyright: ignore[reportUnknownArgumentType]
    # A redirect nobody followed, or an answer that is not what was asked for: the next one will be the same.
    cls = ExternalAPIProtocolError if isinstance(status, int) else ExternalAPIError
    return cls(_package(exc), _message(exc))


_HTTP_STATUS: Mapping[int, Callable[[str], ResilienceError]] = MappingProxyType({
    401: AuthenticationError, 403: AuthorizationError, 404: NotFoundError, 405: MethodNotAllowedError,
    409: ConflictError, 410: GoneError, 412: StaleVersionError, 413: PayloadTooLargeError,
    415: UnsupportedMediaTypeError, 422: InputValidationError, 429: RateLimitExceededError,
    503: ServiceUnavailableError, 504: OperationTimeoutError,
})  # fmt: skip


def _from_openai_limit(exc: BaseException) -> ResilienceError:
    error = _from_response(exc)
    if getattr(exc, "code", None) == "insufficient_quota":  # the account is empty; waiting does not fill it
        return ExternalAPIRateLimitedError("openai", error.detail, retryable=False)
    return error


def _from_framework(exc: BaseException) -> ResilienceError:
    status = getattr(exc, "status_code", 500)
    cls = _HTTP_STATUS.get(status) or (RequestError if 400 <= status < 500 else InternalError)
    return cls(_message(exc))


def _httpx(package: str) -> dict[str, Rule]:
    return {
        f"{package}.PoolTimeout": _plainly(ConcurrencyLimitError),
        f"{package}.TimeoutException": _upstream(ExternalAPITimeoutError),
        f"{package}.NetworkError": _upstream(ExternalAPIUnavailableError),
        f"{package}.ProxyError": _upstream(ExternalAPIUnavailableError),
        # Connections that die unnoticed end like this; httpx cannot tell it from an answer that makes no sense.
        f"{package}.RemoteProtocolError": _upstream(ExternalAPIUnavailableError),
        f"{package}.ProtocolError": _upstream(ExternalAPIProtocolError),
        f"{package}.DecodingError": _upstream(ExternalAPIProtocolError),
        f"{package}.TooManyRedirects": _upstream(ExternalAPIProtocolError),
        f"{package}.UnsupportedProtocol": _plainly(ConfigurationError),
        f"{package}.InvalidURL": _plainly(ConfigurationError),
        f"{package}.HTTPStatusError": _from_response,
    }


_RULES: Mapping[str, Rule] = MappingProxyType({
    "builtins.TimeoutError": _plainly(OperationTimeoutError),
    "trio.TooSlowError": _plainly(OperationTimeoutError),
    "builtins.ConnectionError": _upstream(ExternalAPIUnavailableError),
    "socket.gaierror": _upstream(ExternalAPIUnavailableError),
    "ssl.SSLError": _upstream(ExternalAPIUnavailableError),
    "json.decoder.JSONDecodeError": _upstream(ExternalAPIProtocolError),
    **_httpx("httpx"),
    **_httpx("httpx2"),
    "requests.exceptions.ConnectTimeout": _upstream(ExternalAPITimeoutError),
    "requests.exceptions.Timeout": _upstream(ExternalAPITimeoutError),
    "requests.exceptions.ConnectionError": _upstream(ExternalAPIUnavailableError),
    "requests.exceptions.HTTPError": _from_response,
    "requests.exceptions.ChunkedEncodingError": _upstream(ExternalAPIUnavailableError),
    "requests.exceptions.ContentDecodingError": _upstream(ExternalAPIProtocolError),
    "requests.exceptions.InvalidJSONError": _upstream(ExternalAPIProtocolError),
    "requests.exceptions.TooManyRedirects": _upstream(ExternalAPIProtocolError),
    "requests.exceptions.MissingSchema": _plainly(ConfigurationError),
    "requests.exceptions.InvalidSchema": _plainly(ConfigurationError),
    "requests.exceptions.InvalidURL": _plainly(ConfigurationError),
    "requests.exceptions.RequestException": _upstream(ExternalAPIError),
    "aiohttp.client_exceptions.ServerTimeoutError": _upstream(ExternalAPITimeoutError),
    "aiohttp.client_exceptions.ClientResponseError": _from_response,
    "aiohttp.client_exceptions.ClientPayloadError": _upstream(ExternalAPIUnavailableError),
    "aiohttp.client_exceptions.ClientConnectionError": _upstream(ExternalAPIUnavailableError),
    "aiohttp.client_exceptions.InvalidURL": _plainly(ConfigurationError),
    "openai.APITimeoutError": _upstream(ExternalAPITimeoutError),
    "openai.APIConnectionError": _upstream(ExternalAPIUnavailableError),
    "openai.APIResponseValidationError": _upstream(ExternalAPIProtocolError),
    "openai.RateLimitError": _from_openai_limit,
    "openai.APIStatusError": _from_response,
    "redis.exceptions.AuthenticationError": _plainly(ConfigurationError),
    "redis.exceptions.AuthorizationError": _plainly(ConfigurationError),
    "redis.exceptions.NoPermissionError": _plainly(ConfigurationError),
    "redis.exceptions.MaxConnectionsError": _plainly(PoolExhaustedError),
    "redis.exceptions.ConnectionError": _plainly(CacheUnavailableError),
    "redis.exceptions.TimeoutError": _plainly(CacheUnavailableError),
    "redis.exceptions.ReadOnlyError": _plainly(CacheUnavailableError),
    "redis.exceptions.OutOfMemoryError": _plainly(CacheUnavailableError),
    "redis.exceptions.ClusterDownError": _plainly(CacheUnavailableError),
    "redis.exceptions.TryAgainError": _plainly(CacheUnavailableError),
    "redis.exceptions.LockError": _plainly(LockNotAcquiredError),
    "redis.exceptions.RedisError": _plainly(CacheError),
    "sqlalchemy.exc.TimeoutError": _plainly(PoolExhaustedError),
    "sqlalchemy.exc.DBAPIError": from_database,
    "asyncpg.exceptions._base.PostgresError": from_database,
    "psycopg.Error": from_database,
    "sqlite3.Error": from_database,
    "starlette.exceptions.HTTPException": _from_framework,
    "starlette.requests.ClientDisconnect": _plainly(ClientDisconnectedError),
    "starlette.websockets.WebSocketDisconnect": _plainly(ClientDisconnectedError),
    "fastapi.exceptions.WebSocketRequestValidationError": _plainly(InputValidationError),
    "fastapi.exceptions.RequestValidationError": _plainly(InputValidationError),
    # Our own data did not fit our own model: a bug of ours, not the client's.
    "fastapi.exceptions.ResponseValidationError": _plainly(InternalError),
    "pydantic_core._pydantic_core.ValidationError": _plainly(InternalError),
    # Files that are missing or forbidden are a fault of the installation; waiting does not bring them.
    "builtins.FileNotFoundError": _plainly(InternalError),
    "builtins.FileExistsError": _plainly(InternalError),
    "builtins.IsADirectoryError": _plainly(InternalError),
    "builtins.NotADirectoryError": _plainly(InternalError),
    "builtins.PermissionError": _plainly(InternalError),
    "builtins.OSError": _plainly(ServiceUnavailableError),
})  # fmt: skip

ResilienceError.advise = staticmethod(known_mapping)
