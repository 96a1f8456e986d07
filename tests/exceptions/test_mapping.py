"""`map_exception`: what foreign exceptions mean in this library's terms."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import ssl

import aiohttp
import asyncpg
import fastapi.exceptions
import httpx
import httpx2
import psycopg
import pydantic
import pytest
import redis.exceptions
import requests
import sqlalchemy.exc
import starlette.exceptions
import starlette.requests
import trio
from pydantic import BaseModel

from creatormate_resilience.exceptions import (
    AlreadyExistsError,
    AuthenticationError,
    AuthorizationError,
    CacheError,
    CacheUnavailableError,
    ClientDisconnectedError,
    ConcurrencyLimitError,
    ConfigurationError,
    DatabaseError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    DataIntegrityError,
    ExternalAPIAuthError,
    ExternalAPIError,
    ExternalAPIProtocolError,
    ExternalAPIRateLimitedError,
    ExternalAPIRejectedError,
    ExternalAPITimeoutError,
    ExternalAPIUnavailableError,
    GoneError,
    InternalError,
    LockNotAcquiredError,
    MethodNotAllowedError,
    NotFoundError,
    OperationTimeoutError,
    PayloadTooLargeError,
    PoolExhaustedError,
    RateLimitExceededError,
    RequestError,
    ServiceUnavailableError,
    TransactionConflictError,
    UnsupportedMediaTypeError,
    map_exception,
    upstream_error,
)

BUILTIN = [
    (TimeoutError("x"), OperationTimeoutError),
    (trio.TooSlowError(), OperationTimeoutError),
    (ConnectionRefusedError("x"), ExternalAPIUnavailableError),
    (BrokenPipeError("x"), ExternalAPIUnavailableError),
    (socket.gaierror(-2, "x"), ExternalAPIUnavailableError),
    (ssl.SSLCertVerificationError("x"), ExternalAPIUnavailableError),
    (OSError(113, "No route to host"), ServiceUnavailableError),
    (FileNotFoundError(2, "x"), InternalError),
    (PermissionError(13, "x"), InternalError),
    (json.JSONDecodeError("x", "", 0), ExternalAPIProtocolError),
    (ValueError("x"), InternalError),
    (KeyError("x"), InternalError),
    (asyncio.CancelledError(), InternalError),
]

REDIS = [
    (redis.exceptions.AuthenticationError, ConfigurationError),
    (redis.exceptions.AuthorizationError, ConfigurationError),
    (redis.exceptions.NoPermissionError, ConfigurationError),
    (redis.exceptions.MaxConnectionsError, PoolExhaustedError),
    (redis.exceptions.ConnectionError, CacheUnavailableError),
    (redis.exceptions.BusyLoadingError, CacheUnavailableError),
    (redis.exceptions.TimeoutError, CacheUnavailableError),
    (redis.exceptions.ReadOnlyError, CacheUnavailableError),
    (redis.exceptions.OutOfMemoryError, CacheUnavailableError),
    (redis.exceptions.ClusterDownError, CacheUnavailableError),
    (redis.exceptions.TryAgainError, CacheUnavailableError),
    (redis.exceptions.LockError, LockNotAcquiredError),
    (redis.exceptions.ResponseError, CacheError),
    (redis.exceptions.DataError, CacheError),
]

SQLSTATES = [
    ("23505", AlreadyExistsError), ("23503", DataIntegrityError), ("23P01", DataIntegrityError),
    ("40001", TransactionConflictError), ("40P01", TransactionConflictError), ("55P03", TransactionConflictError),
    ("57014", DatabaseTimeoutError), ("53300", DatabaseUnavailableError), ("57P01", DatabaseUnavailableError),
    ("57P03", DatabaseUnavailableError), ("08006", DatabaseUnavailableError), ("25006", DatabaseUnavailableError),
    ("28P01", ConfigurationError), ("3D000", ConfigurationError), ("42601", DatabaseError), ("22012", DatabaseError),
]  # fmt: skip

HTTP_STATUSES = [
    (300, ExternalAPIProtocolError), (400, ExternalAPIRejectedError), (401, ExternalAPIAuthError),
    (403, ExternalAPIAuthError), (404, ExternalAPIRejectedError), (408, ExternalAPITimeoutError),
    (422, ExternalAPIRejectedError), (429, ExternalAPIRateLimitedError), (500, ExternalAPIError),
    (502, ExternalAPIError), (503, ExternalAPIUnavailableError), (504, ExternalAPITimeoutError),
]  # fmt: skip


def assert_maps(foreign: BaseException, expected: type[Exception]) -> None:
    """The mapped error is of exactly that type and keeps what happened as its cause."""
    error = map_exception(foreign)
    assert type(error) is expected
    assert error.__cause__ is foreign


@pytest.mark.parametrize(("foreign", "expected"), BUILTIN, ids=lambda value: getattr(value, "__name__", repr(value)))
def test_exceptions_of_the_standard_library(foreign, expected):
    """Timeouts and networks are known; a missing file or a bug is ours and not worth a retry."""
    assert_maps(foreign, expected)


@pytest.mark.parametrize("package", [httpx, httpx2])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PoolTimeout", ConcurrencyLimitError),
        ("ConnectTimeout", ExternalAPITimeoutError),
        ("ReadTimeout", ExternalAPITimeoutError),
        ("ConnectError", ExternalAPIUnavailableError),
        ("ReadError", ExternalAPIUnavailableError),
        ("ProxyError", ExternalAPIUnavailableError),
        ("RemoteProtocolError", ExternalAPIUnavailableError),
        ("DecodingError", ExternalAPIProtocolError),
        ("TooManyRedirects", ExternalAPIProtocolError),
        ("UnsupportedProtocol", ConfigurationError),
        ("InvalidURL", ConfigurationError),
    ],
)
def test_httpx_exceptions(package, name, expected):
    """The packages httpx and httpx2 have class trees of their own; both are known."""
    foreign = getattr(package, name)("x")
    assert_maps(foreign, expected)
    if issubclass(expected, ExternalAPIError):
        assert map_exception(foreign).service == package.__name__


@pytest.mark.parametrize("package", [httpx, httpx2])
@pytest.mark.parametrize(("status", "expected"), HTTP_STATUSES)
def test_httpx_statuses(package, status, expected):
    """An upstream's status says whose fault it is."""
    request = package.Request("GET", "https://api.example")
    response = package.Response(status, request=request)
    assert_maps(package.HTTPStatusError("x", request=request, response=response), expected)


