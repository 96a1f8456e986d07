"""The settings of a durable engine, checked where they are given, and the address of its database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.redaction import redact_url
from creatormate_resilience.tasks._options import check_count, check_seconds

__all__ = ("DurableConfig", "conninfo_of")

_IDENTIFIER: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_QUEUE: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}")  # a channel's name has 63 characters, 23 of them Procrastinate's
_SCHEMES: Final = frozenset({"postgres", "postgresql"})


@dataclass(frozen=True, slots=True)
class DurableConfig:
    """See `ProcrastinateEngine`, whose arguments these are."""

    schema: str = "public"
    queue: str = "creatormate"
    routes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    lease: float = 30.0
    max_freeze: float = 60.0
    max_rescues: int = 5
    poll_interval: float = 1.0
    result_ttl: float = 86_400.0
    failure_ttl: float = 604_800.0
    pool_size: int = 5
    connect_timeout: float = 10.0

    def __post_init__(self) -> None:
        if not _IDENTIFIER.fullmatch(self.schema):
            raise ConfigurationError(
                f"schema is {self.schema!r:.100}; accepted is a name of small letters, digits and underscores"
            )
        for queue in (self.queue, *self.routes.values()):
            check_queue(queue)
        for name in ("lease", "max_freeze", "poll_interval", "result_ttl", "failure_ttl", "connect_timeout"):
            check_seconds(name, getattr(self, name), zero=False)
        for name in ("max_rescues", "pool_size"):
            check_count(name, getattr(self, name))
        object.__setattr__(self, "routes", MappingProxyType(dict(self.routes)))

    @property
    def heartbeat(self) -> float:
        """Seconds between two signs of life of a worker."""
        return self.lease / 4

    def queue_of(self, name: str) -> str:
        """The queue for tasks of a name."""
        return self.routes.get(name, self.queue)


def check_queue(queue: str) -> None:
    """Refuse what cannot be a queue's name with a `ConfigurationError`."""
    if not _QUEUE.fullmatch(queue):
        raise ConfigurationError(
            f"queue is {queue!r:.100}; accepted are 1 to 40 of A-Z, a-z, 0-9, dot, dash and underscore"
        )


def conninfo_of(dsn: str) -> str:
    """A database's URL as PostgreSQL's own library takes it.

    Args:
        dsn: `postgresql://`, `postgres://`, or one that names a driver of SQLAlchemy's, `postgresql+asyncpg://`.

    Returns:
        The same without the driver.

    Raises:
        ConfigurationError: It is not the URL of a PostgreSQL database. The error shows no password.
    """
    scheme = str(dsn).partition("://")[0].lower()
    if scheme.partition("+")[0] not in _SCHEMES or "://" not in str(dsn):
        raise ConfigurationError(
            f"dsn is {redact_url(str(dsn)) or 'empty'}; accepted is postgresql://user@host:5432/database"
        )
    try:
        parts = urlsplit(dsn)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        raise ConfigurationError(f"dsn {redact_url(dsn)} is not a URL; a special character is written %XX") from None
    query = [("sslmode" if name == "ssl" else name, value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(query, quote_via=quote), ""))
