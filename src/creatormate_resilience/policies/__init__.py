"""The breaker's companions: retry, timeout, bulkhead, rate limiter, hedge, fallback, and pipelines of them."""

from __future__ import annotations

from creatormate_resilience.policies._attempts import Attempt
from creatormate_resilience.policies._budget import RetryBudget, RetryBudgetExhausted, RetryBudgetStatistics
from creatormate_resilience.policies._bulkhead import Bulkhead, BulkheadFull, BulkheadGuard, BulkheadStatistics
from creatormate_resilience.policies._fallback import Fallback, FallbackStatistics, FallbackUsed
from creatormate_resilience.policies._hedge import Hedge, HedgeStarted, HedgeStatistics
from creatormate_resilience.policies._hedge_config import HedgeConfig, HedgeOptions
from creatormate_resilience.policies._pipeline import Pipeline
from creatormate_resilience.policies._planner import RetryScheduled, RetryStatistics
from creatormate_resilience.policies._rate_limiter import (
    RateLimited,
    RateLimiter,
    RateLimiterGuard,
    RateLimiterStatistics,
)
from creatormate_resilience.policies._rate_limiter_config import RateLimiterConfig, RateLimiterOptions
from creatormate_resilience.policies._retry import Retry
from creatormate_resilience.policies._retry_config import RetryConfig, RetryOptions
from creatormate_resilience.policies._timeout import TimedOut, Timeout, TimeoutStatistics
from creatormate_resilience.policies._wait import Exponential, Wait, constant, exponential

__all__ = (
    "Attempt",
    "Bulkhead",
    "BulkheadFull",
    "BulkheadGuard",
    "BulkheadStatistics",
    "Exponential",
    "Fallback",
    "FallbackStatistics",
    "FallbackUsed",
    "Hedge",
    "HedgeConfig",
    "HedgeOptions",
    "HedgeStarted",
    "HedgeStatistics",
    "Pipeline",
    "RateLimited",
    "RateLimiter",
    "RateLimiterConfig",
    "RateLimiterGuard",
    "RateLimiterOptions",
    "RateLimiterStatistics",
    "Retry",
    "RetryBudget",
    "RetryBudgetExhausted",
    "RetryBudgetStatistics",
    "RetryConfig",
    "RetryOptions",
    "RetryScheduled",
    "RetryStatistics",
    "TimedOut",
    "Timeout",
    "TimeoutStatistics",
    "Wait",
    "constant",
    "exponential",
)
