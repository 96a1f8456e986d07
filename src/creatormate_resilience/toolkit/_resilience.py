"""`Resilience`: breakers, services, cache, database, tasks and health of one application, one start and one end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Never, Self, TypeVar

from creatormate_resilience.breaker import BreakerState, CircuitBreakerRegistry
from creatormate_resilience.cache import CacheCategory, CacheState, DistributedCache
from creatormate_resilience.db import Database, DatabaseState
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import (
    CacheUnavailableError,
    ConfigurationError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    FeatureDisabledError,
    MissingDependencyError,
)
from creatormate_resilience.health import CheckResult, HealthRegistry, HealthStatus
from creatormate_resilience.log import get_logger
from creatormate_resilience.policies import Bulkhead, Pipeline, Retry, Timeout, exponential
from creatormate_resilience.policy import Policy
from creatormate_resilience.settings import ServiceSettings, Settings
from creatormate_resilience.tasks import HistoryLimits, KeyLimits, TaskExecutor
from creatormate_resilience.toolkit._current import Current

__all__ = ("Resilience", "close_default", "current_resilience")

_log = get_logger("toolkit")
_DATABASE_STATUS = MappingProxyType(
    {
        DatabaseState.UP: HealthStatus.PASS,
        DatabaseState.DEGRADED: HealthStatus.WARN,
        DatabaseState.SATURATED: HealthStatus.WARN,
        DatabaseState.DOWN: HealthStatus.FAIL,
    }
)
T = TypeVar("T")


class Resilience:
    """Owns what an application needs to keep answering. Making one does no I/O; `async with` starts and closes it.

    Args:
        settings: None reads the environment; see `Settings`.
        cache: Used instead of the one the settings describe; so are the next three. What is given is started and
            closed here all the same.
        database: Used instead of the settings' own.
        tasks: Used instead of the settings' own.
        breakers: Used instead of the settings' own.
        listeners: Told of everything that breakers, services, cache, database and tasks have to say.

    Starting one makes it the current one of its event loop, so that handlers and the module-level shortcuts find it. A
    dependency that is away does not keep it from starting: `health` tells, and comes back by itself.

    A part whose optional package is missing raises `MissingDependencyError` when it is asked for, not before.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        cache: DistributedCache | None = None,
        database: Database | None = None,
        tasks: TaskExecutor | None = None,
        breakers: CircuitBreakerRegistry | None = None,
        listeners: Iterable[Listener] = (),
    ) -> None:
        self.settings = settings or Settings()
        self.health = HealthRegistry()
        self._listeners = tuple(listeners)
        self._breakers = breakers or self._make_breakers()
        self._cache = _part(cache, self._make_cache)
        self._database = _part(database, self._make_database)
        # The default SQLite file is not made for applications that never ask for a database.
        self._uses_database = database is not None or "database_url" in self.settings.model_fields_set
        self._tasks = _part(tasks, self._make_tasks)
        self._services: dict[str, Pipeline[Never]] = {}
        self._resources: AsyncExitStack | None = None
        self._starting: asyncio.Lock | None = None
        self._closed = False
        self._register_checks()

    @property
    def breakers(self) -> CircuitBreakerRegistry:
        """All circuit breakers, by name."""
        return self._breakers

    @property
    def cache(self) -> DistributedCache:
        """The cache.

        Raises:
            MissingDependencyError: The extra `cache` (or `redis`) is not installed.
        """
        return _given(self._cache)

    @property
    def database(self) -> Database:
        """The database.

        Raises:
            MissingDependencyError: The extra `sqlite` or `postgres` is not installed.
        """
        return _given(self._database)

    @property
    def tasks(self) -> TaskExecutor:
        """The task executor.

        Raises:
            FeatureDisabledError: `ENABLE_ASYNC_PROCESSING` is off.
        """
        if not self.settings.enable_async_processing:
            raise FeatureDisabledError("tasks are switched off; set ENABLE_ASYNC_PROCESSING=true to run them")
        return _given(self._tasks)

    @property
    def started(self) -> bool:
        """Whether it is up."""
        return self._resources is not None

    def service(self, name: str) -> Pipeline[Never]:
        """The policies around calls of one dependency, in the right order: timeout, retry, breaker, bulkhead, attempt.

        Args:
            name: Of the dependency; its breaker has the same name, its numbers stand in `SERVICES`.

        Returns:
            A pipeline for async functions; the same one each time.
        """
        pipeline = self._services.get(name)
        if pipeline is None:
            options = self.settings.services.get(name) or ServiceSettings()
            pipeline = self._services[name] = Pipeline(name, *self._service_policies(name, options))
        return pipeline

    async def start(self) -> None:
        """Start all parts and become the current one of this event loop. Starting twice does nothing."""
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._resources is not None:
                return
            if self._closed:
                raise ConfigurationError("this Resilience was closed; make a new one, it is started once")
            async with AsyncExitStack() as stack:
                for part, eager in self._parts():
                    await _start(part, stack, eager=eager, drain=self.settings.shutdown_timeout)
                self._resources = stack.pop_all()
        _current.push(self)
        self.health.started, self.health.draining = True, False

    async def aclose(self) -> None:
        """Close all parts, the last started first, so that tasks still have cache and database.

        Background tasks, and whoever has a database connection, get `shutdown_timeout` seconds to finish. Closing twice
        does nothing.
        """
        resources, self._resources = self._resources, None
        if resources is None:
            if isinstance(self._database, Database) and not self._closed:
                await self._database.aclose()  # it may have been used without a start
            return
        self._closed = True
        self.health.draining = True
        _current.remove(self)
        try:
            await self.health.aclose()
        finally:
            await resources.aclose()
        self.health.started = False

    async def use_database(self, database: Database) -> None:
        """Replace the database, closing the old one.

        Args:
            database: The new one; it is started here and closed with everything else.
        """
        if self._resources is None:
            raise ConfigurationError("start this Resilience before its database is replaced")
        old = self._database
        await _start(database, self._resources, eager=True, drain=self.settings.shutdown_timeout)
        self._uses_database = True
        self._database = database
        if isinstance(old, Database):
            await old.aclose()

    @contextmanager
    def as_current(self) -> Generator[Self]:
        """Make this the current one of the calling context only; for tests, or several at once."""
        with _current.overridden(self):
            yield self

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Resilience {'started' if self.started else 'not started'} {self.settings!r}>"

    def _parts(self) -> list[tuple[Any, bool]]:
        """What to start and close, and whether at once or only when it is first used."""
        parts: list[tuple[Any, bool]] = [(self._database, self._uses_database), (self._cache, True)]
        if self.settings.enable_async_processing:
            parts.append((self._tasks, True))
        return [(part, eager) for part, eager in parts if not _is_missing(part)]

    def _make_breakers(self) -> CircuitBreakerRegistry:
        enabled = self.settings.enable_circuit_breakers
        return CircuitBreakerRegistry(
            self.settings.circuit_breaker_configs,
            listeners=self._listeners,
            initial_state=BreakerState.CLOSED if enabled else BreakerState.DISABLED,
        )

    def _make_cache(self) -> DistributedCache:
        settings = self.settings
        categories = {name: _category(name, value) for name, value in settings.cache_ttls.items()}
        url = settings.redis_url if settings.enable_distributed_cache else None
        return DistributedCache(
            url, namespace=settings.cache_namespace, categories=categories, listeners=self._listeners
        )

    def _make_database(self) -> Database:
        settings = self.settings
        return _configured(
            "DATABASE_URL and DATABASE_CONFIG",
            lambda: Database(settings.database_url, listeners=self._listeners, **settings.database_config),
        )

    def _make_tasks(self) -> TaskExecutor:
        config = dict(self.settings.task_config)
        for name, kind in (("history", HistoryLimits), ("key_limits", KeyLimits)):
            limits = config.get(name)
            if isinstance(limits, dict):  # JSON has no better form for it
                config[name] = _configured(f"TASK_CONFIG.{name}", partial(kind, **limits))
        return _configured("TASK_CONFIG", lambda: TaskExecutor(listeners=self._listeners, **config))

    def _service_policies(self, name: str, options: ServiceSettings) -> list[Policy]:
        policies: list[Policy] = [] if options.timeout is None else [Timeout(options.timeout)]
        if options.max_attempts > 1:
            wait = exponential(options.retry_wait, max=options.retry_wait_max)
            # Whoever is refused by the service's own breaker is told at once, not held until the circuit closes.
            retry = Retry(options.max_attempts, wait, retry_refusals=False, name=name, listeners=self._listeners)
            policies.append(retry)
        policies.append(self._breakers.get(name))
        if options.max_concurrent is not None:
            policies.append(Bulkhead(options.max_concurrent, options.max_queue, name=name))
        if options.attempt_timeout is not None:
            policies.append(Timeout(options.attempt_timeout))
        return policies

    def _register_checks(self) -> None:
        if not _is_missing(self._database):
            self.health.register("database", self._check_database, critical=True)
        if not _is_missing(self._cache):
            self.health.register("cache", self._check_cache, critical=False)
        self.health.register("breakers", self._check_breakers, critical=False, cache_ttl=0.0)

    async def _check_database(self) -> CheckResult:
        if not self._uses_database and not self.database.opened:
            return CheckResult(HealthStatus.PASS, {"state": "unused"})
        found = await self.database.health()
        pool = None if found.pool is None else asdict(found.pool)
        details: dict[str, Any] = {"state": found.state.value, "detail": found.detail, "pool": pool}
        if found.replicas:
            details["replicas"] = [asdict(replica) for replica in found.replicas]
        return CheckResult(_DATABASE_STATUS[found.state], details)

    async def _check_cache(self) -> CheckResult:
        await self.cache.health()
        state = self.cache.state
        status = HealthStatus.WARN if state is CacheState.DEGRADED else HealthStatus.PASS
        return CheckResult(status, {"state": str(state)})

    async def _check_breakers(self) -> CheckResult:
        closed = {BreakerState.CLOSED, BreakerState.DISABLED, BreakerState.METRICS_ONLY}
        states = {breaker.name: str(breaker.state) for breaker in self._breakers}
        status = HealthStatus.PASS if all(breaker.state in closed for breaker in self._breakers) else HealthStatus.WARN
        return CheckResult(status, {"states": states})


