"""Opening Redis: clear errors at the call, no secret in any of them, short waits, and a real server at the end."""

from __future__ import annotations

import time
import traceback
from typing import Any

import pytest
import redis.exceptions

from creatormate_resilience.exceptions import ConfigurationError, MissingDependencyError
from creatormate_resilience.redis_client import open_redis

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
        ("redis://:hunter2@localhost/0?socket_timeout=soon&x=hunter2", "socket_timeout"),
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


@pytest.mark.parametrize("value", [0, -1, 3600, float("nan"), "1", None, True])
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
    monkeypatch.setattr("creatormate_resilience.redis_client._INSTALLED", False)
    with pytest.raises(MissingDependencyError, match=r"the cache needs .*pip install .*\[redis\]"):
        open_redis("redis://localhost", needed_by="the cache")


async def test_the_client_shows_no_password():
    """Its repr may land in a log."""
    client = open_redis("redis://app:hunter2@localhost:6379/3")
    assert "hunter2" not in repr(client)
    await client.aclose()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379", "rediss://h:1/2", "unix:///run/redis.sock", "redis://h/"])
async def test_making_a_client_does_no_io(url):
    """It connects when first used, so a service can start before its Redis."""
    client = open_redis(url)
    await client.aclose()


async def test_a_round_trip(redis_url):
    """Against the real server: what was written is read, and closing twice is harmless."""
    client = open_redis(redis_url)
    assert await client.set("key", b"value")
    assert await client.get("key") == b"value"
    await client.aclose()
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
