"""Settings of a service, from keyword arguments, the environment and `.env`. Nothing else here reads the environment.

The names are the guide's: `REDIS_URL`, `DATABASE_URL`, `ENABLE_CIRCUIT_BREAKERS`, `ENABLE_DISTRIBUTED_CACHE`,
`ENABLE_ASYNC_PROCESSING`, `SENTRY_DSN`, and as JSON `CIRCUIT_BREAKER_CONFIGS`, `CACHE_TTLS`, `DATABASE_CONFIG`.
"""

from __future__ import annotations

import difflib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from creatormate_resilience.exceptions import ConfigurationError, MissingDependencyError
from creatormate_resilience.redaction import redact_url
from creatormate_resilience.redis_client import SCHEMES

__all__ = ("ServiceSettings", "Settings")

_REDIS = tuple(f"{scheme}://" for scheme in SCHEMES)
_INSTALLED = find_spec("pydantic") is not None and find_spec("pydantic_settings") is not None

if TYPE_CHECKING or _INSTALLED:
    from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
    from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

    class ServiceSettings(BaseModel):
        """What `Resilience.service(name)` puts around calls of one dependency.

        Attributes:
            timeout: Seconds for one call with all its attempts; None sets no limit.
            attempt_timeout: Seconds for one attempt; None sets no limit.
            max_attempts: Attempts in all; 1 never retries.
            retry_wait: Seconds before the second attempt; each further wait is twice as long.
            retry_wait_max: Longest wait between attempts, in seconds.
            max_concurrent: Calls at once; None sets no limit.
            max_queue: Calls that may wait for a place.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        timeout: float | None = Field(default=30.0, gt=0, allow_inf_nan=False)
        attempt_timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
        max_attempts: int = Field(default=3, ge=1, le=1000)
        retry_wait: float = Field(default=0.1, ge=0, le=3600)
        retry_wait_max: float = Field(default=10.0, ge=0, le=86400)
        max_concurrent: int | None = Field(default=None, ge=1)
        max_queue: int = Field(default=0, ge=0)

        @model_validator(mode="after")
        def _fits_together(self) -> Self:
            if self.timeout is not None and self.attempt_timeout is not None and self.attempt_timeout > self.timeout:
                raise ValueError(
                    f"attempt_timeout is {self.attempt_timeout:g}; accepted is at most timeout, {self.timeout:g}"
                )
            if self.max_queue and self.max_concurrent is None:
                raise ValueError("max_queue needs max_concurrent: without a limit nothing waits")
            return self

    class Settings(BaseSettings):
        """How a service is set up.

        Attributes:
            redis_url: Of Redis or Valkey, of a cluster or of sentinels, see `redis_client.open_redis`; None keeps the
                cache in memory.
            database_url: Of PostgreSQL or SQLite.
            enable_circuit_breakers: False lets all calls through; they are still counted.
            enable_distributed_cache: False keeps the cache in memory even where `redis_url` is set.
            enable_async_processing: False refuses tasks with `FeatureDisabledError`.
            sentry_dsn: Where errors are reported; None reports nowhere.
            circuit_breaker_configs: Breaker name to settings of `CircuitBreakerConfig`.
            cache_namespace: Prefix of all keys, so that services can share a server.
            cache_ttls: Category to seconds, or to settings of `CacheCategory`.
            database_config: Settings of `DatabaseConfig`, such as `pool_size`.
            task_config: Settings of `TaskExecutor`, such as `max_concurrent`.
            services: Dependency to `ServiceSettings`.
            shutdown_timeout: Seconds that background tasks, and whoever has a database connection, get to finish when
                the service ends.

        Raises:
            ConfigurationError: A name is unknown or a value not accepted. The message never shows the value of a URL.
        """

        model_config = SettingsConfigDict(
            env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
        )

        redis_url: str | None = Field(default=None, repr=False)
        database_url: str = Field(default="sqlite+aiosqlite:///app.db", repr=False)
        enable_circuit_breakers: bool = True
        enable_distributed_cache: bool = True
        enable_async_processing: bool = True
        sentry_dsn: str | None = Field(default=None, repr=False)
        circuit_breaker_configs: dict[str, dict[str, Any]] = {
            "youtube_api": {"failure_threshold": 5, "recovery_timeout": 60, "timeout": 30},
            "openai_api": {"failure_threshold": 3, "recovery_timeout": 30, "timeout": 60},
        }
        cache_namespace: str = Field(default="app", min_length=1, max_length=64)
        cache_ttls: dict[str, float | dict[str, Any]] = {
            "agent_response": 1800.0,
            "user_context": 3600.0,
            "youtube_api": 900.0,
            "analytics": 600.0,
        }
        database_config: dict[str, Any] = {}
        task_config: dict[str, Any] = {}
        services: dict[str, ServiceSettings] = {}
        shutdown_timeout: float = Field(default=5.0, ge=0.0, le=3600.0, allow_inf_nan=False)

        def __init__(self, **values: Any) -> None:
            _refuse_unknown(values, set(type(self).model_fields))
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigurationError(_explain(error)) from None  # the cause would show the input
            except SettingsError as error:
                raise ConfigurationError(f"{_field_of(error)}: this is not JSON; accepted is a JSON object") from None

        @field_validator("redis_url")
        @classmethod
        def _check_redis_url(cls, value: str | None) -> str | None:
            if value is not None and not value.startswith(_REDIS):
                raise ValueError(f"{redact_url(value)!r} is no Redis URL; accepted are {', '.join(_REDIS)}")
            return value

        @field_validator("database_url")
        @classmethod
        def _check_database_url(cls, value: str) -> str:
            if not value.startswith(("postgres://", "postgresql://", "postgresql+asyncpg://", "sqlite")):
                raise ValueError(
                    f"{redact_url(value)!r} is no database URL; accepted are postgresql+asyncpg://user@host/name "
                    "and sqlite+aiosqlite:///file.db"
                )
            return value

        def __repr__(self) -> str:
            redis = "memory" if self.redis_url is None else redact_url(self.redis_url)
            return f"<Settings cache={redis} database={redact_url(self.database_url)}>"

        __str__ = __repr__

    def _explain(error: ValidationError) -> str:
        lines: list[str] = []
        for problem in error.errors(include_url=False, include_context=False, include_input=False):
            name = ".".join(map(str, problem["loc"])) or "settings"
            head, _, rest = name.partition(".")
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                message = f"unknown setting; accepted are {', '.join(sorted(ServiceSettings.model_fields))}"
            lines.append(f"{head.upper()}{'.' + rest if rest else ''}: {message}")
        return "; ".join(lines)

else:  # the names exist, so that importing modules need not care

    class _NeedsPydantic:
        def __init__(self, **_values: Any) -> None:
            raise MissingDependencyError("pydantic-settings", extra="settings", needed_by=type(self).__name__)

    class ServiceSettings(_NeedsPydantic):
        """Stands in where pydantic is missing."""

    class Settings(_NeedsPydantic):
        """Stands in where pydantic is missing."""


def _field_of(error: Exception) -> str:
    quoted = str(error).split('"')
    return quoted[1].upper() if len(quoted) > 2 else "settings"


def _refuse_unknown(values: dict[str, Any], known: set[str]) -> None:
    for name in values:
        if name not in known and not name.startswith("_"):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"accepted are {', '.join(sorted(known))}"
            raise ConfigurationError(f"unknown setting {name!r}; {hint}")
