"""Keeps a Python service answering while what it depends on fails.

The names here are the ones most code needs; everything else stands in its unit: `exceptions`, `breaker`, `policies`,
`cache`, `db`, `tasks`, `settings`, `health`, `toolkit`, `shortcuts`, `integrations`, `testing`. Names are resolved when
they are first used, so importing the package loads none of them.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from creatormate_resilience.breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerRegistry
    from creatormate_resilience.cache import CacheCategory, DistributedCache
    from creatormate_resilience.db import Database
    from creatormate_resilience.exceptions import (
        CircuitOpenError,
        ConfigurationError,
        ExternalAPIError,
        ResilienceError,
        map_exception,
    )
    from creatormate_resilience.policies import Bulkhead, Fallback, Pipeline, Retry, Timeout
    from creatormate_resilience.settings import Settings
    from creatormate_resilience.shortcuts import (
        cache_get,
        cache_set,
        circuit_breaker,
        get_task_result,
        initialize_database,
        submit_background_task,
    )
    from creatormate_resilience.tasks import TaskExecutor, TaskPriority, task
    from creatormate_resilience.toolkit import Resilience

__all__ = (
    "Bulkhead",
    "CacheCategory",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerRegistry",
    "CircuitOpenError",
    "ConfigurationError",
    "Database",
    "DistributedCache",
    "ExternalAPIError",
    "Fallback",
    "Pipeline",
    "Resilience",
    "ResilienceError",
    "Retry",
    "Settings",
    "TaskExecutor",
    "TaskPriority",
    "Timeout",
    "cache_get",
    "cache_set",
    "circuit_breaker",
    "get_task_result",
    "initialize_database",
    "map_exception",
    "submit_background_task",
    "task",
)

_UNITS = (
    ("breaker", ("CircuitBreaker", "CircuitBreakerConfig", "CircuitBreakerRegistry")),
    ("cache", ("CacheCategory", "DistributedCache")),
    ("db", ("Database",)),
    ("exceptions", ("CircuitOpenError", "ConfigurationError", "ExternalAPIError", "ResilienceError", "map_exception")),
    ("policies", ("Bulkhead", "Fallback", "Pipeline", "Retry", "Timeout")),
    ("settings", ("Settings",)),
    ("shortcuts", ("cache_get", "cache_set", "circuit_breaker", "initialize_database")),
    ("shortcuts", ("get_task_result", "submit_background_task")),
    ("tasks", ("TaskExecutor", "TaskPriority", "task")),
    ("toolkit", ("Resilience",)),
)
_UNIT_OF = MappingProxyType({name: unit for unit, names in _UNITS for name in names})


def __getattr__(name: str) -> Any:
    unit = _UNIT_OF.get(name)
    if unit is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{unit}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
