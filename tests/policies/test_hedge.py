"""`Hedge`: another attempt where the first is slow; the first success counts and nothing is left running."""

from __future__ import annotations

import contextvars
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.policies.hedging import Call, StepClock, Upstream, settle, started

from creatormate_resilience.breaker import CircuitBreaker
from creatormate_resilience.deadline import current_deadline, deadline_scope
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import ConfigurationError, OperationTimeoutError
from creatormate_resilience.policies import (
    Hedge,
    HedgeConfig,
    HedgeStarted,
    HedgeStatistics,
    Pipeline,
    Retry,
    RetryBudget,
    RetryBudgetExhausted,
    Timeout,
    constant,
)
from creatormate_resilience.policies._race import Latencies
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


async def test_an_answer_in_time_is_the_only_attempt():
    """Nothing else is started, and nothing is left waiting."""
    clock, upstream = StepClock(), Upstream()
    hedge = Hedge(1.0, clock=clock)
    async with anyio.create_task_group() as tasks:
        call = await started(tasks, hedge, upstream)
        await clock.let_pass(0.9)
        await upstream.answer(0, "first")
        assert call.ended == ["first"]
    assert clock.sleepers == []
    assert hedge.statistics() == HedgeStatistics(calls=1, delay=1.0)


async def test_the_first_success_counts_and_the_others_are_cancelled():
    """The hedge answers; the slow attempt is cancelled and has ended when the call returns."""
    clock, upstream = StepClock(), Upstream()
    hedge = Hedge(1.0, clock=clock)
    async with anyio.create_task_group() as tasks:
        call = await started(tasks, hedge, upstream)
        await clock.let_pass(1.0)
        assert upstream.running == 2
        await upstream.answer(1, "second")
        assert call.ended == ["second"]
        assert (upstream.cancelled, upstream.running) == ([0], 0)
    assert hedge.statistics() == HedgeStatistics(calls=1, started=1, won=1, delay=1.0)


async def test_the_slow_first_attempt_may_still_win():
    """Then the hedge is the one that is cancelled."""
    clock, upstream = StepClock(), Upstream()
    hedge = Hedge(1.0, clock=clock)
    async with anyio.create_task_group() as tasks:
        call = await started(tasks, hedge, upstream)
        await clock.let_pass(1.0)
        await upstream.answer(0, "first")
        assert (call.ended, upstream.cancelled, upstream.running) == (["first"], [1], 0)
    assert hedge.statistics().won == 0


async def test_no_more_hedges_are_started_than_allowed():
    """One after each delay, up to the bound."""
    clock, upstream = StepClock(), Upstream()
    async with anyio.create_task_group() as tasks:
        call = await started(tasks, Hedge(1.0, max_hedges=2, clock=clock), upstream)
        counts = []
        for _ in range(5):
            await clock.let_pass(1.0)
            counts.append(upstream.running)
        assert counts == [2, 3, 3, 3, 3]
        await upstream.answer(2, "third")
        assert call.ended == ["third"]
        assert sorted(upstream.cancelled) == [0, 1]


async def test_an_error_is_an_answer():
    """It comes out at once; hedges are for slowness, errors are for a retry around."""
    clock, upstream = StepClock(), Upstream()
    error = ConnectionError("refused")
    async with anyio.create_task_group() as tasks:
        call = await started(tasks, Hedge(1.0, clock=clock), upstream)
        await upstream.answer(0, error)
        assert call.ended == [error]
        assert clock.sleepers == []
    assert len(upstream.answers) == 1


@pytest.mark.parametrize("fails", [0, 1])
async def test_an_error_of_one_leaves_the_other_its_chance(fails):
    """Whichever fails."""
    clock, upstream = StepClock(), Upstream()
    async with anyio.create_task_group() as tasks:
        call = await started(tasks, Hedge(1.0, clock=clock), upstream)
        await clock.let_pass(1.0)
        await upstream.answer(fails, ConnectionError("refused"))
        assert call.ended == []
        await upstream.answer(1 - fails, "answer")
        assert call.ended == ["answer"]


async def test_when_all_fail_the_first_failure_comes_out_and_names_the_others():
    """By their types; their texts may hold anything."""
    clock, upstream = StepClock(), Upstream()
    first = ConnectionError("first")
    async with anyio.create_task_group() as tasks:
        call = await started(tasks, Hedge(1.0, max_hedges=2, clock=clock), upstream)
        await clock.let_pass(1.0)
        await clock.let_pass(1.0)
        await upstream.answer(1, first)
        await upstream.answer(0, TimeoutError("hunter2"))
        await upstream.answer(2, OSError("third"))
        assert call.ended == [first]
    assert first.__notes__ == [
        "another attempt of this hedged call failed too: TimeoutError",
        "another attempt of this hedged call failed too: OSError",
    ]


