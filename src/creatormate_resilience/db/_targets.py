"""Reading the options that say where servers are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from creatormate_resilience.db._url import parse_url
from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("name_of", "replica_targets")


def replica_targets(given: Any, primary: URL | AsyncEngine) -> tuple[tuple[str, URL | AsyncEngine], ...]:
    """Read the option `replicas`.

    Args:
        given: URLs and engines.
        primary: Of the primary.

    Returns:
        For each replica its name, and what was given.

    Raises:
        ConfigurationError: Something else was given, a replica is not of the primary's kind, or one is named twice.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError("replicas is not a list; accepted is a list or tuple of URLs and engines")
    targets = [_target(each) for each in cast("Iterable[object]", given)]
    if targets:
        _check_kind(targets, primary)
    names = [name_of(primary), *map(name_of, targets)]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise ConfigurationError(f"replicas: {name} is given twice; accepted are servers other than the primary")
    return tuple(zip(names[1:], targets, strict=True))


def _target(each: object) -> URL | AsyncEngine:
    if isinstance(each, AsyncEngine):
        return each
    if isinstance(each, str):
        return parse_url(each)
    raise ConfigurationError(f"replicas has a {type(each).__name__}; accepted are URLs and engines")


def _check_kind(targets: Sequence[URL | AsyncEngine], primary: URL | AsyncEngine) -> None:
    kind = _url_of(primary).get_backend_name()
    if kind == "sqlite":
        raise ConfigurationError(
            "replicas do not go with SQLite, which is a file; accepted are PostgreSQL, and engines"
        )
    for each in targets:
        if (other := _url_of(each).get_backend_name()) != kind:
            raise ConfigurationError(f"replicas: {other} cannot follow a primary of {kind}; accepted is {kind}")


def _url_of(target: URL | AsyncEngine) -> URL:
    return target if isinstance(target, URL) else target.url


def name_of(target: URL | AsyncEngine) -> str:
    """What a server is called: host, port and database, or the file. Never who may log in."""
    url = _url_of(target)
    hosts, ports = url.host or url.query.get("host"), url.port or url.query.get("port")
    if not hosts:
        return str(url.database)
    if ports is None and url.get_backend_name() == "postgresql":
        ports = 5432
    return f"{_listed(hosts)}{'' if ports is None else f':{_listed(ports)}'}/{url.database}"


def _listed(values: object) -> str:
    return ",".join(map(str, cast("tuple[object, ...]", values))) if isinstance(values, tuple) else str(values)
