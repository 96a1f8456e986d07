"""The guide's module-level functions, over the current `Resilience` (see `toolkit.current_resilience`).

Decorators made here are declarations: they bind to the current `Resilience` at their first call, and a configuration
from settings wins over the decorator's. Where nothing was started, the first call builds a `Resilience` from the
environment; `await shutdown()` closes that one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, ParamSpec, TypeVar, cast

from creatormate_resilience.breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerRegistry
from creatormate_resilience.cache import DistributedCache
from creatormate_resilience.db import Database
from creatormate_resilience.policy import is_async
from creatormate_resilience.tasks import TaskExecutor, TaskPriority
from creatormate_resilience.toolkit import Resilience, close_default, current_resilience

__all__ = (
    "cache_get",
    "cache_set",
    "circuit_breaker",
    "get_async_processor",
    "get_circuit_breaker_manager",
    "get_database",
    "get_distributed_cache",
    "get_task_result",
    "initialize_database",
    "shutdown",
    "submit_background_task",
)

P = ParamSpec("P")
T = TypeVar("T")
_OPTIONS = frozenset({"run_in", "retry", "delay", "expires", "key", "unique_key", "portable"})


def circuit_breaker(
    name: str, config: CircuitBreakerConfig | None = None
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Protect a function by the circuit breaker of that name.

    Args:
        name: Of the dependency.
        config: Used where settings (`CIRCUIT_BREAKER_CONFIGS`) have none for this name.

    Returns:
        A decorator for `def`, `async def` and generator functions, which keep their kind and signature.

    Raises:
        ConfigurationError: At decoration, where an argument is not what it should be, or where `config.timeout` is set
            and the function is not async; at the first call, where two decorators disagree about one name.
    """
    declared = CircuitBreaker(name, config)  # what cannot work is refused now, not at the first call

    def decorate(fn: Callable[P, T]) -> Callable[P, T]:
        declared(fn)
        return _bind_late(name, config, fn)

    return decorate


def get_circuit_breaker_manager() -> CircuitBreakerRegistry:
    """All circuit breakers: `.get(name)`, `.statistics()`."""
    return current_resilience().breakers


async def get_distributed_cache() -> DistributedCache:
    """The cache, started."""
    return (await _started()).cache


async def cache_get(key: str, default: Any = None) -> Any:
    """Read from the cache.

    Args:
        key: What to read.
        default: Given back on a miss. Where None may have been stored, pass something else to tell them apart.
    """
    return await (await _started()).cache.get(key, default)


async def cache_set(key: str, value: Any, ttl: float | None = None, category: str | None = None) -> None:
    """Write to the cache.

    Args:
        key: Where to write.
        value: What to write.
        ttl: Seconds it is kept; left out, the category's.
        category: One of `CACHE_TTLS`.
    """
    await (await _started()).cache.set(key, value, ttl=ttl, category=category)


async def initialize_database(url: str | None = None, **options: Any) -> Database:
    """Set up the database of the current `Resilience`.

    Args:
        url: Left out, the settings' `DATABASE_URL`.
        **options: Of `Database`, such as `pool_size=10, max_overflow=20`; they go before `DATABASE_CONFIG`.

    Returns:
        The database, started; it replaces and closes the one that was.
    """
    resilience = await _started()
    settings = resilience.settings
    database = Database(url or settings.database_url, **(settings.database_config | options))
    await resilience.use_database(database)
    return database


async def get_database() -> Database:
    """The database, started."""
    return (await _started()).database


async def get_async_processor() -> TaskExecutor:
    """The task executor, started."""
    return (await _started()).tasks


async def submit_background_task(
    fn: Callable[..., Any],
    *args: Any,
    priority: TaskPriority = TaskPriority.NORMAL,
    timeout: float | None = None,
    **kwargs: Any,
) -> str:
    """Run a function in the background, in this process and memory: a restart forgets it.

    Args:
        fn: A sync or async function.
        *args: For the function.
        priority: Who goes first.
        timeout: Seconds it may take.
        **kwargs: For the function, where it has parameters of these names; `run_in`, `retry`, `delay`, `expires`,
            `key`, `unique_key` and `portable` are options of the executor; all others become tags (`user_id=...`) that
            `TaskExecutor.list` can search.

    Returns:
        The task's id, for `get_task_result`.
    """
    executor = (await _started()).tasks
    accepted = _parameters(fn)
    own = _OPTIONS - accepted
    options = {name: kwargs.pop(name) for name in own & kwargs.keys()}
    takes_all = None in accepted
    arguments = {name: value for name, value in kwargs.items() if takes_all or name in accepted}
    tags = {name: str(value) for name, value in kwargs.items() if name not in arguments}
    handle = await executor.options(priority=priority, timeout=timeout, tags=tags, **options).submit(
        fn, *args, **arguments
    )
    return handle.id


async def get_task_result(task_id: str, wait: bool = True, timeout: float | None = 30.0) -> Any:
    """What a task returned.

    Args:
        task_id: From `submit_background_task`.
        wait: Whether to wait for its end.
        timeout: Longest wait, in seconds; waiting never cancels the task.

    Raises:
        TaskResultTimeoutError: It is not done yet.
        TaskError: It failed, timed out or was cancelled; an error of this library's family is raised as it was.
        TaskNotFoundError: No such task is known to this process.
    """
    return await (await _started()).tasks.result(task_id, timeout=timeout if wait else 0.0)


async def shutdown() -> None:
    """Close the `Resilience` of this event loop that the first shortcut built; who started another closes that."""
    await close_default()


async def _started() -> Resilience:
    resilience = current_resilience()
    if not resilience.started:
        await resilience.start()
    return resilience


def _parameters(fn: Callable[..., Any]) -> set[str | None]:
    """Names that `fn` takes by keyword; None among them when it takes any."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # a builtin that does not tell
        return {None}
    by_name = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    names: set[str | None] = {parameter.name for parameter in parameters if parameter.kind in by_name}
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        names.add(None)
    return names


def _bind_late(name: str, config: CircuitBreakerConfig | None, fn: Callable[P, T]) -> Callable[P, T]:
    bound: tuple[CircuitBreakerRegistry, Callable[P, T]] | None = None

    def bind() -> Callable[P, T]:
        nonlocal bound
        registry = current_resilience().breakers
        if bound is None or bound[0] is not registry:
            registry.declare(name, config)
            bound = registry, registry.get(name)(fn)
        return bound[1]

    return cast("Callable[P, T]", functools.wraps(fn)(_late_wrapper(fn, bind)))


def _late_wrapper(fn: Callable[..., Any], bind: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(fn):

        async def late_stream(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            stream = bind()(*args, **kwargs)
            try:
                async for item in stream:
                    yield item
            finally:
                await stream.aclose()

        return late_stream
    if is_async(fn):

        async def late_async(*args: Any, **kwargs: Any) -> Any:
            return await cast("Awaitable[Any]", bind()(*args, **kwargs))

        return late_async
    if inspect.isgeneratorfunction(fn):

        def late_generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            stream: Generator[Any, Any, Any] = bind()(*args, **kwargs)
            return (yield from stream)

        return late_generator

    def late_sync(*args: Any, **kwargs: Any) -> Any:
        return bind()(*args, **kwargs)

    return late_sync
