"""Foreign exceptions in this library's terms, recognised by dotted name so that nothing optional is imported."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

from creatormate_resilience.exceptions._problem import parse_retry_after
from creatormate_resilience.exceptions._request import (
    AlreadyExistsError,
    AuthenticationError,
    AuthorizationError,
    ClientDisconnectedError,
    ConcurrencyLimitError,
    ConflictError,
    InputValidationError,
    NotFoundError,
    RateLimitExceededError,
    RequestError,
)
from creatormate_resilience.exceptions._resource import (
    CacheError,
    CacheUnavailableError,
    DatabaseError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    DataIntegrityError,
    LockNotAcquiredError,
    PoolExhaustedError,
    TransactionConflictError,
)
from creatormate_resilience.exceptions._root import ResilienceError
from creatormate_resilience.exceptions._service import (
    ConfigurationError,
    InternalError,
    OperationTimeoutError,
    ServiceUnavailableError,
)
from creatormate_resilience.exceptions._upstream import (
    ExternalAPIAuthError,
    ExternalAPIError,
    ExternalAPIProtocolError,
    ExternalAPIRateLimitedError,
    ExternalAPIRejectedError,
    ExternalAPITimeoutError,
    ExternalAPIUnavailableError,
)

__all__ = ("known_mapping", "map_exception", "upstream_error")

Rule = Callable[[BaseException], ResilienceError]


def map_exception(exc: BaseException) -> ResilienceError:
    """Translate any exception into this library's family.

    Args:
        exc: What was caught. One of the family is returned as it is; a group with a single leaf counts as that leaf.

    Returns:
        The error, with `exc` as its cause; `InternalError` where nothing better is known.
    """
    leaf = _single_leaf(exc)
    return known_mapping(leaf) or InternalError(type(leaf).__name__).with_cause(leaf)


def known_mapping(exc: BaseException) -> ResilienceError | None:
    """Like `map_exception`, but None for an exception that no rule knows."""
    if isinstance(exc, ResilienceError):
        return exc
    for cls in type(exc).__mro__:
        rule = _RULES.get(f"{cls.__module__}.{cls.__qualname__}")
        if rule is not None:
            return rule(exc).with_cause(exc)
    return None


def _single_leaf(exc: BaseException) -> BaseException:
    while isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        if len(group.exceptions) != 1:
            return group
        exc = group.exceptions[0]
    return exc


def upstream_error(
    service: str, status: int, *, retry_after: str | None = None, detail: str | None = None
) -> ExternalAPIError:
    """The error that an upstream's HTTP status means for us.

    Args:
        service: Name of the upstream.
        status: Its HTTP status, 400 or above.
        retry_after: Its Retry-After header, as received.
        detail: For operators.

    Returns:
        401 and 403 are our credentials' fault, 429 our rate's, 408 and 504 time, other 4xx our request's, 5xx theirs.
    """
    wait = None if retry_after is None else parse_retry_after(retry_after, now=time.time())
    if status in {401, 403}:
        return ExternalAPIAuthError(service, detail)
    if status == 429 or (status == 503 and wait is not None):
        return ExternalAPIRateLimitedError(service, detail, retry_after=wait)
    if status in {408, 504}:
        return ExternalAPITimeoutError(service, detail)
    if status < 500:
        return ExternalAPIRejectedError(service, detail)
    return ExternalAPIUnavailableError(service, detail) if status == 503 else ExternalAPIError(service, detail)


def _plainly(cls: Callable[[str], ResilienceError]) -> Rule:
    return lambda exc: cls(_message(exc))


def _upstream(cls: Callable[[str, str], ResilienceError]) -> Rule:
    return lambda exc: cls(_package(exc), _message(exc))


def _message(exc: BaseException) -> str:
    try:
        return f"{type(exc).__name__}: {exc}"[:2048]
    except Exception:  # noqa: BLE001 - a foreign __str__ may raise anything
        return type(exc).__name__


def _package(exc: BaseException) -> str:
    return type(exc).__module__.partition(".")[0]


def _from_response(exc: BaseException) -> ResilienceError:
    response: Any = getattr(exc, "response", None)
    status = getattr(exc, "status_code", None) or getattr(exc, "status", None) or getattr(response, "status_code", None)
    headers: Any = getattr(exc, "headers", None) or getattr(response, "headers", None) or {}
    if not isinstance(status, int) or status < 400:
        return ExternalAPIError(_package(exc), _message(exc))
    return upstream_error(_package(exc), status, retry_after=headers.get("retry-after"), detail=_message(exc))


_HTTP_STATUS: Mapping[int, Callable[[str], ResilienceError]] = MappingProxyType({
    401: AuthenticationError, 403: AuthorizationError, 404: NotFoundError, 409: ConflictError,
    422: InputValidationError, 429: RateLimitExceededError, 503: ServiceUnavailableError,
})  # fmt: skip


def _from_framework(exc: BaseException) -> ResilienceError:
    status = getattr(exc, "status_code", 500)
    cls = _HTTP_STATUS.get(status) or (RequestError if 400 <= status < 500 else InternalError)
    return cls(_message(exc))


_SQLSTATE: Mapping[str, Callable[[str], ResilienceError]] = MappingProxyType({
    "23505": AlreadyExistsError, "23": DataIntegrityError, "40001": TransactionConflictError,
    "40P01": TransactionConflictError, "55P03": TransactionConflictError, "57014": DatabaseTimeoutError,
    "53": DatabaseUnavailableError, "57P": DatabaseUnavailableError, "08": DatabaseUnavailableError,
    "25006": DatabaseUnavailableError, "28": ConfigurationError, "3D": ConfigurationError,
})  # fmt: skip


def sqlstate_error(sqlstate: str, detail: str) -> ResilienceError:
    """The error that a SQLSTATE means: the whole code decides, else its class."""
    for length in (5, 3, 2):
        if cls := _SQLSTATE.get(sqlstate[:length]):
            return cls(detail)
    return DatabaseError(detail)


def _from_database(exc: BaseException) -> ResilienceError:
    origin: Any = getattr(exc, "orig", None) or exc
    # SQLAlchemy prints SQL and parameters; the driver's own first line is what an operator needs.
    detail = f"{type(origin).__name__}: {str(origin).partition(chr(10))[0]}"[:512]
    sqlstate = getattr(origin, "sqlstate", None)
    if isinstance(sqlstate, str):
        return sqlstate_error(sqlstate, detail)
    if getattr(exc, "connection_invalidated", False):
        return DatabaseUnavailableError(detail)
    return _from_sqlite(origin, detail)


def _from_sqlite(origin: Any, detail: str) -> ResilienceError:
    name = str(getattr(origin, "sqlite_errorname", "") or "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return TransactionConflictError(detail)
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_READONLY")):
        return DatabaseUnavailableError(detail)
    if name in {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}:
        return AlreadyExistsError(detail)
    return DataIntegrityError(detail) if name.startswith("SQLITE_CONSTRAINT") else DatabaseError(detail)


def _httpx(package: str) -> dict[str, Rule]:
    return {
        f"{package}.PoolTimeout": _plainly(ConcurrencyLimitError),
        f"{package}.TimeoutException": _upstream(ExternalAPITimeoutError),
        f"{package}.NetworkError": _upstream(ExternalAPIUnavailableError),
        f"{package}.ProxyError": _upstream(ExternalAPIUnavailableError),
        f"{package}.ProtocolError": _upstream(ExternalAPIProtocolError),
        f"{package}.DecodingError": _upstream(ExternalAPIProtocolError),
        f"{package}.TooManyRedirects": _upstream(ExternalAPIProtocolError),
        f"{package}.UnsupportedProtocol": _plainly(ConfigurationError),
        f"{package}.InvalidURL": _plainly(ConfigurationError),
        f"{package}.HTTPStatusError": _from_response,
    }


_RULES: Mapping[str, Rule] = MappingProxyType({
    "builtins.TimeoutError": _plainly(OperationTimeoutError),
    "builtins.ConnectionError": _upstream(ExternalAPIUnavailableError),
    "socket.gaierror": _upstream(ExternalAPIUnavailableError),
    "ssl.SSLError": _upstream(ExternalAPIUnavailableError),
    "json.decoder.JSONDecodeError": _upstream(ExternalAPIProtocolError),
    **_httpx("httpx"),
    **_httpx("httpx2"),
    "requests.exceptions.Timeout": _upstream(ExternalAPITimeoutError),
    "requests.exceptions.ConnectionError": _upstream(ExternalAPIUnavailableError),
    "requests.exceptions.HTTPError": _from_response,
    "aiohttp.client_exceptions.ServerTimeoutError": _upstream(ExternalAPITimeoutError),
    "aiohttp.client_exceptions.ClientResponseError": _from_response,
    "aiohttp.client_exceptions.ClientPayloadError": _upstream(ExternalAPIProtocolError),
    "aiohttp.client_exceptions.ClientConnectionError": _upstream(ExternalAPIUnavailableError),
    "openai.APITimeoutError": _upstream(ExternalAPITimeoutError),
    "openai.APIConnectionError": _upstream(ExternalAPIUnavailableError),
    "openai.APIResponseValidationError": _upstream(ExternalAPIProtocolError),
    "openai.APIStatusError": _from_response,
    "redis.exceptions.AuthenticationError": _plainly(ConfigurationError),
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
    "sqlalchemy.exc.DBAPIError": _from_database,
    "asyncpg.exceptions._base.PostgresError": _from_database,
    "sqlite3.Error": _from_database,
    "starlette.exceptions.HTTPException": _from_framework,
    "starlette.requests.ClientDisconnect": _plainly(ClientDisconnectedError),
    "fastapi.exceptions.RequestValidationError": _plainly(InputValidationError),
    "builtins.OSError": _plainly(ServiceUnavailableError),
})  # fmt: skip

ResilienceError.advise = staticmethod(known_mapping)
