"""Circuit breakers: stop calling what fails, find out cheaply when it is well again."""

from __future__ import annotations

from creatormate_resilience.breaker._breaker import CircuitBreaker
from creatormate_resilience.breaker._config import CircuitBreakerConfig, CountWindow, TimeWindow
from creatormate_resilience.breaker._events import BreakerStateChanged, CallRejected
from creatormate_resilience.breaker._machine import BreakerState
from creatormate_resilience.breaker._permit import Permit
from creatormate_resilience.breaker._registry import CircuitBreakerRegistry
from creatormate_resilience.breaker._statistics import BreakerStatistics
from creatormate_resilience.breaker._store import BreakerStore, InProcessStore, Verdict
from creatormate_resilience.latencies import LatencyQuantiles

__all__ = (
    "BreakerState",
    "BreakerStateChanged",
    "BreakerStatistics",
    "BreakerStore",
    "CallRejected",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerRegistry",
    "CountWindow",
    "InProcessStore",
    "LatencyQuantiles",
    "Permit",
    "TimeWindow",
    "Verdict",
)
