"""`RetryBudget`: further attempts stay a share of recent traffic, whoever makes them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import ConfigurationError, RetriesExhaustedError
from creatormate_resilience.policies import Retry, RetryBudget, RetryBudgetExhausted, RetryBudgetStatistics, constant
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


def always_failing() -> None:
    """Fails in a way that is worth a retry."""
    raise TimeoutError("slow")


class BudgetModel(RuleBasedStateMachine):
    """A budget beside a list of all that ever happened."""

    @initialize(ratio=st.sampled_from([0.0, 0.1, 0.2, 0.25, 1.0]), floor=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    def begin(self, ratio: float, floor: float) -> None:
        self.clock = FakeClock()
        self.ratio, self.floor = ratio, floor
        self.budget = RetryBudget(ratio, floor, clock=self.clock)
        self.calls: list[int] = []
        self.spent: list[int] = []
        self.undated = self.number = self.denied = 0
        self.looked: int | None = None

    def now(self) -> int:
        return int(self.clock.monotonic())

    def recent(self, seconds: list[int]) -> int:
        return sum(second > self.now() - 10 for second in seconds)

    def look(self) -> None:
        """Whoever asks takes a number too, and dates the calls since the last time."""
        self.number += 1
        self.date()

    def date(self) -> None:
        self.calls += [self.now()] * self.undated
        self.undated = 0
        self.looked = self.now()

    @rule(times=st.integers(1, 40))
    def deposit(self, times: int) -> None:
        for _ in range(times):
            self.budget.deposit()
            self.number += 1
            self.undated += 1
            if self.number % 16 == 0:
                self.look() if self.looked != self.now() else self.date()

    @rule()
    def withdraw(self) -> None:
        self.look()
        allowed = self.ratio * self.recent(self.calls) + self.floor * 10
        expected = self.recent(self.spent) + 1 <= allowed + 1e-9
        assert self.budget.withdraw() is expected
        if expected:
            self.spent.append(self.now())
        else:
            self.denied += 1

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 3.0, 9.0, 9.75, 10.0, 25.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def statistics_agree(self) -> None:
        if not hasattr(self, "budget"):
            return
        self.look()
        calls, spent = self.recent(self.calls), self.recent(self.spent)
        available = int(max(0.0, self.ratio * calls + self.floor * 10 - spent + 1e-9))
        assert self.budget.statistics() == RetryBudgetStatistics(calls, spent, available, self.denied)


BudgetModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBudgetModel = BudgetModel.TestCase


@pytest.fixture(params=["call", "acall", "decorated", "adecorated", "for", "async for"])
def run(request: pytest.FixtureRequest) -> Callable[[Retry, Callable[[], Any]], Any]:
    """Every way of retrying; all share one budget."""

    async def run(retry: Retry, work: Callable[[], Any]) -> Any:
        async def awork() -> Any:
            return work()

        def plain() -> Any:
            return work()

        if request.param == "call":
            return retry.call(plain)
        if request.param == "acall":
            return await retry.acall(awork)
        if request.param == "decorated":
            return retry(plain)()
        if request.param == "adecorated":
            return await retry(awork)()
        if request.param == "for":
            for attempt in retry:
                with attempt:
                    return work()
        else:
            async for attempt in retry:
                async with attempt:
                    return work()
        raise AssertionError("an attempt neither returned nor raised")

    return run


async def test_an_outage_adds_no_more_load_than_the_ratio(run):
    """A thousand calls that all fail make at most two hundred retries and the floor, instead of nine thousand."""
    clock = FakeClock()
    budget = RetryBudget(0.2, 1.0, clock=clock)
    retry = Retry(10, constant(0), budget=budget, clock=clock)
    calls = 0

    def work() -> None:
        nonlocal calls
        calls += 1
        always_failing()

    for _ in range(1000):
        with pytest.raises((TimeoutError, RetriesExhaustedError)):
            await run(retry, work)
    assert 1000 + 200 <= calls <= 1000 + 200 + 10
    assert budget.statistics().denied >= 900


async def test_an_empty_budget_lets_the_failure_through_and_tells(run):
    """As it is, not as exhausted retries; listeners and statistics know why."""
    seen: list[Event] = []
    clock = FakeClock()
    budget = RetryBudget(0, 0, clock=clock)
    retry = Retry(3, constant(5), budget=budget, name="openai", clock=clock, listeners=[seen.append])
    with pytest.raises(TimeoutError, match="slow"):
        await run(retry, always_failing)
    assert seen == [RetryBudgetExhausted("openai", "TimeoutError")]
    assert retry.statistics().over_budget == 1
    assert clock.monotonic() == 0


async def test_success_fills_the_budget(run):
    """Whoever succeeds at once pays in for those who do not."""
    clock = FakeClock()
    budget = RetryBudget(0.5, 0, clock=clock)
    retry = Retry(2, constant(0), budget=budget, clock=clock)
    for _ in range(10):
        await run(retry, lambda: None)
    assert budget.statistics() == RetryBudgetStatistics(calls=10, spent=0, available=5, denied=0)


async def test_a_quiet_night_funds_no_storm():
    """What was paid in more than ten seconds ago is gone."""
    clock = FakeClock()
    budget = RetryBudget(1.0, 0, clock=clock)
    for _ in range(10_000):
        budget.deposit()
    clock.advance(11)
    assert sum(budget.withdraw() for _ in range(100)) <= 16  # calls that were counted and not yet dated


async def test_several_policies_share_one():
    """One's calls pay for the other's retries, and both together stay within the ratio."""
    clock = FakeClock()
    budget = RetryBudget(0.1, 0, clock=clock)
    steady, failing = (Retry(2, constant(0), budget=budget, clock=clock) for _ in range(2))
    for _ in range(99):
        steady.call(int)
    spent = 0
    for _ in range(20):
        with pytest.raises((TimeoutError, RetriesExhaustedError)):
            failing.call(always_failing)
        spent = budget.statistics().spent
    assert spent == 11  # a tenth of 99 and of up to 20


def test_threads_lose_no_deposit():
    """Counting needs no lock where the interpreter has one, and still every call is counted."""
    budget = RetryBudget(1.0, 0, clock=FakeClock())

    def pay() -> None:
        for _ in range(5000):
            budget.deposit()

    threads = [threading.Thread(target=pay) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.statistics().calls == 40_000


def test_threads_spend_no_more_than_there_is():
    """Asking and spending are one step."""
    budget = RetryBudget(0.1, 0, clock=FakeClock())
    for _ in range(1000):
        budget.deposit()
    granted: list[bool] = []

    def spend() -> None:
        granted.extend(budget.withdraw() for _ in range(100))

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert granted.count(True) == 100


@given(ratio=st.floats(0, 1), calls=st.integers(0, 500))
def test_the_share_is_kept_to_the_attempt(ratio, calls):
    """Rounding in floats neither gives nor takes one."""
    budget = RetryBudget(ratio, 0, clock=FakeClock())
    for _ in range(calls):
        budget.deposit()
    granted = 0
    while budget.withdraw():
        granted += 1
    assert granted == int(ratio * calls + 1e-9)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ratio": -0.1}, r"ratio is -0\.1; accepted are finite shares from 0 to 1"),
        ({"ratio": 1.1}, r"ratio is 1\.1"),
        ({"ratio": float("nan")}, "ratio is nan"),
        ({"ratio": "0.2"}, r"ratio is '0\.2'"),
        ({"min_per_second": -1}, "min_per_second is -1; accepted are finite attempts from 0"),
        ({"min_per_second": float("inf")}, "min_per_second is inf"),
        ({"clock": 7}, "clock is 7; accepted is a Clock"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, says):
    """Where they are given, with the parameter's name and the range."""
    with pytest.raises(ConfigurationError, match=says):
        RetryBudget(**options)


def test_the_repr_tells_an_operator_what_is_left():
    """Ratio, what is left and what was used."""
    budget = RetryBudget(0.2, 0.5, clock=FakeClock())
    for _ in range(10):
        budget.deposit()
    budget.withdraw()
    assert repr(budget) == "<RetryBudget 0.2: 6 available, 1 spent on 10 calls>"
