"""Errors of databases in this library's terms: by SQLSTATE, and by SQLite's own names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

from creatormate_resilience.exceptions._chain import dotted_name
from creatormate_resilience.exceptions._request import AlreadyExistsError
from creatormate_resilience.exceptions._resource import (
    DatabaseError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    DataIntegrityError,
    TransactionConflictError,
)
from creatormate_resilience.exceptions._root import ResilienceError
from creatormate_resilience.exceptions._service import ConfigurationError

__all__ = ("from_database", "sqlstate_error")

_SQLSTATE: Mapping[str, Callable[[str], ResilienceError]] = MappingProxyType({
    "23505": AlreadyExistsError, "23": DataIntegrityError, "40001": TransactionConflictError,
    "40P01": TransactionConflictError, "55P03": TransactionConflictError, "57014": DatabaseTimeoutError,
    "53": DatabaseUnavailableError, "57P": DatabaseUnavailableError, "08": DatabaseUnavailableError,
    "25006": DatabaseUnavailableError, "28": ConfigurationError, "3D": ConfigurationError,
})  # fmt: skip


def sqlstate_error(sqlstate: str, detail: str) -> ResilienceError:
    """The error that a SQLSTATE means: the whole code decides, else its class."""
    for length in (5, 3, 2):
        if cls := _SQLSTATE.get(sqlstate[:length]):
            return cls(detail)
    return DatabaseError(detail)


def from_database(exc: BaseException) -> ResilienceError:
    """The error that a driver's exception, or SQLAlchemy's wrapper around one, means."""
    origin: Any = getattr(exc, "orig", None)
    origin = exc if origin is None else origin
    # SQLAlchemy prints SQL and parameters; the driver's own first line is what an operator needs.
    detail = f"{type(origin).__name__}: {str(origin).partition(chr(10))[0]}"[:512]
    sqlstate = getattr(origin, "sqlstate", None)
    if isinstance(sqlstate, str):
        return sqlstate_error(sqlstate, detail)
    if (
        getattr(exc, "connection_invalidated", False)
        or dotted_name(type(cast("object", origin))) == "psycopg.OperationalError"
    ):
        return DatabaseUnavailableError(detail)
    return _from_sqlite(origin, detail)


def _from_sqlite(origin: Any, detail: str) -> ResilienceError:
    name = str(getattr(origin, "sqlite_errorname", "") or "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return TransactionConflictError(detail)
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_READONLY")):
        return DatabaseUnavailableError(detail)
    if name in {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}:
        return AlreadyExistsError(detail)
    return DataIntegrityError(detail) if name.startswith("SQLITE_CONSTRAINT") else DatabaseError(detail)
