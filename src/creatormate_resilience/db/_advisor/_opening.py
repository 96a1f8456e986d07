"""An engine for one look at a database."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from creatormate_resilience.db._advisor._config import AdvisorConfig
from creatormate_resilience.db._config import DatabaseConfig
from creatormate_resilience.db._engine import make_spare_engine
from creatormate_resilience.db._url import is_in_memory, parse_url
from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("engine_for",)

_LAST_PORT = 65535


def engine_for(url: str, config: AdvisorConfig) -> AsyncEngine:
    """An engine without a pool, which nothing but the advisor uses.

    A `Database` would put a SQLite file into WAL mode, and make one where none is.

    Args:
        url: As `parse_url` takes it.
        config: Its timeouts.

    Raises:
        ConfigurationError: The URL is malformed, of another database, of one that lives in memory, or has no such port.
        MissingDependencyError: The driver is not installed.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return create_async_engine(_read_only(parsed), poolclass=NullPool, hide_parameters=True)
    if (parsed.port or 1) > _LAST_PORT:
        raise ConfigurationError(f"the port is {parsed.port}; accepted are 1 to {_LAST_PORT}")
    # The interval is unknown to servers before 14.
    return make_spare_engine(parsed, DatabaseConfig(command_timeout=config.statement_timeout, client_check_interval=0))


def _read_only(url: URL) -> URL:
    if is_in_memory(url):
        raise ConfigurationError("a SQLite database in memory is seen by its own engine only; pass that, not a URL")
    path = url.database or ""
    if path.startswith("file:"):
        located = path
    elif Path(path).is_file():
        located = f"file:{quote(path)}"
    else:
        raise ConfigurationError(f"there is no SQLite file {path!r}")
    return url.set(database=located).update_query_dict({"mode": "ro", "uri": "true"})
