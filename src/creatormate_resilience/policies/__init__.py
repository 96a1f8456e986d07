"""The breaker's companions: retry, timeout, bulkhead, fallback, and pipelines of them. Each is a `Policy`."""

from __future__ import annotations

from creatormate_resilience.policies._bulkhead import Bulkhead, BulkheadStatistics
from creatormate_resilience.policies._fallback import Fallback
from creatormate_resilience.policies._pipeline import Pipeline
from creatormate_resilience.policies._retry import Attempt, Retry, RetryScheduled
from creatormate_resilience.policies._timeout import Timeout
from creatormate_resilience.policies._wait import Exponential, Wait, constant, exponential

__all__ = (
    "Attempt",
    "Bulkhead",
    "BulkheadStatistics",
    "Exponential",
    "Fallback",
    "Pipeline",
    "Retry",
    "RetryScheduled",
    "Timeout",
    "Wait",
    "constant",
    "exponential",
)