@pytest.mark.parametrize("hedges", [0, 1, 2])
async def test_a_cancelled_call_leaves_nothing_running(hedges):
    """Before any hedge and with some under way; the cancellation passes."""
    clock, upstream = StepClock(), Upstream()
    async with anyio.create_task_group() as tasks:
        call = await started(tasks, Hedge(1.0, max_hedges=2, clock=clock), upstream)
        for _ in range(hedges):
            await clock.let_pass(1.0)
        assert upstream.running == hedges + 1
        call.scope.cancel()
        await settle()
        assert (upstream.running, clock.sleepers) == (0, [])
    assert call.scope.cancelled_caught
    assert call.ended == []


async def test_the_call_waits_until_the_losers_have_ended():
    """What they clean up is done when the answer is used."""
    clock, log = StepClock(), []

    async def ask() -> str:
        number = len(log)
        log.append(f"{number} begins")
        try:
            if number:
                return "answer"
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            log.append(f"{number} ends")
        raise AssertionError

    async with anyio.create_task_group() as tasks:
        call = Call(lambda: Hedge(1.0, clock=clock).acall(ask))
        tasks.start_soon(call)
        await settle()
        await clock.let_pass(1.0)
        assert call.ended == ["answer"]
        assert log == ["0 begins", "1 begins", "1 ends", "0 ends"]


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_the_first_attempt_runs_in_the_callers_context():
    """What it sets stays set, as without a hedge; hedges see the caller's values and keep their own to themselves."""
    clock, seen = FakeClock(), []

    async def ask() -> str:
        seen.append(variable.get())
        variable.set(f"by {len(seen)}")
        await anyio.lowlevel.checkpoint()
        return variable.get()

    variable.set("the caller's")
    assert await Hedge(60.0, clock=StepClock()).acall(ask) == "by 1"
    assert variable.get() == "by 1"

    async def slow() -> str:
        seen.append(variable.get())
        if len(seen) == 2:
            await anyio.sleep_forever()
        variable.set("by a hedge")
        return variable.get()

    assert await Hedge(1.0, clock=clock).acall(slow) == "by a hedge"
    assert seen == ["the caller's", "by 1", "by 1"]
    assert variable.get() == "by 1"


async def test_hedges_see_the_deadline_and_none_starts_without_time():
    """A delay that is longer than what is left would start nothing; then no task is made for it."""
    clock, upstream = StepClock(), Upstream()
    deadlines: list[Any] = []

    async def ask() -> Any:
        deadlines.append(current_deadline())
        return await upstream.ask()

    async def bounded() -> Any:
        with deadline_scope(1.5, clock=clock):
            return await Hedge(1.0, max_hedges=3, clock=clock).acall(ask)

    async with anyio.create_task_group() as tasks:
        call = Call(bounded)
        tasks.start_soon(call)
        await settle()
        await clock.let_pass(1.0)
        await clock.let_pass(1.0)
        assert len(upstream.answers) == 2
        assert deadlines[0] is deadlines[1] is not None
        await upstream.answer(0, "late")
        assert call.ended == ["late"]
    clock.slept = 0
    with deadline_scope(1.0, clock=clock):
        assert await Hedge(1.0, clock=clock).acall(slowly_answering) == "answer"
    assert clock.slept == 0


async def slowly_answering() -> str:
    """Answers when others had their turn."""
    await settle()
    return "answer"


async def answering() -> str:
    """Answers at once."""
    return "answer"


async def test_hedges_spend_the_budget():
    """Without it there is no other attempt; listeners and statistics know."""
    clock, upstream, seen = StepClock(), Upstream(), list[Event]()
    budget = RetryBudget(1.0, 0.0, clock=clock)
    hedge = Hedge(1.0, max_hedges=3, budget=budget, name="search", clock=clock, listeners=[seen.append])
    async with anyio.create_task_group() as tasks:
        call = await started(tasks, hedge, upstream)
        for _ in range(3):
            await clock.let_pass(1.0)
        assert upstream.running == 2  # one call pays for one hedge
        await upstream.answer(0, "first")
        assert call.ended == ["first"]
    assert seen == [HedgeStarted("search", 1, 1.0), RetryBudgetExhausted("search", None)]
    assert hedge.statistics() == HedgeStatistics(calls=1, started=1, over_budget=1, delay=1.0)


