"""Opening Redis: clear errors at the call, no secret in any of them, short waits, and a real server at the end."""

from __future__ import annotations

import asyncio
import time
import traceback
from typing import Any

import pytest
import redis.exceptions

from creatormate_resilience.exceptions import ConfigurationError, MissingDependencyError
from creatormate_resilience.redis_client import open_redis
from servers import RedisServer

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:hunter2@localhost:notaport/0", "no valid port"),
        ("redis://:hunter2@localhost:0/0", "no valid port"),
        ("redis://:hunter2@localhost:99999/0", "no valid port"),
        ("redis://:hunter2@[::1/0", "no valid port"),
        ("redis://:hun/hunter2@localhost:6379/0", "no valid port"),
        ("redis://u:12/hunter2@localhost:6379/0", "database"),
        ("http://:hunter2@localhost:6379", "not a Redis URL"),
        ("localhost:6379?password=hunter2", "not a Redis URL"),
        ("u:hunter2@localhost:6379", "not a Redis URL"),
        ("", "not a Redis URL"),
        ("redis://", "names no host"),
        ("rediss://:hunter2@:6379", "names no host"),
        ("unix://", "names no path"),
        ("redis://:hunter2@localhost/zero", "database"),
        (
            "redis://:hunter2@localhost/0?socket_timeout=soon&x=hunter2",
            "the option socket_timeout that is not accepted",
        ),
        ("redis://localhost/0?decode_responses=hunter2", "the option decode_responses that is not accepted"),
        ("redis://localhost/0?retry_on_timeout=1&password=hunter2", "the option retry_on_timeout that is not accepted"),
        ("redis://localhost/0?protocol=hunter2", "a wrong value for the option protocol"),
        ("redis://localhost/0?db=hunter2", "a wrong value for the option db"),
        ("redis://localhost/0?ssl_cert_reqs=none", "the option ssl_cert_reqs that is not accepted"),
        ("redis://localhost/0?sentinel_password=hunter2", "the option sentinel_password that is not accepted"),
        ("redis://u:12?hunter2&@localhost:6379/0", "an option that is not accepted"),
        ("redis://a:1,b:2/0", "no valid port"),
        ("rediss://localhost/0?ssl_cert_reqs=hunter2", "a wrong value for the option ssl_cert_reqs"),
        ("rediss://localhost/0?ssl_check_hostname=maybe", "a wrong value for the option ssl_check_hostname"),
        ("rediss://localhost/0?ssl_ca_certs=/nowhere/hunter/ca.pem", "the TLS options .* are wrong"),
        ("rediss://localhost/0?ssl_certfile=/nowhere/cert.pem", "the TLS options .* are wrong"),
        ("rediss://localhost/0?ssl_ciphers=hunter3", "the TLS options .* are wrong"),
        ("rediss://localhost/0?ssl_ca_data=hunter3", "the TLS options .* are wrong"),
        ("rediss+cluster://localhost?ssl_ca_certs=/nowhere/ca.pem", "the TLS options .* are wrong"),
        ("rediss+sentinel://localhost/m?ssl_ca_certs=/nowhere/ca.pem", "the TLS options .* are wrong"),
        ("redis+cluster://:hunter2@a:1,b:notaport", "no valid port"),
        ("redis+cluster://a:1,", "names no host"),
        ("redis+cluster://:hunter2@a/3", "a cluster has only one"),
        ("redis+cluster://a?db=3", "the option db that is not accepted"),
        ("redis+sentinel://:hunter2@a:1,b:2", "names no service"),
        ("redis+sentinel://:hunter2@a/", "names no service"),
        ("redis+sentinel://:hunter2@a/mymaster/zero", "no database by number"),
        ("redis+sentinel://a:70000/mymaster", "no valid port"),
        ("sentinel://a/mymaster", "not a Redis URL"),
        (None, "accepted is a text"),
        (6379, "accepted is a text"),
    ],
)
def test_a_bad_url_is_refused_without_showing_the_password(url: Any, says: str):
    """The error names what needs Redis and what is accepted; neither it nor its causes show the password."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        open_redis(url, needed_by="the cache")
    told = "".join(traceback.format_exception(caught.value)).replace(repr(url), "").replace(f'"{url}"', "")
    assert str(caught.value).startswith("the cache: ")
    shown = [line for line in told.splitlines() if "hunter2" in line]
    assert shown == []


@pytest.mark.parametrize("value", [0, -1, 3600, float("nan"), "1", True])
@pytest.mark.parametrize("name", ["timeout", "connect_timeout"])
def test_a_bad_wait_is_refused(name, value):
    """The error names the parameter and the range."""
    with pytest.raises(ConfigurationError, match=rf"{name} is .*accepted are seconds above 0 and below 3600"):
        open_redis("redis://localhost", **{name: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, "10", None])
def test_a_bad_pool_bound_is_refused(value):
    """The error names the parameter and the range."""
    with pytest.raises(ConfigurationError, match=r"max_connections is .*accepted are whole numbers from 1"):
        open_redis("redis://localhost", max_connections=value)


def test_without_the_package_the_command_is_named(monkeypatch):
    """Whoever configured Redis without its extra is told what to run."""
    monkeypatch.setattr("creatormate_resilience.redis_client.redis._INSTALLED", False)
    with pytest.raises(MissingDependencyError, match=r"the cache needs .*pip install .*\[redis\]"):
        open_redis("redis://localhost", needed_by="the cache")


@pytest.mark.parametrize(
    "url",
    [
        "redis://app:hunter2@localhost:6379/3",
        "rediss://app:hunter2@localhost:6379/3",
        "unix://app:hunter2@/run/redis.sock",
        "redis+sentinel://app:hunter2@localhost:1/mymaster?sentinel_password=hunter2",
        "redis+cluster://app:hunter2@127.0.0.1:1",
    ],
)
@pytest.mark.parametrize("timeout", [0.25, None])
async def test_the_client_shows_no_password(url, timeout):
    """Its repr may land in a log, and so may the repr of what it says when it cannot connect."""
    client = open_redis(url, timeout=timeout)
    assert "hunter2" not in repr(client)
    with pytest.raises(Exception) as caught:
        await client.get("k")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)).replace(url, "")
    await client.aclose()


@pytest.mark.parametrize(
    "url",
    [
        *("redis://127.0.0.1:6379", "rediss://h:1/2", "unix:///run/redis.sock", "redis://h/"),
        *("redis+sentinel://a,b:2/m", "rediss+sentinel://a/m/1", "redis+cluster://a:1,b:2", "rediss+cluster://[::1]:2"),
        "REDIS://h?protocol=2&client_name=app",
    ],
)
async def test_making_a_client_does_no_io(url):
    """It connects when first used, so a service can start before its Redis."""
    client = open_redis(url)
    await client.aclose()


@pytest.mark.parametrize(
    "url", ["redis://h/1", "rediss://h", "redis+sentinel://h/m", "rediss+sentinel://h/m", "redis+cluster://h"]
)
@pytest.mark.parametrize("timeout", [0.1, None])
async def test_nothing_waits_longer_than_it_was_told_and_nothing_retries(url, timeout):
    """Whatever the kind of client: its own timeouts, no attempt after the first, no notices that stretch timeouts."""
    client: Any = open_redis(url, timeout=timeout, connect_timeout=0.3)
    options = client.connection_kwargs if "cluster" in url else client.connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (timeout, 0.3)
    assert (client.retry if "cluster" in url else options["retry"]).get_retries() == 0
    if "cluster" not in url:
        assert not client.connection_pool.maint_notifications_enabled()
    await client.aclose()


async def test_a_connection_that_the_server_closed_meanwhile_is_replaced(own_redis_server):
    """A restart of the server while nothing is asked costs no call."""
    client = open_redis(own_redis_server.url, timeout=5)
    await client.set("k", "v")
    await asyncio.to_thread(own_redis_server.restart)
    assert await client.get("k") == b"v"
    await client.aclose()


async def test_a_round_trip(redis_url):
    """Against the real server: what was written is read, and closing twice is harmless."""
    client = open_redis(redis_url)
    assert await client.set("key", b"value")
    assert await client.get("key") == b"value"
    await client.aclose()
    await client.aclose()


@pytest.mark.server
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("timeout", [5, None])
async def test_a_round_trip_over_a_socket_in_the_file_system(tmp_path, protocol, timeout):
    """With either protocol, with and without waits of the client's own."""
    socket = tmp_path / "redis.sock"
    with RedisServer("--unixsocket", str(socket)):
        client = open_redis(f"unix://{socket}?db=2&protocol={protocol}", timeout=timeout)
        assert await client.set("key", b"value")
        assert await client.mget(["key", "none"]) == [b"value", None]
        await client.aclose()


async def test_a_dead_server_is_reported_soon(own_redis_server):
    """Nothing is retried behind the caller's back: ten hidden retries would take seconds."""
    client = open_redis(own_redis_server.url, timeout=0.2, connect_timeout=0.2)
    await client.ping()
    own_redis_server.kill()
    began = time.monotonic()
    with pytest.raises(redis.exceptions.ConnectionError):
        await client.ping()
    with pytest.raises(redis.exceptions.ConnectionError):
        await client.ping()
    assert time.monotonic() - began < 5
    await client.aclose()


async def test_a_full_pool_makes_the_caller_wait_no_longer_than_the_timeout(redis_url):
    """The bound of the pool is a bound; who finds it full gets an error after `timeout`."""
    client = open_redis(redis_url, timeout=0.1, max_connections=1)
    connection = await client.connection_pool.get_connection()
    with pytest.raises(redis.exceptions.ConnectionError):
        await client.ping()
    await client.connection_pool.release(connection)
    assert await client.ping()
    await client.aclose()
