"""The state machine of a circuit breaker. Pure: no I/O, no clock, no lock; the shell guards it, acts and announces.

Every transition begins a new era. A permit belongs to the era that granted it; an outcome of another era is late and
moves nothing. A cancelled or ignored call returns its permit and counts as nothing.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass

from creatormate_resilience.breaker._config import CircuitBreakerConfig, CountWindow, TimeWindow
from creatormate_resilience.breaker._window import Tally, make_window
from creatormate_resilience.counter import Counter, make_counter
from creatormate_resilience.outcome import OutcomeKind

__all__ = ("PASSING", "BreakerState", "Era", "Machine", "Transition")

_DEFAULT_STREAK = 5
_MAX_EXPONENT = 64


class BreakerState(enum.StrEnum):
    """What a circuit breaker does with calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


# Looking up a member of an enumeration costs more than the rest of a comparison, on Python 3.11.
_CLOSED = BreakerState.CLOSED
_SUCCESS = OutcomeKind.SUCCESS
_FAILURE = OutcomeKind.FAILURE


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state."""

    old: BreakerState
    new: BreakerState
    number: int


PASSING = frozenset({BreakerState.CLOSED, BreakerState.DISABLED, BreakerState.METRICS_ONLY})
"""States in which every call is let through, so that admission needs no lock."""


class Era:
    """The time between two transitions.

    A call that succeeds in an era that lets all calls through does two things only, without a lock: if the clock has
    passed `turns_at`, it has the window turned; then it calls `tick`. When the era ends, `tick` counts late outcomes
    instead, so that a call holding on to a dead era harms nothing.

    Attributes:
        state: The state during this era.
        began: When it began, in monotonic seconds.
        until: When an open circuit may be probed; None in other states.
        tick: Counts a call that ended; gives its number.
        turns_at: From when on the window wants to know the time, in monotonic seconds.
        failures: Calls that failed.
        probes: Start times of the probes under way, by permit number.
        passed: Probes that did not fail.
    """

    __slots__ = (
        "_last_failure", "_streak", "_window", "began", "counter", "failures", "passed", "probes", "state", "tick",
        "turns_at", "until",
    )  # fmt: skip

    def __init__(self, state: BreakerState, began: float, window: TimeWindow | CountWindow) -> None:
        self.state = state
        self.began = began
        self.until: float | None = None
        self.counter = make_counter()
        self.tick = self.counter.tick
        self._window = make_window(window, began)
        self.turns_at = self._window.turns_at
        self.failures = 0
        self.probes: dict[int, float] = {}
        self.passed = 0
        self._streak = 0
        self._last_failure = 0

    def turn(self, now: float) -> None:
        """Tell the window the time; under the breaker's lock."""
        if now >= self.turns_at:
            self._window.turn(now, self.counter.value)
            self.turns_at = self._window.turns_at

    def record(self, now: float, *, failed: bool, slow: bool) -> None:
        """Count a call under the breaker's lock, whatever it was."""
        self.turn(now)
        number = self.counter.tick()
        if failed:
            self.failures += 1
            self._streak = self._streak + 1 if number == self._last_failure + 1 else 1
            self._last_failure = number
        if failed or slow:
            self._window.record(number, failed=failed, slow=slow)

    def tally(self, now: float) -> Tally:
        """The calls in the window."""
        self.turn(now)
        return self._window.tally(now, self.counter.value)

    @property
    def streak(self) -> int:
        """Failures in a row: since the last success."""
        return self._streak if self.counter.value == self._last_failure else 0

    @property
    def successes(self) -> int:
        """Calls that succeeded."""
        return self.counter.value - self.failures

    def end(self, late: Counter) -> None:
        """What arrives from now on is late."""
        self.tick = late.tick
        self.turns_at = math.inf


