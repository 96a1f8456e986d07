"""Clients with explicit timeouts and no retries: for one server, for the master that sentinels know, for a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from creatormate_resilience.exceptions import ConfigurationError, MissingDependencyError
from creatormate_resilience.redaction import redact_text, redact_url
from creatormate_resilience.redis_client._url import Address, parse_url

_INSTALLED = find_spec("redis") is not None
if TYPE_CHECKING or _INSTALLED:
    from redis.asyncio import (
        BlockingConnectionPool,
        Connection,
        ConnectionPool,
        Redis,
        RedisCluster,
        SSLConnection,
        UnixDomainSocketConnection,
    )
    from redis.asyncio.cluster import ClusterNode
    from redis.asyncio.retry import Retry
    from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.maint_notifications import MaintNotificationsConfig

    class _MasterPool(SentinelConnectionPool):
        """Connections to the master. Those to the sentinels are closed with them."""

        sentinel_manager: Any

        async def aclose(self) -> None:
            await super().aclose()  # pyright: ignore[reportUnknownMemberType]
            await self.sentinel_manager.aclose()

    class _BlockingMasterPool(_MasterPool, BlockingConnectionPool):
        """The same, with callers that wait for a free one."""


__all__ = ("open_redis",)


def open_redis(
    url: str,
    *,
    timeout: float | None = 0.25,
    connect_timeout: float = 0.5,
    max_connections: int = 50,
    needed_by: str = "a Redis URL",
) -> Redis | RedisCluster:
    """Make a client; it connects when first used.

    Args:
        url: `redis://host:port/db`, `unix:///path`, `redis+sentinel://host:port,host:port/service/db` for the master
            that sentinels know, or `redis+cluster://host:port,host:port`; with TLS `rediss://`, `rediss+sentinel://`
            and `rediss+cluster://`. Options after a `?`: `username`, `password`, `db`, `client_name`, `protocol` (2 or
            3), `sentinel_username`, `sentinel_password`; with TLS `ssl_cert_reqs` ("required" unless given),
            `ssl_check_hostname`, `ssl_ca_certs`, `ssl_ca_data`, `ssl_certfile`, `ssl_keyfile`, `ssl_ciphers`.
        timeout: Longest wait for one answer and for a free connection, in seconds. None is for a caller that puts a
            deadline around every operation and bounds how many run at once: nothing waits here then, a full pool is an
            error at once, and an operation costs a quarter less.
        connect_timeout: Longest wait for a new connection, in seconds.
        max_connections: Bound of the pool; in a cluster of each node's, where a full one is an error at once.
        needed_by: What the client is for, named in errors.

    Returns:
        An asyncio client that never retries by itself. Close it with `aclose()`.

    Raises:
        ConfigurationError: The URL is malformed, its scheme or an option in it unknown, a file of TLS not usable, or a
            number out of range; the message shows no password.
        MissingDependencyError: `redis` is not installed.
    """
    address = parse_url(url, needed_by)
    _check_numbers(timeout, connect_timeout, max_connections)
    if not _INSTALLED:
        raise MissingDependencyError("redis", extra="redis", needed_by=needed_by)
    if address.tls is not None:
        _check_tls(address.tls, f"{needed_by}: the TLS options of {redact_url(url)!r}")
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": connect_timeout,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
        # With these on, timeouts grow to ten seconds when a server announces maintenance, and a connection that the
        # server has closed is found out only by the call that fails on it.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if address.kind == "cluster":
        return _cluster(address, options, max_connections)
    opening = _master if address.kind == "sentinel" else _server
    return opening(address, options, max_connections)


def _server(address: Address, options: dict[str, Any], max_connections: int) -> Redis:
    kind: Any = UnixDomainSocketConnection
    if address.kind != "unix":
        kind = Connection if address.tls is None else SSLConnection
        [(options["host"], options["port"])] = address.hosts
    options |= {"connection_class": kind, "max_connections": max_connections, **address.access, **(address.tls or {})}
    if options["socket_timeout"] is None:
        return Redis.from_pool(ConnectionPool(**options))
    return Redis.from_pool(BlockingConnectionPool(timeout=options["socket_timeout"], **options))


def _cluster(address: Address, options: dict[str, Any], max_connections: int) -> RedisCluster:
    # A slot that moved is learnt from the answer that says so. Reading the whole map anew, as redis-py does at each
    # fifth such answer, closes connections that are in use.
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
        reinitialize_steps=0,
        require_full_coverage=False,
        max_connections=max_connections,
        ssl=address.tls is not None,
        **options,
        **address.access,
        **(address.tls or {}),
    )


def _master(address: Address, options: dict[str, Any], max_connections: int) -> Redis:
    if address.tls is not None:
        options |= {"ssl": True, **address.tls}
    asking = options | {"socket_timeout": options["socket_timeout"] or options["socket_connect_timeout"]}
    sentinels: Any = _Sentinels(address.hosts, {**asking, **address.sentinel})
    options |= {"max_connections": max_connections, **address.access}
    if options["socket_timeout"] is not None:
        options["timeout"] = options["socket_timeout"]
    kind: Any = _BlockingMasterPool if "timeout" in options else _MasterPool
    return Redis.from_pool(kind(address.service, sentinels, **options))


class _Sentinels:
    """Several sentinels, asked all at once: one on a host that died with the master must not use up the deadline."""

    def __init__(self, hosts: Sequence[tuple[str, int]], options: Mapping[str, Any]) -> None:
        kind: Any = Sentinel  # untyped
        self._each = [kind([host], sentinel_kwargs=dict(options)) for host in hosts]

    async def discover_master(self, service: str) -> tuple[str, int]:
        """Host and port of the master, from whoever tells first."""
        asked: list[asyncio.Future[tuple[str, int]]] = [
            asyncio.ensure_future(each.discover_master(service)) for each in self._each
        ]
        reason: Exception | None = None
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    return await answer
                except (RedisError, OSError) as error:
                    reason = error
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise MasterNotFoundError(f"none of {len(asked)} sentinels tells the master of {service!r}") from reason

    async def aclose(self) -> None:
        """Close the connections to all of them."""
        for each in self._each:
            await each.aclose()


def _check_tls(options: Mapping[str, Any], what: str) -> None:
    try:
        context: Any = SSLConnection(**options).ssl_context
        context.get()  # opens nothing but the files
    except (RedisError, TypeError, ValueError, OSError) as error:  # an SSLError is an OSError
        wrong = redact_text(str(error), 200)
        raise ConfigurationError(f"{what} are wrong: {type(error).__name__}: {wrong}") from None


def _check_numbers(timeout: float | None, connect_timeout: float, max_connections: int) -> None:
    for name, value in (("timeout", timeout), ("connect_timeout", connect_timeout)):
        if value is None and name == "timeout":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 3600:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"{name} is {value!r}; accepted are seconds above 0 and below 3600")
    if isinstance(max_connections, bool) or not isinstance(max_connections, int) or max_connections < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"max_connections is {max_connections!r}; accepted are whole numbers from 1")