@pytest.mark.parametrize("form", ["decorated", "acall"])
async def test_a_retry_and_the_hedge_inside_tell_a_shared_budget_of_a_call_once(form):
    """Else the ratio would be twice what it says; alone, the hedge tells it."""
    clock = FakeClock()
    budget = RetryBudget(0.5, 0.0, clock=clock)
    hedge = Hedge(60.0, budget=budget, clock=StepClock())
    pipeline = Pipeline("x", Retry(3, constant(0), budget=budget, clock=clock), hedge)
    for _ in range(10):
        await (pipeline(answering)() if form == "decorated" else pipeline.acall(answering))
    assert budget.statistics().calls == 10
    assert hedge.statistics().calls == 10
    await hedge.acall(answering)
    assert budget.statistics().calls == 11


async def test_a_percentile_of_recent_calls_sets_the_delay():
    """Nothing is hedged until enough are known; then what is slow for this upstream decides."""
    clock = FakeClock()
    hedge = Hedge(percentile=0.9, clock=clock)
    assert hedge.statistics().delay is None
    assert repr(hedge) == "<Hedge 'hedge' not yet: 0 started in 0 calls, 0 won>"

    async def take(seconds: float) -> None:
        clock.advance(seconds)

    for number in range(1, 21):
        await hedge.acall(take, number / 100)
    assert hedge.statistics().delay == pytest.approx(0.18)
    both = Hedge(0.5, percentile=0.9, clock=clock)
    assert both.statistics().delay == 0.5
    assert repr(both) == "<Hedge 'hedge' after 0.5 s: 0 started in 0 calls, 0 won>"


def test_latencies_of_long_ago_are_forgotten():
    """The percentile is that of the last two hundred."""
    latencies = Latencies(0.5)
    for _ in range(500):
        latencies.add(9.0)
    for _ in range(200):
        latencies.add(1.0)
    assert latencies.slow() == 1.0
    for seconds in range(200):
        latencies.add(float(seconds))
    assert latencies.slow() == 99.0


async def test_a_breaker_inside_counts_no_cancelled_loser():
    """It was cancelled because another was faster, which says nothing about its health."""
    clock, upstream = StepClock(), Upstream()
    breaker = CircuitBreaker("search", clock=clock)
    pipeline = Pipeline("search", Hedge(1.0, clock=clock), breaker)
    async with anyio.create_task_group() as tasks:
        call = Call(lambda: pipeline.acall(upstream.ask))
        tasks.start_soon(call)
        await settle()
        await clock.let_pass(1.0)
        await upstream.answer(1, "second")
        assert call.ended == ["second"]
    seen = breaker.statistics()
    assert (seen.successes, seen.failures) == (1, 0)


async def test_a_timeout_around_strikes_all_attempts():
    """And is told as what it is."""
    upstream = Upstream()
    with pytest.raises(OperationTimeoutError):
        await Pipeline("x", Timeout(0.02), Hedge(0.001, max_hedges=2)).acall(upstream.ask)
    assert upstream.running == 0
    assert len(upstream.answers) >= 2


@pytest.mark.parametrize("anyio_backend", [("trio", {})])
@pytest.mark.parametrize("hedge_too", [False, True])
async def test_an_interruption_looks_as_it_does_without_a_hedge(anyio_backend, hedge_too):
    """No group around it, and nothing else left running."""
    calls = 0

    async def ask() -> None:
        nonlocal calls
        calls += 1
        if hedge_too and calls == 1:
            await anyio.sleep_forever()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await Hedge(0.0, clock=FakeClock()).acall(ask)


def test_sync_functions_are_refused():
    """At decoration and at the call."""
    with pytest.raises(ConfigurationError, match=r"cannot interrupt .*which is not async"):
        Hedge(0.1)(lambda: None)
    with pytest.raises(ConfigurationError, match="cannot interrupt print"):
        Hedge(0.1).call(print)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "delay and percentile are both left out"),
        ({"delay": -1}, "delay is -1; accepted are finite seconds from 0"),
        ({"delay": float("nan")}, "delay is nan"),
        ({"percentile": 0}, "percentile is 0; accepted are finite shares above 0"),
        ({"percentile": 95}, r"percentile is 95; accepted is a share above 0 and below 1, such as 0\.95"),
        ({"delay": 1, "max_hedges": 0}, "max_hedges is 0; accepted are whole numbers from 1 to 10"),
        ({"delay": 1, "max_hedges": 11}, "max_hedges is 11"),
        ({"delay": 1, "budget": 0.1}, r"budget is 0\.1; accepted is a RetryBudget, or None"),
        ({"delay": 1, "config": HedgeConfig(delay=1)}, "config and delay are both given"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, says):
    """Where they are given, with the parameter's name and what is accepted."""
    with pytest.raises(ConfigurationError, match=says):
        Hedge(**options)