class Machine:
    """Decides who may call and what an outcome changes."""

    __slots__ = (
        "_config", "_failed_recoveries", "_failures", "_jitter", "_permits", "_successes", "_transitions", "era",
        "late", "wait",
    )  # fmt: skip

    def __init__(
        self, config: CircuitBreakerConfig, *, initial: BreakerState, now: float, jitter: Callable[[], float]
    ) -> None:
        """Args: jitter gives a random number from 0 to 1."""
        self._config = config
        self._jitter = jitter
        self._failed_recoveries = 0
        self._permits = 0
        self._transitions = 0
        self._successes = 0
        self._failures = 0
        self.late = make_counter()
        self.wait = config.recovery_timeout
        self.era = Era(initial, now, config.window)
        if initial is BreakerState.OPEN:
            self.era.until = now + self.wait

    @property
    def successes(self) -> int:
        """Calls that succeeded, in this era and before it."""
        return self._successes + self.era.successes

    @property
    def failures(self) -> int:
        """Calls that failed, in this era and before it."""
        return self._failures + self.era.failures

    @property
    def state(self) -> BreakerState:
        """The state; an open circuit stays OPEN until somebody asks to call."""
        return self.era.state

    @property
    def transitions(self) -> int:
        """How often the state changed."""
        return self._transitions

    def admit(self, now: float) -> tuple[int | None, Transition | None]:
        """May a call start now?

        Returns:
            The permit's number, or None for a refusal; and the transition this caused, if any.
        """
        if self.era.state in PASSING:
            return 0, None
        transition = None
        if self.era.state is BreakerState.OPEN and self.era.until is not None and now >= self.era.until:
            transition = self._begin(BreakerState.HALF_OPEN, now)
        if self.era.state is BreakerState.HALF_OPEN and self._has_hung_probe(now):
            transition = self._reopen(now)
        if self.era.state is not BreakerState.HALF_OPEN or not self._has_room():
            return None, transition
        self._permits += 1
        self.era.probes[self._permits] = now
        return self._permits, transition

    def settle(self, permit: int, kind: OutcomeKind, now: float, *, slow: bool) -> Transition | None:
        """Take note of how a call of the current era ended.

        Args:
            permit: Its permit's number.
            kind: What the outcome means.
            now: Monotonic seconds.
            slow: Whether it was slow.

        Returns:
            The transition this caused, if any.
        """
        era = self.era
        if era.probes:
            era.probes.pop(permit, None)
        failed = kind is _FAILURE
        if not failed and kind is not _SUCCESS:
            return None
        era.record(now, failed=failed, slow=slow)
        bad = failed or (slow and self._config.slow_call_rate_threshold is not None)
        if era.state is _CLOSED:
            return self._open(now) if bad and self._must_open(now) else None  # a good call never opens
        if era.state is BreakerState.HALF_OPEN:
            return self._settle_probe(now, bad)
        return None

    def move(self, state: BreakerState, now: float, *, wait: float | None = None) -> Transition:
        """Go to a state by hand; OPEN for `wait` seconds or the configured time."""
        self._failed_recoveries = 0
        if state is BreakerState.OPEN:
            return self._open(now, wait)
        return self._begin(state, now)

    def follow(self, state: BreakerState, now: float, wait: float) -> Transition | None:
        """Do as another breaker of the same name has decided, unless somebody has set this one by hand.

        Args:
            state: OPEN or CLOSED.
            now: Monotonic seconds.
            wait: How long it stays open, in seconds.

        Returns:
            The transition this caused, if any.
        """
        mine = self.era.state
        if state is BreakerState.OPEN and mine in {BreakerState.CLOSED, BreakerState.HALF_OPEN} and wait > 0:
            return self._open(now, wait)
        if state is BreakerState.OPEN and mine is BreakerState.OPEN:  # a probe of another one's failed
            self.era.until = max(self.era.until or now, now + wait)
        if state is BreakerState.CLOSED and mine in {BreakerState.OPEN, BreakerState.HALF_OPEN}:
            self._failed_recoveries = 0
            return self._begin(BreakerState.CLOSED, now)
        return None

    def hold(self, transition: Transition, wait: float) -> None:
        """Stay open for as long as the dependency asked, within the configured times.

        Args:
            transition: What opened the circuit; nothing is changed where another one followed.
            wait: Seconds from when it opened.
        """
        if transition.number == self._transitions and self.era.until is not None:
            longest = max(self._config.recovery_timeout, self._config.recovery_timeout_max)
            self.wait = min(max(wait, self._config.recovery_timeout), longest)
            self.era.until = self.era.began + self.wait

    def retry_after(self, now: float) -> float:
        """Seconds until a refused caller may try again; a guess where that depends on others."""
        if self.era.state is BreakerState.OPEN and self.era.until is not None:
            return max(0.0, self.era.until - now)
        if self.era.state is BreakerState.HALF_OPEN:
            return min(1.0, self.wait)
        return self._config.recovery_timeout

    def _has_room(self) -> bool:
        era, config = self.era, self._config
        under_way = len(era.probes)
        return under_way < config.half_open_max_concurrent and under_way + era.passed < config.half_open_max_calls

    def _has_hung_probe(self, now: float) -> bool:
        longest = self._config.half_open_max_wait
        if longest is None:
            longest = max(self.wait, 0.0 if self._config.timeout is None else self._config.timeout + 1.0)
        return any(now - started >= longest for started in self.era.probes.values())

    def _settle_probe(self, now: float, bad: bool) -> Transition | None:
        if bad:  # every probe must pass, so closing has become impossible
            return self._reopen(now)
        self.era.passed += 1
        if self.era.passed < self._config.half_open_max_calls:
            return None
        self._failed_recoveries = 0
        return self._begin(BreakerState.CLOSED, now)

    def _must_open(self, now: float) -> bool:
        config, tally = self._config, self.era.tally(now)
        enough = tally.calls >= config.minimum_calls
        if config.failure_threshold is not None:
            if self.era.streak >= config.failure_threshold:
                return True
        elif not enough and self.era.streak >= _DEFAULT_STREAK:
            return True
        if not enough:
            return False
        slow_limit = config.slow_call_rate_threshold
        return tally.failure_rate >= config.failure_rate_threshold or (
            slow_limit is not None and tally.slow_rate >= slow_limit
        )

    def _reopen(self, now: float) -> Transition:
        self._failed_recoveries += 1
        return self._open(now)

    def _open(self, now: float, wait: float | None = None) -> Transition:
        config = self._config
        if wait is None:
            grown = config.recovery_timeout * config.recovery_backoff ** min(self._failed_recoveries, _MAX_EXPONENT)
            wait = min(max(config.recovery_timeout_max, config.recovery_timeout), grown)
            wait *= 1 + config.recovery_jitter * self._jitter()
        self.wait = wait
        transition = self._begin(BreakerState.OPEN, now)
        self.era.until = now + wait
        return transition

    def _begin(self, state: BreakerState, now: float) -> Transition:
        self._transitions += 1
        transition = Transition(self.era.state, state, self._transitions)
        self.era.end(self.late)
        self._successes += self.era.successes
        self._failures += self.era.failures
        self.era = Era(state, now, self._config.window)
        return transition
