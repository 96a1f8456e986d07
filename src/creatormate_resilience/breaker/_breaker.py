"""The circuit breaker: a thin, thread-safe shell around the state machine, for sync and async code."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from creatormate_resilience.breaker._config import CircuitBreakerConfig, TimeWindow
from creatormate_resilience.breaker._events import BreakerStateChanged, CallRejected
from creatormate_resilience.breaker._machine import PASSING, BreakerState, Era, Machine, Transition
from creatormate_resilience.breaker._parts import as_state, check_retry_after, check_store
from creatormate_resilience.breaker._permit import Guard, Permit, timeout_refusal
from creatormate_resilience.breaker._statistics import BreakerStatistics, LastFailure, Totals
from creatormate_resilience.breaker._store import BreakerStore, Sharing, Verdict
from creatormate_resilience.breaker._verdict import judge
from creatormate_resilience.breaker._wrapping import wrap
from creatormate_resilience.clock import Clock
from creatormate_resilience.events import Listener, notify
from creatormate_resilience.exceptions import CircuitOpenError, ConfigurationError, map_exception
from creatormate_resilience.latencies import Latencies
from creatormate_resilience.options import check_text, clock_of, listeners_of
from creatormate_resilience.outcome import Outcome, OutcomeKind
from creatormate_resilience.policy import explain_miscall, refuse_awaitables

__all__ = ("CircuitBreaker",)

P = ParamSpec("P")
T = TypeVar("T")
_SUCCESS = OutcomeKind.SUCCESS
_FAILURE = OutcomeKind.FAILURE
# The error is nothing but its arguments; its constructor would only put them in order.
_refuse: Callable[..., CircuitOpenError] = CircuitOpenError.__new__
_REFUSING = frozenset({BreakerState.OPEN, BreakerState.FORCED_OPEN})


class CircuitBreaker:
    """Stops calling a dependency that fails, and finds out by few probes when it is well again.

    Args:
        name: Of the dependency; in errors, events and statistics.
        config: Thresholds and times; see `CircuitBreakerConfig`.
        clock: Where durations come from.
        listeners: Told of `BreakerStateChanged` and `CallRejected`, in the caller's thread or task.
        initial_state: CLOSED, or METRICS_ONLY for a safe roll-out, or any other.
        store: Where verdicts are shared with other breakers of the same name; None shares nothing.
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
        store: BreakerStore | None = None,
        lenient_timeout: bool = False,
    ) -> None:
        check_text("name", name)
        if config is not None and not isinstance(config, CircuitBreakerConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"config is {config!r}; accepted is a CircuitBreakerConfig, which has `from_mapping` for plain data"
            )
        check_store(store)
        self.name = name
        self._config = config or CircuitBreakerConfig()
        self.async_only = self._config.timeout is not None and not lenient_timeout
        self.clock = clock_of(clock)
        self._now = self.clock.monotonic
        self._listeners = listeners_of(listeners)
        self._lock = threading.Lock()
        self._totals = Totals()
        self._reject = self._totals.rejected.tick
        self._plain: type = type(None)  # of the last result: one that is no awaitable needs no second look
        self._latencies = None if self._config.slow_call_duration is None else Latencies()
        self.measures = self._latencies is not None or self._config.classify is not None
        self.watches_time = isinstance(self._config.window, TimeWindow)
        self._machine = Machine(
            self._config,
            initial=as_state(initial_state),
            now=self._now(),
            jitter=random.random,
        )
        self.passing: Era | None = None
        """The current era where it lets every call through, so that a call need not ask; else None."""
        self._open_until = -math.inf
        self._enter()
        self._sharing = None if store is None else Sharing(store)
        if self._sharing is not None and (verdict := self._sharing.subscribe(self)) is not None:
            self.adopt(verdict)

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
        era = self.passing
        if era is None or self.measures:
            return self.acquire().run(fn, *args, **kwargs)
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            self.judge(era, 0, Outcome(None, error))
            raise
        if type(result) is not self._plain:
            self._plain = self.look(era, result, fn)
        self.succeed(era)
        return result

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call an async function through the breaker, within `config.timeout` seconds.

        Raises:
            CircuitOpenError: The circuit is open.
            OperationTimeoutError: It took longer than `config.timeout`; counted as a failure.
        """
        era = self.passing
        if era is None or self.measures or self._config.timeout is not None:
            return await self.acquire().arun(fn, *args, **kwargs)
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            self.judge(era, 0, Outcome(None, error))
            explain_miscall(error, fn)
            raise
        self.succeed(era)
        return result

    def guard(self) -> Guard:
        """Protect a block: `with breaker.guard():` or `async with breaker.guard():`.

        Returns:
            A context manager for one use. `config.timeout` applies to the async form only.
        """
        return Guard(self, self._config.timeout)

    def acquire(self) -> Permit:
        """Ask to make one call; settle the permit with `success()`, `failure(exc)` or `release()`.

        Raises:
            CircuitOpenError: The call may not be made now; `retry_after` says when to ask again.
        """
        if (era := self.passing) is not None:
            return Permit(self, era, 0, self._now() if self.measures else 0.0)
        now, until = self._now(), self._open_until
        if now < until:  # as open as it was: nothing is to be decided
            if self._listeners:
                raise self._refusal(until - now)
            self._reject()
            failure = self._totals.last_failure
            raise _refuse(CircuitOpenError, self.name, until - now, failure and failure.text)
        with self._lock:
            number, transition = self._machine.admit(now)
            era = self._machine.era
            retry_after = 0.0 if number is not None else self._machine.retry_after(now)
            self._enter()
        if transition is not None:
            self._announce(transition)
            self._share(transition)
        if number is not None:
            return Permit(self, era, number, now)
        raise self._refusal(retry_after)

    def _refusal(self, retry_after: float) -> CircuitOpenError:
        self._reject()
        if self._listeners:
            notify(self._listeners, CallRejected(self.name, retry_after))
        failure = self._totals.last_failure
        return _refuse(CircuitOpenError, self.name, retry_after, failure and failure.text)

    def settle(self, permit: Permit, result: Any, exception: BaseException | None, *, ignore: bool = False) -> None:
        """Take note of how a permitted call ended; permits call this once."""
        era = permit.era
        if ignore:
            self._count(era, permit.number, OutcomeKind.IGNORED)
        elif exception is None and era is self.passing and not self.measures:
            self.succeed(era)
        else:
            elapsed = self._now() - permit.started if self.measures else None
            self.judge(era, permit.number, Outcome(result, exception, elapsed))

    def judge(self, era: Era, number: int, outcome: Outcome) -> None:
        """Count a call by its outcome.

        Args:
            era: When it was let through.
            number: Of its permit; 0 where it needed none.
            outcome: How it ended.
        """
        elapsed, limit = outcome.elapsed, self._config.slow_call_duration
        slow = elapsed is not None and limit is not None and elapsed >= limit
        if self._latencies is not None and elapsed is not None:
            self._latencies.add(elapsed)
        if outcome.exception is None and self._config.classify is None:
            kind = _SUCCESS
        else:
            try:
                kind = judge(self.name, self._config, outcome, slow=slow)
            except BaseException:  # an interruption while it was judged: the place is given back
                self._count(era, number, OutcomeKind.IGNORED)
                raise
        if kind is _SUCCESS and not slow and era is self.passing:
            self.succeed(era)
        else:
            self._count(era, number, kind, outcome.exception, slow=slow)

    def succeed_after(self, era: Era, started: float) -> None:
        """Count a success whose duration is watched, from when it was `started`."""
        now = self._now()
        if self._latencies is not None:
            self._latencies.add(now - started)
        if now - started >= (self._config.slow_call_duration or math.inf):
            self._count(era, 0, _SUCCESS, slow=True)
            return
        if now >= era.turns_at:
            self.turn(era, now)
        era.tick()

    def succeed(self, era: Era) -> None:
        """Count a fast success of an era that lets all calls through, without the lock."""
        if self.watches_time and (now := self._now()) >= era.turns_at:
            self.turn(era, now)
        era.tick()

    def _count(
        self, era: Era, number: int, kind: OutcomeKind, exception: BaseException | None = None, *, slow: bool = False
    ) -> None:
        try:
            failure = LastFailure.of(exception) if kind is _FAILURE else None
        except BaseException:  # an interruption while it was printed
            self._count(era, number, OutcomeKind.IGNORED)
            raise
        now = self._now()
        with self._lock:
            transition = None
            if era is self._machine.era:
                self._totals.count(kind, failure, slow=slow)
                transition = self._machine.settle(number, kind, now, slow=slow)
                self._enter()
            else:
                self._machine.late.tick()
        if transition is not None:
            self._follow_hint(transition, exception)
            self._announce(transition)
            self._share(transition)

    def _follow_hint(self, transition: Transition, exception: BaseException | None) -> None:
        """A dependency that says when to come back knows better than a configuration."""
        if transition.new is not BreakerState.OPEN or exception is None:
            return
        if (hint := map_exception(exception).stated_retry_after) is not None:
            with self._lock:
                self._machine.hold(transition, hint)
                self._enter()

    def look(self, era: Era, result: object, fn: Callable[..., Any]) -> type:
        """See that a sync call has done its work and not put it off; which type needs no second look."""
        try:
            return refuse_awaitables(result, fn)
        except (TypeError, ConfigurationError):
            self._count(era, 0, OutcomeKind.IGNORED)
            raise

    def turn(self, era: Era, now: float) -> None:
        """Tell the window of an era that time has passed."""
        with self._lock:
            era.turn(now)

    def _enter(self) -> None:
        """Under the lock: let calls pass, or not, as the current era does."""
        era = self._machine.era
        self.passing = era if era.state in PASSING else None
        self._open_until = -math.inf if era.until is None else era.until

    @property
    def config(self) -> CircuitBreakerConfig:
        """Thresholds and times. They stay as they are; another configuration wants another breaker."""
        return self._config

    @property
    def state(self) -> BreakerState:
        """The state. An open circuit stays OPEN until a call is tried after its time."""
        return self._machine.state

    def statistics(self) -> BreakerStatistics:
        """One consistent snapshot."""
        now = self._now()
        with self._lock:
            machine, era, totals = self._machine, self._machine.era, self._totals
            tally = era.tally(now)
            return BreakerStatistics(
                name=self.name,
                state=era.state,
                time_in_state=max(0.0, now - era.began),
                retry_after=machine.retry_after(now) if era.state in _REFUSING else None,
                successes=machine.successes,
                failures=machine.failures,
                ignored=totals.ignored,
                throttled=totals.throttled,
                slow=totals.slow,
                rejected=totals.rejected.value,
                late=machine.late.value,
                window_calls=tally.calls,
                failure_rate=tally.failure_rate,
                slow_rate=tally.slow_rate,
                consecutive_failures=era.streak,
                transitions=machine.transitions,
                last_failure=None if totals.last_failure is None else totals.last_failure.text,
                latency=None if self._latencies is None else self._latencies.quantiles(),
            )

    def force_open(self) -> None:
        """Refuse all calls until `reset()` or another manual state."""
        self._move(BreakerState.FORCED_OPEN)

    def disable(self) -> None:
        """Let all calls through and never open; calls are still counted."""
        self._move(BreakerState.DISABLED)

    def metrics_only(self) -> None:
        """Let all calls through and never open, as `disable` does; the name says that it is to open one day."""
        self._move(BreakerState.METRICS_ONLY)

    def reset(self) -> None:
        """Close the circuit and forget what it saw."""
        self._move(BreakerState.CLOSED)

    def trip(self, retry_after: float | None = None) -> None:
        """Open the circuit now.

        Args:
            retry_after: For how many seconds; None for the configured time.
        """
        check_retry_after(retry_after)
        self._move(BreakerState.OPEN, retry_after)

    def adopt(self, verdict: Verdict) -> None:
        """Follow what another breaker of this name has decided. FORCED_OPEN, DISABLED and METRICS_ONLY stay.

        Stores call this.
        """
        with self._lock:
            transition = self._machine.follow(verdict.state, self._now(), verdict.wait)
            self._enter()
        if transition is not None:
            self._announce(transition)

    def _move(self, state: BreakerState, wait: float | None = None) -> None:
        with self._lock:
            transition = self._machine.move(state, self._now(), wait=wait)
            self._enter()
        self._announce(transition)

    def _announce(self, transition: Transition) -> None:
        if self._listeners:
            failure = self._totals.last_failure
            text = None if failure is None else failure.text
            event = BreakerStateChanged(self.name, transition.old, transition.new, transition.number, text)
            notify(self._listeners, event)

    def _share(self, transition: Transition) -> None:
        """Tell the others what was decided here; probing is everybody's own."""
        if self._sharing is None or transition.new is BreakerState.HALF_OPEN:
            return
        wait = self._machine.retry_after(self._now()) if transition.new is BreakerState.OPEN else 0.0
        self._sharing.publish(Verdict(self.name, transition.new, wait), self)

    def __repr__(self) -> str:
        seen = self.statistics()
        rate = f"{seen.failure_rate:.0%} of {seen.window_calls} failed"
        wait = "" if seen.retry_after is None else f", retry after {seen.retry_after:.3g} s"
        return f"<CircuitBreaker {self.name!r} {seen.state}: {rate}{wait}>"
