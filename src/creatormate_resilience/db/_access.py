"""How a transaction is opened: for reading or writing, at which isolation, in SQLAlchemy's execution options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("AccessModes", "IsolationLevel", "access_modes_of")

IsolationLevel: TypeAlias = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
Options: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessModes:
    """What one kind of engine can do.

    Attributes:
        read_write: Options of a transaction that writes.
        read_only: Options of a transaction that may not; None where the engine cannot promise that.
        reader: Options of a connection for single reads, in autocommit where that is possible.
        isolation_levels: The levels that may be asked for.
        sets_isolation: Whether a level has to be passed on; SQLite has but one.
    """

    read_write: Options
    read_only: Options | None
    reader: Options
    isolation_levels: tuple[str, ...] = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
    sets_isolation: bool = True

    def transaction(self, *, read_only: bool, isolation_level: str | None) -> dict[str, Any]:
        """Execution options of a transaction.

        Raises:
            ConfigurationError: The engine cannot do what was asked for.
        """
        options = self.read_only if read_only else self.read_write
        if options is None:
            raise ConfigurationError("read_only=True is not possible with this engine; accepted is False")
        if isolation_level is None:
            return dict(options)
        if isolation_level not in self.isolation_levels:
            accepted = ", ".join(self.isolation_levels)
            raise ConfigurationError(f"isolation_level is {isolation_level!r}; accepted are {accepted} and None")
        return {**options, "isolation_level": isolation_level} if self.sets_isolation else dict(options)


_SQLITE = AccessModes(
    read_write={"sqlite_begin": "IMMEDIATE"},
    read_only={"sqlite_begin": "DEFERRED"},
    reader={"sqlite_begin": None},
    isolation_levels=("SERIALIZABLE",),
    sets_isolation=False,
)
_POSTGRESQL = AccessModes(
    read_write={},
    read_only={"postgresql_readonly": True},
    reader={"isolation_level": "AUTOCOMMIT"},
)
_PLAIN_POSTGRESQL = AccessModes(
    read_write={},
    read_only={"postgresql_readonly": True},
    reader={"postgresql_readonly": True},
)
_FOREIGN = AccessModes(read_write={}, read_only=None, reader={})


def access_modes_of(dialect: str, *, ours: bool, pgbouncer: bool = False) -> AccessModes:
    """The modes of an engine.

    Args:
        dialect: SQLAlchemy's name of the kind of database.
        ours: Whether this library made the engine. One that it did not make is used as it is.
        pgbouncer: Whether connections are shared between transactions, so that none has settings of its own.

    Returns:
        The modes.
    """
    if ours and not pgbouncer:
        return _SQLITE if dialect == "sqlite" else _POSTGRESQL
    return _PLAIN_POSTGRESQL if dialect == "postgresql" else _FOREIGN
