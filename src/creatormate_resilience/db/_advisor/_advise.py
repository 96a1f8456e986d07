"""`advise`: one look at a database, from a URL, an engine or a `Database`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from creatormate_resilience.db._advisor._config import AdvisorConfig
from creatormate_resilience.db._advisor._report import Report
from creatormate_resilience.db._database import Database
from creatormate_resilience.exceptions import ConfigurationError, MissingDependencyError
from creatormate_resilience.time_limit import time_limit

_INSTALLED = find_spec("sqlalchemy") is not None and find_spec("greenlet") is not None
if TYPE_CHECKING or _INSTALLED:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from creatormate_resilience.db._advisor._looking import look, only_looking
    from creatormate_resilience.db._advisor._opening import engine_for
    from creatormate_resilience.db._errors import database_errors

__all__ = ("advise",)


async def advise(database: Database | AsyncEngine | str, config: AdvisorConfig | None = None) -> Report:
    """Look at a database and say what is wrong with it. Nothing is changed, and no fix is run.

    It reads catalogs, statistics and planner estimates, in one read-only transaction with short timeouts; of SQLite it
    reads no table further than `min_analyze_rows`. A role without rights sees less, and the notes say what.

    Args:
        database: A `Database`, an `AsyncEngine` of PostgreSQL or SQLite, or a URL as `Database` takes it. With a URL
            one connection is opened for this look; a SQLite file is opened read-only and must exist.
        config: Limits and thresholds; None for the defaults.

    Returns:
        The report.

    Raises:
        ConfigurationError: The URL is malformed, or user, password or database name is wrong, or the database is of
            another kind.
        MissingDependencyError: SQLAlchemy or the driver is not installed.
        DatabaseError: The database cannot be reached, or was lost.
        OperationTimeoutError: It took longer than `config.timeout`.
    """
    if not _INSTALLED:
        extra = "postgres" if isinstance(database, str) and database.startswith("postgres") else "sqlite"
        raise MissingDependencyError("sqlalchemy[asyncio]", extra=extra, needed_by="advise()")
    config = AdvisorConfig() if config is None else config
    if not isinstance(config, AdvisorConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"config is {config!r:.200}; accepted is an AdvisorConfig")
    if isinstance(database, str):
        engine = engine_for(database, config)
        try:
            return await _look(engine, config, own=True)
        finally:
            await engine.dispose()
    engine = _engine_of(database)
    if isinstance(database, Database):
        async with database.connect():  # so that it is known to be open, by whom, and closes what is opened here
            pass
    return await _look(engine, config, own=False)


async def _look(engine: AsyncEngine, config: AdvisorConfig, *, own: bool) -> Report:
    with database_errors(engine.pool, read_only=True):
        async with time_limit(config.timeout, what="the advisor"), only_looking(engine) as connection:
            return await look(connection, config, own=own)


def _engine_of(database: object) -> AsyncEngine:
    engine = database.engine if isinstance(database, Database) else database
    if not isinstance(engine, AsyncEngine):
        kind = type(database).__name__
        raise ConfigurationError(f"database is a {kind}; accepted are a Database, an AsyncEngine and a URL")
    if engine.dialect.name not in {"postgresql", "sqlite"}:
        raise ConfigurationError(f"the engine is of {engine.dialect.name}; accepted are postgresql and sqlite")
    return engine
