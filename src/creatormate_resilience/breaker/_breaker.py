"""The circuit breaker: a thin, thread-safe shell around the state machine, for sync and async code."""

from __future__ import annotations

import inspect
import math
import random
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from creatormate_resilience.breaker._config import CircuitBreakerConfig
from creatormate_resilience.breaker._events import BreakerStateChanged, CallRejected
from creatormate_resilience.breaker._machine import BreakerState, Machine, Transition
from creatormate_resilience.breaker._permit import Guard, Permit, timeout_refusal
from creatormate_resilience.breaker._statistics import BreakerStatistics, Totals
from creatormate_resilience.breaker._verdict import judge
from creatormate_resilience.breaker._wrapping import wrap
from creatormate_resilience.clock import Clock, SystemClock
from creatormate_resilience.events import Event, Listener, notify
from creatormate_resilience.exceptions import CircuitOpenError, ConfigurationError
from creatormate_resilience.outcome import Outcome, OutcomeKind
from creatormate_resilience.policy import refuse_awaitable
from creatormate_resilience.redaction import redact_text
from creatormate_resilience.time_limit import time_limit

__all__ = ("CircuitBreaker",)

P = ParamSpec("P")
T = TypeVar("T")
_SUCCESS = OutcomeKind.SUCCESS
_FAILURE = OutcomeKind.FAILURE


