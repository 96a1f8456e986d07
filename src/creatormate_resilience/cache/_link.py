"""The way to Redis: through the breaker, and knowing whether it is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from creatormate_resilience.breaker import CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.cache._events import CacheStateChanged
from creatormate_resilience.cache._statistics import CacheState
from creatormate_resilience.clock import Clock
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import CacheUnavailableError, CircuitOpenError, ResilienceError
from creatormate_resilience.latencies import Latencies
from creatormate_resilience.log import get_logger
from creatormate_resilience.policy import Policy
from creatormate_resilience.redaction import redact_text

__all__ = ("Link", "default_breaker")

P = ParamSpec("P")
T = TypeVar("T")

_log = get_logger("cache")


def default_breaker(clock: Clock) -> CircuitBreaker:
    """What stands before Redis: open after three failures in a row, one probe at a time."""
    config = CircuitBreakerConfig(
        failure_threshold=3,
        recovery_timeout=0.5,
        recovery_timeout_max=10.0,
        half_open_max_calls=1,
        half_open_max_concurrent=1,
    )
    return CircuitBreaker("cache:redis", config, clock=clock)


class Link:
    """The way to Redis.

    Args:
        name: Of the cache.
        breaker: Stands before Redis.
        state: Where to begin: MEMORY_ONLY where there is no Redis.
        clock: Where durations come from.
        tell: Is told of `CacheStateChanged`.

    Attributes:
        state: As the last call found it.
        latencies: How long calls took that Redis answered.
        errors: Calls that Redis did not answer, or refused.
        last_error: The last of them, redacted.
    """

    __slots__ = ("_breaker", "_name", "_now", "_tell", "errors", "last_error", "latencies", "state")

    def __init__(
        self, name: str, breaker: Policy, state: CacheState, clock: Clock, tell: Callable[[Event], object]
    ) -> None:
        self._name = name
        self._breaker = breaker
        self._now = clock.monotonic
        self._tell = tell
        self.latencies = Latencies()
        self.state = state
        self.errors = 0
        self.last_error: str | None = None

    async def reach(self, ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask Redis.

        Raises:
            CacheUnavailableError: It did not answer, or the breaker let the call not through.
        """
        began = self._now()
        try:
            answer = await self._breaker.acall(ask, *args, **kwargs)
        except ResilienceError as error:
            if not isinstance(error, CircuitOpenError):
                self.errors += 1
                self.last_error = redact_text(str(error), 300)
            self._enter(CacheState.DEGRADED)
            raise CacheUnavailableError(str(error), retry_after=error.retry_after) from error
        self.latencies.add(self._now() - began)
        self._enter(CacheState.CONNECTED)
        return answer

    def _enter(self, state: CacheState) -> None:
        if state is self.state:
            return
        old, self.state = self.state, state
        reason = self.last_error if state is CacheState.DEGRADED else None
        tell = _log.info if state is CacheState.CONNECTED else _log.warning
        tell("cache state changed", cache=self._name, state=str(state), reason=reason)
        self._tell(CacheStateChanged(self._name, old, state, reason))
