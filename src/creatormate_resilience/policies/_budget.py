"""How much retrying and hedging a service allows itself: a share of its recent traffic."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from creatormate_resilience.clock import Clock
from creatormate_resilience.counter import make_counter
from creatormate_resilience.events import Event
from creatormate_resilience.options import check_number, clock_of

__all__ = ("RetryBudget", "RetryBudgetExhausted", "RetryBudgetStatistics")

SAMPLED = 15
"""Where the number of a call and this have no bit in common, the call is dated: every sixteenth."""

_WINDOW = 10
"""Seconds that a call counts, in slices of one."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class RetryBudgetExhausted(Event):
    """Another attempt would have helped perhaps, and there was no budget for it.

    Attributes:
        error: Name of the exception's type that will not be retried; None where a hedge was not started.
    """

    error: str | None


@dataclass(frozen=True, slots=True)
class RetryBudgetStatistics:
    """A snapshot: calls and further attempts of the last ten seconds, and what was denied since the start."""

    calls: int
    spent: int
    available: int
    denied: int


@dataclass(slots=True)
class _Slice:
    second: int
    calls: int = 0
    spent: int = 0


class RetryBudget:
    """Bounds further attempts to a share of all calls, so that retries cannot turn an outage into a storm.

    Every call through a policy that was given the budget adds to it, and every retry or hedge takes from it. Share one
    between all policies around one dependency. Both count for ten seconds, so that a quiet night funds no storm.

    Args:
        ratio: Further attempts for each call, 0 to 1: 0.2 adds at most a fifth to the load.
        min_per_second: Further attempts that are allowed without any traffic, so that a service with few calls can
            retry too.
        clock: Where time comes from.

    Raises:
        ConfigurationError: A value is out of range.

    As in Finagle's RetryBudget, with a sliding window instead of a leaking bucket. The clock is read for every
    sixteenth call only; up to that many count as somewhat younger than they are.
    """

    __slots__ = (
        "_calls",
        "_calls_in_slices",
        "_clock",
        "_dated",
        "_denied",
        "_lock",
        "_looks",
        "_second",
        "_slices",
        "_spent",
        "floor",
        "ratio",
        "tick",
    )

    def __init__(self, ratio: float = 0.2, min_per_second: float = 1.0, *, clock: Clock | None = None) -> None:
        check_number("ratio", ratio, "shares", above_zero=False, most=1)
        check_number("min_per_second", min_per_second, "attempts", above_zero=False, most=1e6)
        self.ratio = ratio
        self.floor = min_per_second * _WINDOW
        self.tick = make_counter().tick
        """Counts a call without a lock and gives its number; see `SAMPLED` for what is left to do."""
        self._clock = clock_of(clock)
        self._lock = threading.Lock()
        self._slices: deque[_Slice] = deque()
        self._calls = self._spent = self._denied = 0
        self._calls_in_slices = self._dated = self._looks = 0
        self._second: int | None = None

    def deposit(self) -> None:
        """Note a call, once however many attempts it may take."""
        number = self.tick()
        if not number & SAMPLED:
            self.date(number)

    def withdraw(self) -> bool:
        """Ask for one further attempt.

        Returns:
            Whether there is budget for it; then it is spent.
        """
        with self._lock:
            current = self._look()
            if self._available() < 1:
                self._denied += 1
                return False
            current.spent += 1
            self._spent += 1
            return True

    def date(self, number: int) -> None:
        """Note that the calls up to this number have been made by now."""
        if int(self._clock.monotonic()) == self._second:
            self._dated = number - self._looks
            return
        with self._lock:
            self._look()

    def statistics(self) -> RetryBudgetStatistics:
        """One consistent snapshot."""
        with self._lock:
            self._look()
            return RetryBudgetStatistics(self._calls, self._spent, int(max(0.0, self._available())), self._denied)

    def _available(self) -> float:
        return self.ratio * self._calls + self.floor - self._spent + _ROUNDING

    def _look(self) -> _Slice:
        """Put the calls since the last look into slices; gives the current one."""
        self._looks += 1  # reading the counter counts
        calls = self.tick() - self._looks
        self._second = second = int(self._clock.monotonic())
        if self._slices and self._slices[-1].second < second:
            self._put(max(0, min(self._dated, calls) - self._calls_in_slices))
        if not self._slices or self._slices[-1].second < second:
            self._slices.append(_Slice(second))
        while self._slices[0].second <= self._slices[-1].second - _WINDOW:
            gone = self._slices.popleft()
            self._calls -= gone.calls
            self._spent -= gone.spent
        self._put(calls - self._calls_in_slices)
        return self._slices[-1]

    def _put(self, calls: int) -> None:
        self._slices[-1].calls += calls
        self._calls += calls
        self._calls_in_slices += calls

    def __repr__(self) -> str:
        seen = self.statistics()
        return f"<RetryBudget {self.ratio:g}: {seen.available} available, {seen.spent} spent on {seen.calls} calls>"
