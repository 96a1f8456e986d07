"""How a database is opened: pool, timeouts, and what is passed on to the driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypedDict

from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("DatabaseConfig", "DatabaseOptions")


class DatabaseOptions(TypedDict, total=False):
    """The fields of `DatabaseConfig` as keyword arguments."""

    pool_size: int
    max_overflow: int
    pool_timeout: float
    pool_recycle: float
    pool_pre_ping: bool
    connect_timeout: float
    command_timeout: float
    idle_in_transaction_timeout: float
    client_check_interval: float
    busy_timeout: float
    connect_args: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """Settings of a `Database`; checked when made.

    Attributes:
        pool_size: Connections kept open, 1 to 1000. An in-memory SQLite database always has exactly one.
        max_overflow: Connections opened beyond that while all are in use, 0 to 1000; closed when returned.
        pool_timeout: Longest wait for a free connection, in seconds.
        pool_recycle: Age at which a connection is replaced at its next use, in seconds; -1 for never.
        pool_pre_ping: Test a connection that has been idle for a second before it is used.
        connect_timeout: Longest wait for a new connection, in seconds. PostgreSQL only.
        command_timeout: Longest duration of one statement, in seconds. The server ends it at this time, the client
            gives up one second later on a server that does not answer. PostgreSQL only.
        idle_in_transaction_timeout: The server ends a transaction left idle this long, in seconds; 0 for never.
            PostgreSQL only.
        client_check_interval: How often the server looks whether the client of a running statement is still there,
            in seconds; 0 for never (servers before 14 need that). PostgreSQL only.
        busy_timeout: Longest wait for another writer, in seconds. SQLite only.
        connect_args: Passed on to the driver's `connect`; wins over what is set here.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    pool_size: int = 10
    max_overflow: int = 5
    pool_timeout: float = 5.0
    pool_recycle: float = 1800
    pool_pre_ping: bool = True
    connect_timeout: float = 5.0
    command_timeout: float = 30.0
    idle_in_transaction_timeout: float = 60.0
    client_check_interval: float = 1.0
    busy_timeout: float = 5.0
    connect_args: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)  # may hold a password

    def __post_init__(self) -> None:
        _check_count("pool_size", self.pool_size, 1)
        _check_count("max_overflow", self.max_overflow, 0)
        for name in ("pool_timeout", "connect_timeout", "command_timeout", "busy_timeout"):
            _check_seconds(name, getattr(self, name), "above 0")
        for name in ("idle_in_transaction_timeout", "client_check_interval"):
            _check_seconds(name, getattr(self, name), "0 (off) or more")
        if self.pool_recycle != -1:
            _check_seconds("pool_recycle", self.pool_recycle, "above 0, or -1 (never)")
        if not isinstance(self.pool_pre_ping, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"pool_pre_ping is {self.pool_pre_ping!r}; accepted are True and False")

    @classmethod
    def of(cls, config: DatabaseConfig | None, options: Mapping[str, Any]) -> DatabaseConfig:
        """A configuration with some fields replaced.

        Args:
            config: What to start from; None for the defaults.
            options: Fields to replace, such as `{"pool_size": 20}`.

        Returns:
            The new configuration.

        Raises:
            ConfigurationError: An option is unknown or out of its range.
        """
        names = [each.name for each in fields(cls)]
        if unknown := sorted(set(options) - set(names)):
            raise ConfigurationError(f"unknown database options {unknown}; accepted are {', '.join(names)}")
        base = {} if config is None else {name: getattr(config, name) for name in names}
        return cls(**{**base, **options})


def _check_count(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 1000:
        raise ConfigurationError(f"{name} is {value!r}; accepted are whole numbers from {least} to 1000")


def _check_seconds(name: str, value: object, accepted: str) -> None:
    zero = not accepted.startswith("above")
    if isinstance(value, int | float) and not isinstance(value, bool) and (0 < value <= 86400 or (zero and value == 0)):
        return
    raise ConfigurationError(f"{name} is {value!r}; accepted are seconds {accepted}, up to 86400")
