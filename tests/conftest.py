"""Fixtures for the whole suite: real servers, clean for each test, with or without a fault proxy in front.

Which one to take:

- `redis_url`, `postgres_url`: an empty Redis, an empty database. What most tests want.
- `redis_server`, `postgres_server`: the same servers, shared by the run, to kill, freeze and restart. They serve again
  after the test, whatever it did to them.
- `redis_proxy`, `postgres_proxy`: a `FaultProxy` in front of them; `redis_proxy.url_for(redis_url)` leads through it.
- `own_redis_server`, `own_postgres_server`: one for this test alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pytest

from creatormate_resilience.testing import FaultProxy
from servers import MissingServerError, PostgresServer, RedisServer, Server, find_postgres, find_redis

_SHARED_SERVERS = frozenset({"redis_server", "postgres_server"})
_SERVERS = _SHARED_SERVERS | {"own_redis_server", "own_postgres_server"}


def pytest_report_header() -> str:
    """Name the servers this run uses."""
    return f"servers: {_found(find_redis)}; {_found(find_postgres)}"


def _found(find: Callable[[], object]) -> str:
    try:
        return str(find())
    except MissingServerError as error:  # the tests that need it fail with this; the others can run
        return str(error)


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses a server."""
    for item in items:
        if _SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    """Refuse async fixtures that outlive a test: while one is open, every test runs on its event loop.

    A test that asks for trio would then run on asyncio without a word.
    """
    is_async = inspect.iscoroutinefunction(fixturedef.func) or inspect.isasyncgenfunction(fixturedef.func)
    if is_async and fixturedef.scope != "function":
        pytest.fail(f"fixture {fixturedef.argname} is async and of scope {fixturedef.scope!r}; accepted is 'function'")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Plain asyncio, unless a test asks for another."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The Redis or Valkey server shared by the run."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The PostgreSQL server shared by the run."""
    with PostgresServer() as server:
        server.create_database("test")
        yield server


@pytest.fixture(autouse=True)
def _shared_servers_serve_again(request: pytest.FixtureRequest) -> Iterator[None]:
    servers: list[Server] = [request.getfixturevalue(name) for name in _SHARED_SERVERS & set(request.fixturenames)]
    yield
    for server in servers:
        server.restore()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """URL of an empty PostgreSQL database. Whoever was still connected to it is disconnected."""
    postgres_server.empty_database("test")
    return postgres_server.url_of("test")


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """A Redis or Valkey server of this test alone."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test alone; takes half a second to make."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def redis_proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """A fault proxy in front of the shared Redis."""
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def postgres_proxy(postgres_server: PostgresServer) -> Iterator[FaultProxy]:
    """A fault proxy in front of the shared PostgreSQL."""
    with FaultProxy("127.0.0.1", postgres_server.port) as proxy:
        yield proxy
