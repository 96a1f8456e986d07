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
    max_waiting: int | None
    pool_recycle: float
    pool_pre_ping: bool
    keepalive: float
    leak_threshold: float | None
    connect_timeout: float
    command_timeout: float
    idle_in_transaction_timeout: float
    client_check_interval: float
    busy_timeout: float
    pgbouncer: bool
    query_statistics: bool
    slow_query_threshold: float | None
    explain_slow_queries: bool
    repeated_query_threshold: int | None
    sticky_primary: float
    max_replica_lag: float | None
    connect_args: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """Settings of a `Database`; checked when made.

    Attributes:
        pool_size: Connections kept open, 1 to 1000. An in-memory SQLite database always has exactly one.
        max_overflow: Connections opened beyond that while all are in use, 0 to 1000; closed when returned.
        pool_timeout: Longest wait for a free connection, in seconds.
        max_waiting: Most tasks that may wait for a connection; one more is refused at once. None for no bound.
        pool_recycle: Age at which a connection is replaced at its next use, in seconds, for each up to a tenth less so
            that not all are replaced together; -1 for never.
        pool_pre_ping: Test a connection that has been idle for a second before it is used.
        keepalive: Idle connections are tested this often, in seconds, so that nothing on the way forgets them; 0 for
            never. Only after `start()`.
        leak_threshold: A connection in use for longer than this, in seconds, is told of (`ConnectionHeldLong`) and
            logged; None for never.
        connect_timeout: Longest wait for a new connection, in seconds. PostgreSQL only.
        command_timeout: Longest duration of one statement, in seconds. The server ends it at this time, the client
            gives up one second later on a server that does not answer. PostgreSQL only.
        idle_in_transaction_timeout: The server ends a transaction left idle this long, in seconds; 0 for never.
            PostgreSQL only.
        client_check_interval: How often the server looks whether the client of a running statement is still there,
            in seconds; 0 for never (servers before 14 need that). PostgreSQL only.
        busy_timeout: Longest wait for another writer, in seconds. SQLite only.
        pgbouncer: The URL leads to PgBouncer in transaction mode, where one server connection serves many clients. Then
            nothing is kept on a connection: no prepared statements, no settings of the session (so the server's own
            `statement_timeout` counts), no autocommit; `connect()` reads in a transaction. PostgreSQL only.
        query_statistics: Count and time statements, for `Database.query_statistics` and the events below.
        slow_query_threshold: A statement that takes this long, in seconds, is told of (`SlowQuery`); None for never.
        explain_slow_queries: Ask for the plan of a slow SELECT, on a connection of its own, and tell of it
            (`QueryExplained`). Not for SQLite in memory.
        repeated_query_threshold: A statement that runs more often than this within one request, or one use of a
            connection, is told of (`RepeatedQuery`); None for never, which saves the cost of looking.
        sticky_primary: For so long after a commit, in seconds, whoever made it reads from the primary; 0 for never.
            With replicas only, and so is the next.
        max_replica_lag: A replica further behind, in seconds, is left out; None for never, which asks no server where
            its log ends. PostgreSQL only.
        connect_args: Passed on to the driver's `connect`; wins over what is set here.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    pool_size: int = 10
    max_overflow: int = 5
    pool_timeout: float = 5.0
    max_waiting: int | None = None
    pool_recycle: float = 1800
    pool_pre_ping: bool = True
    keepalive: float = 60.0
    leak_threshold: float | None = 30.0
    connect_timeout: float = 5.0
    command_timeout: float = 30.0
    idle_in_transaction_timeout: float = 60.0
    client_check_interval: float = 1.0
    busy_timeout: float = 5.0
    pgbouncer: bool = False
    query_statistics: bool = True
    slow_query_threshold: float | None = 0.5
    explain_slow_queries: bool = False
    repeated_query_threshold: int | None = None
    sticky_primary: float = 5.0
    max_replica_lag: float | None = 2.0
    connect_args: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)  # may hold a password

    def __post_init__(self) -> None:
        _check_count("pool_size", self.pool_size, 1)
        _check_count("max_overflow", self.max_overflow, 0)
        for name in ("pool_timeout", "connect_timeout", "command_timeout", "busy_timeout"):
            _check_seconds(name, getattr(self, name), "above 0")
        if self.max_waiting is not None:
            _check_count("max_waiting", self.max_waiting, 0, most=1_000_000)
        if self.repeated_query_threshold is not None:
            _check_count("repeated_query_threshold", self.repeated_query_threshold, 1, most=1_000_000)
        for name in ("leak_threshold", "slow_query_threshold", "max_replica_lag"):
            if getattr(self, name) is not None:
                _check_seconds(name, getattr(self, name), "above 0, or None (never)")
        for name in ("idle_in_transaction_timeout", "client_check_interval", "keepalive", "sticky_primary"):
            _check_seconds(name, getattr(self, name), "0 (off) or more")
        if self.pool_recycle != -1:
            _check_seconds("pool_recycle", self.pool_recycle, "above 0, or -1 (never)")
        for name in ("pool_pre_ping", "pgbouncer", "query_statistics", "explain_slow_queries"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; accepted are True and False")
        if self.explain_slow_queries and (not self.query_statistics or self.slow_query_threshold is None):
            raise ConfigurationError("explain_slow_queries=True needs query_statistics=True and a slow_query_threshold")

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


def _check_count(name: str, value: object, least: int, most: int = 1000) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigurationError(f"{name} is {value!r}; accepted are whole numbers from {least} to {most}")


def _check_seconds(name: str, value: object, accepted: str) -> None:
    zero = not accepted.startswith("above")
    if isinstance(value, int | float) and not isinstance(value, bool) and (0 < value <= 86400 or (zero and value == 0)):
        return
    raise ConfigurationError(f"{name} is {value!r}; accepted are seconds {accepted}, up to 86400")
