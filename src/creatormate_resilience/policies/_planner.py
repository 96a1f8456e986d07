"""What a retry decides, and what it remembers of that; it runs nothing itself."""

from __future__ import annotations

import random
import sys
import threading
from dataclasses import dataclass, replace
from typing import Any, cast

from creatormate_resilience.deadline import remaining_time
from creatormate_resilience.events import Event, notify
from creatormate_resilience.exceptions import ConfigurationError, RetriesExhaustedError, map_exception
from creatormate_resilience.options import clock_of
from creatormate_resilience.outcome import Outcome, OutcomeKind, predicate
from creatormate_resilience.policies._budget import RetryBudgetExhausted
from creatormate_resilience.policies._retry_config import RetryConfig

__all__ = ("Planner", "RetryScheduled", "RetryStatistics")


@dataclass(frozen=True, slots=True)
class RetryScheduled(Event):
    """An attempt failed and another will follow.

    Attributes:
        attempt: Number of attempts made, from 1.
        wait: Seconds until the next.
        error: Name of the exception's type.
    """

    attempt: int
    wait: float
    error: str


@dataclass(frozen=True, slots=True)
class RetryStatistics:
    """A snapshot: what was retried since the start, and what came of it. Who succeeds at once is not counted.

    Attributes:
        retries: Attempts that were scheduled after a failure.
        recovered: Calls that succeeded after one.
        exhausted: Calls whose every attempt failed.
        over_budget: Failures that were raised because the budget was empty.
    """

    retries: int = 0
    recovered: int = 0
    exhausted: int = 0
    over_budget: int = 0


class Planner:
    """Decides after each failed attempt whether and when another follows."""

    __slots__ = ("_listeners", "_lock", "_retry_on", "_seen", "clock", "config")

    def __init__(self, config: RetryConfig) -> None:
        self.config = config
        self.clock = clock_of(config.clock)
        self._listeners = tuple(config.listeners)
        self._retry_on = None if config.retry_on is None else predicate("retry_on", config.retry_on)
        self._lock = threading.Lock()
        self._seen = RetryStatistics()

    def begin(self) -> None:
        """A call begins."""
        if self.config.budget is not None:
            self.config.budget.deposit()

    def delay_before(self, attempt: int, error: BaseException) -> float | None:
        """The decision by error, attempts and time; see `Retry.delay_before`."""
        if attempt >= self.config.max_attempts or not isinstance(error, Exception):
            return None
        if not self._is_retryable(error):
            return None
        stated = map_exception(error).stated_retry_after or 0.0
        if stated > self.config.max_retry_after:
            return None
        delay = max(stated, self._wait(attempt))
        left = remaining_time()
        return None if left is not None and delay >= left else delay

    def plan(self, attempt: int, error: Exception) -> float | None:
        """Decide, spend and tell.

        Args:
            attempt: Number of attempts made, from 1.
            error: What the last one raised.

        Returns:
            Seconds to wait before the next, or None to raise the error as it is.

        Raises:
            RetriesExhaustedError: That was the last of several attempts.
        """
        delay = self.delay_before(attempt, error)
        if delay is None:
            if attempt >= self.config.max_attempts > 1 and self._is_retryable(error):
                self._count(exhausted=1)
                wait = map_exception(error).retry_after
                raise RetriesExhaustedError(f"gave up after {attempt} attempts", retry_after=wait) from error
            return None
        kind = type(error).__name__
        if self.config.budget is not None and not self.config.budget.withdraw():
            self._count(over_budget=1)
            notify(self._listeners, RetryBudgetExhausted(self.config.name, kind))
            return None
        self._count(retries=1)
        notify(self._listeners, RetryScheduled(self.config.name, attempt, delay, kind))
        return delay

    def recovered(self) -> None:
        """An attempt after the first has succeeded."""
        self._count(recovered=1)

    def statistics(self) -> RetryStatistics:
        """One consistent snapshot."""
        return self._seen

    def _wait(self, attempt: int) -> float:
        wait: Any = self.config.wait(attempt, random.random())  # noqa: S311 - jitter needs no secrecy
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait <= sys.float_info.max:
            raise ConfigurationError(f"wait gave {wait!r} after attempt {attempt}; accepted are finite seconds from 0")
        return wait

    def _is_retryable(self, error: Exception) -> bool:
        if self._retry_on is not None:
            return bool(self._retry_on(error))
        kind = cast("object", self.config.classify(Outcome(exception=error)))  # it may not keep its promise
        if not isinstance(kind, OutcomeKind):
            raise ConfigurationError(f"classify gave {kind!r:.200}; accepted is an OutcomeKind") from error
        if kind is OutcomeKind.SUCCESS or not map_exception(error).retryable:
            return False
        return kind is not OutcomeKind.IGNORED or (self.config.retry_refusals and remaining_time() is not None)

    def _count(self, **more: int) -> None:
        with self._lock:
            self._seen = replace(
                self._seen, **{name: getattr(self._seen, name) + number for name, number in more.items()}
            )