def _from_environment() -> Resilience:
    resilience = Resilience()
    _log.info("no Resilience was started; one was built from the environment", settings=repr(resilience.settings))
    return resilience


_current = Current("creatormate_resilience", _from_environment)


def current_resilience() -> Resilience:
    """The `Resilience` in force here.

    Returns:
        The one set by `as_current()`; else the one started on this event loop, or for code without an event loop
        (worker threads) the one started last in this process; else one built from the environment, not yet started.
    """
    return _current.get()


async def close_default() -> None:
    """Close the `Resilience` that was built here from the environment because none had been started, if any was."""
    default = _current.take_default()
    if default is not None:
        await default.aclose()


def _part(given: T | None, make: Callable[[], T]) -> T | MissingDependencyError:
    if given is not None:
        return given
    try:
        return make()
    except MissingDependencyError as error:
        return error


def _given(part: T | MissingDependencyError) -> T:
    if isinstance(part, MissingDependencyError):
        raise part.with_traceback(None)
    return part


def _is_missing(part: object) -> bool:
    return isinstance(part, MissingDependencyError)


async def _start(part: Any, stack: AsyncExitStack, *, eager: bool, drain: float) -> None:
    stack.push_async_callback(_closer(part, drain))
    if not eager:
        return
    try:
        await part.start()
    except (CacheUnavailableError, DatabaseUnavailableError, DatabaseTimeoutError) as error:
        _log.warning("a dependency is away; it is used when it comes back", part=repr(part), reason=str(error))
    else:
        if isinstance(part, DistributedCache) and part.state is CacheState.DEGRADED:
            reason = part.statistics().last_error
            _log.warning("Redis is away; the cache goes on in memory until it answers", part=repr(part), reason=reason)


def _closer(part: Any, drain: float) -> Callable[[], Awaitable[Any]]:
    """What ends a part, once what it is at has had `drain` seconds to finish."""
    if isinstance(part, TaskExecutor):
        return partial(part.shutdown, drain=drain)
    if isinstance(part, Database):
        return partial(part.aclose, drain_timeout=drain)
    close: Callable[[], Awaitable[Any]] = part.aclose
    return close


def _category(name: str, value: float | dict[str, Any]) -> CacheCategory:
    values: dict[str, Any] = value if isinstance(value, dict) else {"ttl": value}
    return _configured(f"CACHE_TTLS.{name}", lambda: CacheCategory(**values))


def _configured(name: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except MissingDependencyError:
        raise
    except (ConfigurationError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{name}: {error}") from error
