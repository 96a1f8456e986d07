"""How this library opens Redis or Valkey: explicit short timeouts, no hidden retries, no secret in any message.

`redis-py` by default retries ten times with five-second timeouts: a read from a dead server then takes seconds. A cache
and a breaker must fail fast instead, so nothing here retries; who calls decides.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from creatormate_resilience.exceptions import ConfigurationError, MissingDependencyError
from creatormate_resilience.redaction import redact_text, redact_url

_INSTALLED = find_spec("redis") is not None
if TYPE_CHECKING or _INSTALLED:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

__all__ = ("open_redis",)

_SCHEMES = ("redis", "rediss", "unix")


def open_redis(
    url: str,
    *,
    timeout: float = 0.25,
    connect_timeout: float = 0.5,
    max_connections: int = 50,
    needed_by: str = "a Redis URL",
) -> Redis:
    """Make a client; it connects when first used.

    Args:
        url: `redis://host:port/db`, `rediss://...` for TLS, or `unix:///path`.
        timeout: Longest wait for one answer and for a free connection, in seconds.
        connect_timeout: Longest wait for a new connection, in seconds.
        max_connections: Bound of the pool; a caller waits `timeout` for a free one.
        needed_by: What the client is for, named in errors.

    Returns:
        An asyncio client with a blocking pool that never retries by itself. Close it with `aclose()`.

    Raises:
        ConfigurationError: The URL is malformed, its scheme or an option in it unknown, or a number out of range; the
            message shows no password.
        MissingDependencyError: `redis` is not installed.
    """
    _check_url(url, needed_by)
    _check_numbers(timeout, connect_timeout, max_connections)
    if not _INSTALLED:
        raise MissingDependencyError("redis", extra="redis", needed_by=needed_by)
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": connect_timeout,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }
    try:
        pool: BlockingConnectionPool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url, max_connections=max_connections, timeout=timeout, **options
        )
        pool.connection_class(**pool.connection_kwargs)  # opens nothing; tells of options that do not exist
    except (TypeError, ValueError) as error:
        wrong = redact_text(str(error), 200)
        raise ConfigurationError(f"{needed_by}: the options of {redact_url(url)!r} are wrong: {wrong}") from None
    return Redis.from_pool(pool)


def _check_numbers(timeout: float, connect_timeout: float, max_connections: int) -> None:
    for name, value in (("timeout", timeout), ("connect_timeout", connect_timeout)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 3600:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"{name} is {value!r}; accepted are seconds above 0 and below 3600")
    if isinstance(max_connections, bool) or not isinstance(max_connections, int) or max_connections < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"max_connections is {max_connections!r}; accepted are whole numbers from 1")


def _check_url(url: str, needed_by: str) -> None:
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"{needed_by}: the URL is of type {type(url).__name__}; accepted is a text")
    shown = redact_url(url)
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        port_fits, parts = False, None
    if parts is None or not port_fits:
        raise ConfigurationError(f"{needed_by}: {shown!r} has no valid port; accepted is redis://host:port/db")
    if parts.scheme not in _SCHEMES:
        raise ConfigurationError(
            f"{needed_by}: {shown!r} is not a Redis URL; accepted are redis://, rediss:// and unix://"
        )
    if parts.scheme == "unix":
        if not parts.path:
            raise ConfigurationError(f"{needed_by}: {shown!r} names no path; accepted is unix:///path")
        return
    if not parts.hostname:
        raise ConfigurationError(f"{needed_by}: {shown!r} names no host; accepted is redis://host:port/db")
    if not re.fullmatch(r"/?\d{0,9}", parts.path):
        raise ConfigurationError(f"{needed_by}: {shown!r} names no database by number; accepted is redis://host:port/0")