class CircuitBreaker:
    """Stops calling a dependency that fails, and finds out by few probes when it is well again.

    Args:
        name: Of the dependency; in errors, events and statistics.
        config: Thresholds and times; see `CircuitBreakerConfig`.
        clock: Where durations come from.
        listeners: Told of `BreakerStateChanged` and `CallRejected`, in the caller's thread or task.
        initial_state: CLOSED, or METRICS_ONLY for a safe roll-out, or any other.
        lenient_timeout: With True a `timeout` in the configuration does not apply to sync functions, instead of being
            refused; for configurations that come from outside the code. `async_only` says whether sync is refused.

    One breaker serves threads, tasks and several event loops at once. As a decorator it takes `def`, `async def`,
    generators and async generators; a stream's outcome is known at its end. Closing a stream early counts as nothing.
    """

    def __init__(
        self,
        name: str,
        config: CircuitBreakerConfig | None = None,
        *,
        clock: Clock | None = None,
        listeners: Iterable[Listener] = (),
        initial_state: BreakerState = BreakerState.CLOSED,
        lenient_timeout: bool = False,
    ) -> None:
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"name is {name!r}; accepted is a text that is not empty")
        if config is not None and not isinstance(config, CircuitBreakerConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"config is {config!r}; accepted is a CircuitBreakerConfig, which has `from_mapping` for plain data"
            )
        self.name = name
        self.config = config or CircuitBreakerConfig()
        self.async_only = self.config.timeout is not None and not lenient_timeout
        self._clock = clock or SystemClock()
        self._listeners = tuple(listeners)
        self._lock = threading.Lock()
        self._totals = Totals()
        self._machine = Machine(
            self.config,
            initial=_as_state(initial_state),
            now=self._clock.monotonic(),
            jitter=random.random,
        )

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Protect a function: `@breaker`.

        Args:
            fn: A `def`, `async def`, generator or async generator function, or a method.

        Returns:
            A function of the same kind and signature.

        Raises:
            ConfigurationError: The breaker has a `timeout` and the function is not async, so it could not be kept.
        """
        return wrap(self, fn)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a sync function through the breaker.

        Raises:
            CircuitOpenError: The circuit is open.
            ConfigurationError: The breaker has a `timeout`, which could not be kept.
            TypeError: The function returned an awaitable; use `acall`.
        """
        if self.async_only:
            raise timeout_refusal(self.name, fn)
        permit = self.acquire()
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            permit.failure(error)
            raise
        if inspect.isawaitable(result):
            permit.release()
            refuse_awaitable(result, fn)
        permit.success(result)
        return result

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call an async function through the breaker, within `config.timeout` seconds.

        Raises:
            CircuitOpenError: The circuit is open.
            OperationTimeoutError: It took longer than `config.timeout`; counted as a failure.
        """
        permit = self.acquire()
        try:
            if self.config.timeout is None:
                result = await fn(*args, **kwargs)
            else:
                async with time_limit(self.config.timeout, what=f"a call through breaker {self.name!r}"):
                    result = await fn(*args, **kwargs)
        except BaseException as error:
            permit.failure(error)
            raise
        permit.success(result)
        return result

    def guard(self) -> Guard:
        """Protect a block: `with breaker.guard():` or `async with breaker.guard():`.

        Returns:
            A context manager for one use. `config.timeout` applies to the async form only.
        """
        return Guard(self)

    def acquire(self) -> Permit:
        """Ask to make one call; settle the permit with `success()`, `failure(exc)` or `release()`.

        Raises:
            CircuitOpenError: The call may not be made now; `retry_after` says when to ask again.
        """
        now = self._clock.monotonic()
        with self._lock:
            number, transition = self._machine.admit(now)
            era = self._machine.era
            self._totals.rejected += number is None
            retry_after = 0.0 if number is not None else self._machine.retry_after(now)
        if transition is not None:
            self._announce(transition)
        if number is not None:
            return Permit(self, era, number, now)
        self._notify(CallRejected(self.name, retry_after))
        raise CircuitOpenError(self.name, retry_after, self._totals.last_failure)

    def settle(self, permit: Permit, result: Any, exception: BaseException | None, *, ignore: bool = False) -> None:
        """Take note of how a permitted call ended; permits call this once."""
        now = self._clock.monotonic()
        elapsed = now - permit.started
        slow = self.config.slow_call_duration is not None and elapsed >= self.config.slow_call_duration
        if ignore:
            kind = OutcomeKind.IGNORED
        elif exception is None and self.config.classify is None:
            kind = _SUCCESS
        else:
            kind = judge(self.name, self.config, Outcome(result, exception, elapsed), slow=slow)
        transition = None
        with self._lock:
            self._totals.kinds[kind] += 1
            self._totals.slow += slow
            if kind is _FAILURE:
                self._totals.last_failure = _describe(exception)
            if permit.era is self._machine.era:
                transition = self._machine.settle(permit.number, kind, now, slow=slow)
            else:
                self._totals.late += 1
        if transition is not None:
            self._announce(transition)

    @property
    def state(self) -> BreakerState:
        """The state. An open circuit stays OPEN until a call is tried after its time."""
        return self._machine.state

    def statistics(self) -> BreakerStatistics:
        """One consistent snapshot."""
        now = self._clock.monotonic()
        with self._lock:
            era, totals = self._machine.era, self._totals
            tally = era.window.tally(now)
            refuses = era.state in {BreakerState.OPEN, BreakerState.FORCED_OPEN}
            return BreakerStatistics(
                name=self.name,
                state=era.state,
                time_in_state=max(0.0, now - era.began),
                retry_after=self._machine.retry_after(now) if refuses else None,
                successes=totals.kinds[OutcomeKind.SUCCESS],
                failures=totals.kinds[OutcomeKind.FAILURE],
                ignored=totals.kinds[OutcomeKind.IGNORED],
                throttled=totals.kinds[OutcomeKind.THROTTLED],
                slow=totals.slow,
                rejected=totals.rejected,
                late=totals.late,
                window_calls=tally.calls,
                failure_rate=tally.failure_rate,
                slow_rate=tally.slow_rate,
                consecutive_failures=era.streak,
                transitions=self._machine.transitions,
                last_failure=totals.last_failure,
            )

    def force_open(self) -> None:
        """Refuse all calls until `reset()` or another manual state."""
        self._move(BreakerState.FORCED_OPEN)

    def disable(self) -> None:
        """Let all calls through and never open; calls are still counted."""
        self._move(BreakerState.DISABLED)

    def metrics_only(self) -> None:
        """Let all calls through and never open, keeping rates as if it could: for a safe roll-out."""
        self._move(BreakerState.METRICS_ONLY)

    def reset(self) -> None:
        """Close the circuit and forget what it saw."""
        self._move(BreakerState.CLOSED)

    def trip(self, retry_after: float | None = None) -> None:
        """Open the circuit now.

        Args:
            retry_after: For how many seconds; None for the configured time.
        """
        known = retry_after is None or (isinstance(retry_after, int | float) and not isinstance(retry_after, bool))  # pyright: ignore[reportUnnecessaryIsInstance]
        if not known or (retry_after is not None and not 0 < retry_after < math.inf):
            raise ValueError(f"retry_after is {retry_after!r}; accepted are finite seconds above 0")
        self._move(BreakerState.OPEN, retry_after)

    def _move(self, state: BreakerState, wait: float | None = None) -> None:
        with self._lock:
            transition = self._machine.move(state, self._clock.monotonic(), wait=wait)
        self._announce(transition)

    def _announce(self, transition: Transition) -> None:
        if self._listeners:
            last_failure = self._totals.last_failure
            self._notify(
                BreakerStateChanged(self.name, transition.old, transition.new, transition.number, last_failure)
            )

    def _notify(self, event: Event) -> None:
        if self._listeners:
            notify(self._listeners, event)

    def __repr__(self) -> str:
        seen = self.statistics()
        rate = f"{seen.failure_rate:.0%} of {seen.window_calls} failed"
        wait = "" if seen.retry_after is None else f", retry after {seen.retry_after:.3g} s"
        return f"<CircuitBreaker {self.name!r} {seen.state}: {rate}{wait}>"


def _as_state(state: BreakerState) -> BreakerState:
    try:
        return BreakerState(state)
    except ValueError:
        accepted = ", ".join(BreakerState)
        raise ConfigurationError(f"initial_state is {state!r}; accepted are {accepted}") from None


def _describe(exception: BaseException | None) -> str:
    if exception is None:
        return "a result that counts as a failure"
    try:
        return f"{type(exception).__name__}: {redact_text(str(exception), 200)}"
    except Exception:  # noqa: BLE001 - a foreign __str__ may raise anything
        return type(exception).__name__
