"""Where database errors are translated into this library's family: once, at the boundary."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool, QueuePool

from creatormate_resilience.db._pool import exhausted
from creatormate_resilience.db._sqlstate import sqlstate_of
from creatormate_resilience.exceptions import (
    CommitOutcomeUnknownError,
    DatabaseError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    PoolExhaustedError,
    ResilienceError,
    map_exception,
)

__all__ = ("commit_outcome", "database_errors", "install")

_READ_ONLY_CODES = frozenset({"25006", "SQLITE_READONLY"})


def install(engine: AsyncEngine) -> None:
    """Give names to the driver's errors that SQLAlchemy passes on raw, where they cannot be the application's own."""
    event.listen(engine.sync_engine, "do_connect", _connect)
    event.listen(engine.sync_engine, "handle_error", _name_error)


@contextmanager
def database_errors(pool: Pool, *, read_only: bool = False) -> Generator[None]:
    """Translate what the database raises in the block; errors of the application pass unchanged.

    Args:
        pool: Where the connections come from.
        read_only: Whether a refusal to write is the application's mistake.

    Raises:
        ResilienceError: Mostly of the `DatabaseError` family, with the original as its cause.
    """
    try:
        yield
    except PoolTimeout as exc:
        raise _pool_exhausted(pool) from exc  # of a pool that is not ours
    except DBAPIError as exc:
        raise _translate(exc, read_only) from exc


@contextmanager
def commit_outcome(session: Any) -> Generator[None]:
    """Say so when the connection was lost after COMMIT was sent and before it was answered.

    Args:
        session: The `TrackedSession` whose `commit_sent` tells.

    Raises:
        CommitOutcomeUnknownError: Nobody knows whether the transaction was committed.
    """
    try:
        yield
    except (DBAPIError, OSError, DatabaseError) as exc:
        if not session.commit_sent or _answered(exc) or _never_sent(exc):
            raise
        raise CommitOutcomeUnknownError(
            "the connection was lost while COMMIT was under way: look whether the transaction was applied before"
            " running it again"
        ) from exc


def _translate(exc: DBAPIError, read_only: bool) -> ResilienceError:
    if read_only and sqlstate_of(exc) in _READ_ONLY_CODES:
        return DatabaseError("a write was tried where only reading is allowed: use db.begin() or db.session()")
    return map_exception(exc)


def _pool_exhausted(pool: Pool) -> PoolExhaustedError:
    if not isinstance(pool, QueuePool):
        return PoolExhaustedError("no connection came free in time")
    return exhausted(pool, f"none came free within pool_timeout={pool.timeout():g} s")


def _answered(exc: BaseException) -> bool:
    """Whether the server answered COMMIT with an error: then nothing was applied.

    A session that is ended by an administrator says so (57P01) only between statements, hence instead of committing;
    asyncpg reports that as the cause of a lost connection. Codes of class 08 are made up by drivers and proxies.
    """
    cause: BaseException | None = exc
    while cause is not None:
        code = sqlstate_of(cause)
        if code is not None and not code.startswith(("08", "58")):
            return True
        cause = cause.__cause__
    return False


def _never_sent(exc: BaseException) -> bool:
    """Whether asyncpg refused to send COMMIT, because the server had just said goodbye."""
    driver = getattr(exc, "orig", None)
    return "cannot switch to state" in str(driver) and "InternalClientError" in type(driver).__name__


def _connect(dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    try:
        return dialect.connect(*arguments, **options)
    except OSError as exc:  # TimeoutError is one
        raise DatabaseUnavailableError(f"cannot connect to the database: {_describe(exc)}") from exc


def _name_error(context: ExceptionContext) -> BaseException | None:
    exc = context.original_exception
    if isinstance(exc, TimeoutError):
        return DatabaseTimeoutError("the database did not answer within command_timeout")
    if isinstance(exc, OSError):
        context.is_disconnect = True
        return DatabaseUnavailableError(f"the connection was lost: {_describe(exc)}")
    if type(exc).__name__ == "InternalClientError":  # asyncpg lost track of the protocol
        context.is_disconnect = True
    return None


def _describe(exc: OSError) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