@pytest.mark.parametrize(("status", "expected"), HTTP_STATUSES)
def test_requests_statuses(status, expected):
    """A `requests` response is falsy when it failed; it is read all the same."""
    response = requests.Response()
    response.status_code = status
    response.headers["Retry-After"] = "9"
    error = map_exception(requests.HTTPError("x", response=response))
    assert type(error) is (ExternalAPIRateLimitedError if status == 503 else expected)
    assert error.stated_retry_after == (9.0 if status in {429, 503} else None)


@pytest.mark.parametrize(
    ("foreign", "expected"),
    [
        (requests.ConnectTimeout("x"), ExternalAPITimeoutError),
        (requests.ReadTimeout("x"), ExternalAPITimeoutError),
        (requests.exceptions.SSLError("x"), ExternalAPIUnavailableError),
        (requests.ConnectionError("x"), ExternalAPIUnavailableError),
        (requests.exceptions.ChunkedEncodingError("x"), ExternalAPIUnavailableError),
        (requests.exceptions.ContentDecodingError("x"), ExternalAPIProtocolError),
        (requests.JSONDecodeError("x", "", 0), ExternalAPIProtocolError),
        (requests.TooManyRedirects("x"), ExternalAPIProtocolError),
        (requests.exceptions.InvalidURL("x"), ConfigurationError),
        (requests.exceptions.MissingSchema("x"), ConfigurationError),
        (requests.exceptions.InvalidSchema("x"), ConfigurationError),
        (requests.HTTPError("x"), ExternalAPIError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_requests_exceptions(foreign, expected):
    """All of them are OSErrors; none is taken for a fault of this machine."""
    assert_maps(foreign, expected)


@pytest.mark.parametrize(
    ("foreign", "expected"),
    [
        (aiohttp.ServerTimeoutError(), ExternalAPITimeoutError),
        (aiohttp.ServerDisconnectedError(), ExternalAPIUnavailableError),
        (aiohttp.ClientOSError(1, "x"), ExternalAPIUnavailableError),
        (aiohttp.ClientPayloadError("x"), ExternalAPIUnavailableError),
        (aiohttp.InvalidURL("x"), ConfigurationError),
        (aiohttp.ClientResponseError(None, (), status=404), ExternalAPIRejectedError),
        (aiohttp.ClientResponseError(None, (), status=429, headers={"retry-after": "3"}), ExternalAPIRateLimitedError),
        (aiohttp.ContentTypeError(None, (), status=200), ExternalAPIProtocolError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_aiohttp_exceptions(foreign, expected):
    """The client aiohttp's own timeouts, connections and statuses."""
    assert_maps(foreign, expected)


@pytest.mark.parametrize(("foreign", "expected"), REDIS)
def test_redis_exceptions(foreign, expected):
    """What is wrong with the configuration is told from a server that is away."""
    assert_maps(foreign("x"), expected)


@pytest.mark.parametrize(("sqlstate", "expected"), SQLSTATES)
def test_sqlstates(sqlstate, expected):
    """The SQLSTATE decides, bare from asyncpg and psycopg, and inside SQLAlchemy's wrapper."""
    bare = asyncpg.PostgresError("boom")
    bare.sqlstate = sqlstate
    assert_maps(bare, expected)
    assert_maps(sqlalchemy.exc.DBAPIError("SELECT 'hunter2'", {"p": "hunter2"}, bare), expected)
    assert "hunter2" not in str(map_exception(sqlalchemy.exc.DBAPIError("SELECT 'hunter2'", {"p": "hunter2"}, bare)))
    other = psycopg.Error("boom")
    other.sqlstate = sqlstate
    assert_maps(other, expected)


def test_database_errors_without_a_sqlstate():
    """A connection found dead, an exhausted pool, a lost psycopg connection."""
    assert_maps(
        sqlalchemy.exc.DBAPIError("SELECT 1", {}, Exception("x"), connection_invalidated=True), DatabaseUnavailableError
    )
    assert_maps(sqlalchemy.exc.TimeoutError("QueuePool limit"), PoolExhaustedError)
    assert_maps(psycopg.OperationalError("connection failed"), DatabaseUnavailableError)


def test_sqlite_errors_by_what_sqlite_says():
    """Real errors of a real database: a unique key, a check, a missing table, a file that cannot be opened."""
    with pytest.raises(sqlite3.Error) as unopened:
        sqlite3.connect("/nonexistent/x.db")
    assert_maps(unopened.value, DatabaseUnavailableError)
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER UNIQUE CHECK (b > 0))")
    connection.execute("INSERT INTO t VALUES (1, 1)")
    for statement, expected in (
        ("INSERT INTO t VALUES (1, 2)", AlreadyExistsError),
        ("INSERT INTO t VALUES (2, 1)", AlreadyExistsError),
        ("INSERT INTO t VALUES (3, -1)", DataIntegrityError),
        ("SELECT * FROM missing", DatabaseError),
    ):
        with pytest.raises(sqlite3.Error) as caught:
            connection.execute(statement)
        assert_maps(caught.value, expected)
    connection.close()


def test_a_locked_sqlite_database_is_a_conflict(tmp_path):
    """Another writer holds it: the transaction may be run again."""
    first = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    second = sqlite3.connect(tmp_path / "x.db", isolation_level=None, timeout=0)
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as caught:
        second.execute("BEGIN IMMEDIATE")
    assert_maps(caught.value, TransactionConflictError)
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, RequestError), (401, AuthenticationError), (404, NotFoundError), (405, MethodNotAllowedError),
        (410, GoneError), (413, PayloadTooLargeError), (415, UnsupportedMediaTypeError), (418, RequestError),
        (429, RateLimitExceededError), (500, InternalError), (503, ServiceUnavailableError),
        (504, OperationTimeoutError),
    ],
)  # fmt: skip
def test_the_frameworks_own_exceptions(status, expected):
    """A Starlette HTTPException means what its status says."""
    assert_maps(starlette.exceptions.HTTPException(status), expected)
    assert_maps(starlette.requests.ClientDisconnect(), ClientDisconnectedError)


def test_one_of_the_family_is_returned_as_it_is():
    """Nothing is wrapped twice."""
    error = NotFoundError("x")
    assert map_exception(error) is error


def test_an_error_that_is_falsy_is_still_itself():
    """A subclass that counts something and has a length of nought is not taken for nothing."""

    class EmptyBasketError(NotFoundError):
        def __len__(self) -> int:
            return 0

    error = EmptyBasketError("x")
    assert map_exception(error) is error


def test_a_group_with_one_leaf_counts_as_the_leaf():
    """Task groups wrap what happened in them; several leaves are more than one thing."""
    leaf = redis.exceptions.ConnectionError("x")
    assert_maps_leaf = map_exception(ExceptionGroup("a", [ExceptionGroup("b", [leaf])]))
    assert type(assert_maps_leaf) is CacheUnavailableError
    assert assert_maps_leaf.__cause__ is leaf


@pytest.mark.parametrize(
    ("leaves", "expected"),
    [
        ([NotFoundError("x"), TimeoutError("y")], OperationTimeoutError),
        ([TimeoutError("y"), ValueError("a bug")], InternalError),
        ([redis.exceptions.ConnectionError("x"), ValueError()], InternalError),
        ([NotFoundError("x"), AuthorizationError("y")], AuthorizationError),
        (
            [ExceptionGroup("b", [NotFoundError("x"), ConnectionError("z")]), NotFoundError()],
            ExternalAPIUnavailableError,
        ),
    ],
)
def test_a_group_counts_as_its_gravest_leaf(leaves, expected):
    """A server's fault before a client's, then by severity, then what is not worth trying again; none is lost."""
    group = ExceptionGroup("several", leaves)
    error = map_exception(group)
    assert type(error) is expected
    if error not in leaves:
        assert error.__cause__ is group
        assert all(type(leaf).__name__ in error.cause_chain[0] for leaf in leaves if type(leaf) is not ExceptionGroup)
    else:
        assert error.__cause__ is None  # the group holds it; a circle would hang who walks it


class Login(BaseModel):
    """What somebody sends."""

    token: int


def test_validation_errors_are_told_without_what_was_validated():
    """Their own text shows the rejected value, which may be a password."""
    with pytest.raises(pydantic.ValidationError) as caught:
        Login(token="hunter2")  # type: ignore[arg-type]
    errors = [{"type": "int_parsing", "loc": ("query", "token"), "msg": "x", "input": "hunter2"}]
    for exc in (caught.value, fastapi.exceptions.WebSocketRequestValidationError(errors)):
        error = map_exception(exc)
        assert "hunter2" not in str(error)
        assert "hunter2" not in str(error.cause_chain)
        assert "token: int_parsing" in str(error)


@pytest.mark.parametrize("thing", ["x", ValueError, None])
def test_what_is_no_exception_is_refused(thing):
    """With what is accepted."""
    with pytest.raises(TypeError, match="accepted is an exception"):
        map_exception(thing)


def test_an_empty_account_at_openai_is_not_worth_waiting_for():
    """429 with `insufficient_quota`: the account has run dry, later is no better; `code` says which 429 it is."""
    limit = type("RateLimitError", (Exception,), {"__module__": "openai", "status_code": 429})
    empty, busy = limit("no money"), limit("slow down")
    empty.code, busy.code = "insufficient_quota", "rate_limit_exceeded"
    busy.response = httpx2.Response(429, headers={"retry-after": "1"})
    assert (map_exception(empty).retryable, map_exception(busy).retryable) == (False, True)
    assert map_exception(busy).retry_after == 1.0


def test_a_subclass_is_mapped_as_its_nearest_known_parent():
    """Libraries on top of httpx or redis need no rules of their own."""

    class MyTimeout(httpx.ReadTimeout):
        pass

    assert_maps(MyTimeout("x"), ExternalAPITimeoutError)


@pytest.mark.parametrize("base", [ValueError, sqlite3.Error, asyncpg.PostgresError, httpx.ConnectError])
def test_mapping_never_raises(base):
    """An exception that cannot be printed, with attributes that raise, is mapped all the same."""

    class Hostile(base):
        def __str__(self) -> str:
            raise RuntimeError("no text for you")

        @property
        def orig(self) -> object:
            raise RuntimeError("no origin for you")

        @property
        def headers(self) -> object:
            raise RuntimeError("no headers for you")

    map_exception(Hostile("x"))


def test_a_hostile_response_is_mapped():
    """Headers that are no mapping, a status that is no number."""

    class Response:
        status_code = "500"
        headers = 7

    error = requests.HTTPError("x", response=Response())
    assert_maps(error, ExternalAPIError)
    Response.status_code = 503
    assert_maps(error, ExternalAPIUnavailableError)


@pytest.mark.parametrize("status", [0, 200, 399, 1000])
def test_upstream_error_wants_a_failing_status(status):
    """A status that is no failure is an error of whoever calls this."""
    with pytest.raises(ValueError, match="400 to 599"):
        upstream_error("OpenAI", status)


def test_upstream_error_reads_the_wait():
    """503 with a Retry-After asks us to come back, 503 without is away."""
    assert upstream_error("OpenAI", 503, retry_after="4").stated_retry_after == 4.0
    assert type(upstream_error("OpenAI", 503)) is ExternalAPIUnavailableError
