"""Database URLs: the everyday spellings become the ones SQLAlchemy needs for an asyncio driver."""

from __future__ import annotations

from importlib.util import find_spec
from types import MappingProxyType

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from creatormate_resilience.exceptions import ConfigurationError, MissingDependencyError
from creatormate_resilience.redaction import redact_url

__all__ = ("is_in_memory", "parse_url")

_DRIVERS = MappingProxyType(
    {
        "postgres": "postgresql+asyncpg",
        "postgresql": "postgresql+asyncpg",
        "postgresql+asyncpg": "postgresql+asyncpg",
        "sqlite": "sqlite+aiosqlite",
        "sqlite+aiosqlite": "sqlite+aiosqlite",
    }
)
_POSTGRESQL_QUERY = frozenset({"ssl", "host", "port", "target_session_attrs", "prepared_statement_cache_size"})
_EXAMPLES = "postgresql://user:password@host:5432/name or sqlite:///file.db"


def parse_url(url: str) -> URL:
    """Read a database URL.

    Args:
        url: `postgres://`, `postgresql://`, `sqlite://`, or one of these with its asyncio driver named. The `sslmode`
            that other PostgreSQL clients know is understood.

    Returns:
        The URL with the driver `asyncpg` or `aiosqlite`.

    Raises:
        ConfigurationError: The URL is malformed or of another database; the message shows no password.
        MissingDependencyError: The driver is not installed.
    """
    shown = redact_url(url) if "://" in url else "without a scheme"  # where a password begins is anyone's guess then
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # their messages quote the URL
        raise ConfigurationError(
            f"the database URL {shown!r} is malformed; write {_EXAMPLES}, with special characters of the"
            " password percent-encoded"
        ) from None
    scheme = _DRIVERS.get(parsed.drivername)
    if scheme is None:
        raise ConfigurationError(
            f"the database URL {shown!r} has an unknown scheme; write {_EXAMPLES},"
            " or pass an AsyncEngine of your own as engine="
        )
    _require_driver(scheme)
    parsed = parsed.set(drivername=scheme)
    return _postgresql(parsed) if scheme.startswith("postgresql") else parsed


def is_in_memory(url: URL) -> bool:
    """Whether each connection to this SQLite URL would see an empty database of its own."""
    return url.database in {None, "", ":memory:"} or url.query.get("mode") == "memory"


def _require_driver(scheme: str) -> None:
    driver = scheme.partition("+")[2]
    if find_spec(driver) is None:
        extra = "postgres" if driver == "asyncpg" else "sqlite"
        raise MissingDependencyError(driver, extra=extra, needed_by=f"a {scheme}:// URL")


def _postgresql(url: URL) -> URL:
    if "sslmode" in url.query:
        url = url.update_query_pairs([("ssl", str(url.query["sslmode"]))]).difference_update_query(["sslmode"])
    if unknown := sorted(set(url.query) - _POSTGRESQL_QUERY):
        raise ConfigurationError(
            f"the database URL has the unknown parameters {unknown}; accepted are sslmode and"
            f" {', '.join(sorted(_POSTGRESQL_QUERY))}, everything else goes into connect_args="
        )
    return url
