"""`RateLimiter`: so many in a time, in turn, for all or for each key."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import ConcurrencyLimitError, ConfigurationError, RateLimitExceededError
from creatormate_resilience.outcome import Outcome, OutcomeKind, classify
from creatormate_resilience.policies import (
    Pipeline,
    RateLimited,
    RateLimiter,
    RateLimiterConfig,
    RateLimiterStatistics,
    Retry,
    constant,
)
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(30):
        await anyio.lowlevel.checkpoint()


@pytest.fixture(params=["call", "acall", "decorated", "adecorated", "with", "async with"])
def run(request: pytest.FixtureRequest) -> Callable[[RateLimiter], Any]:
    """Every way through the limiter; all decide alike."""

    async def run(limiter: RateLimiter) -> str:
        def work() -> str:
            return "done"

        async def awork() -> str:
            return "done"

        if request.param == "call":
            return limiter.call(work)
        if request.param == "acall":
            return await limiter.acall(awork)
        if request.param == "decorated":
            return limiter(work)()
        if request.param == "adecorated":
            return await limiter(awork)()
        if request.param == "with":
            with limiter.guard():
                return "done"
        async with limiter.guard():
            return "done"

    return run


def make(rate: float = 10, **options: Any) -> tuple[RateLimiter, FakeClock]:
    clock = FakeClock(1000.0)
    return RateLimiter(rate, clock=clock, **options), clock


async def test_a_burst_passes_and_then_the_rate(run):
    """Ten at once, then one every tenth of a second; the refusal says when."""
    limiter, clock = make(10)
    for _ in range(10):
        assert await run(limiter) == "done"
    with pytest.raises(RateLimitExceededError) as caught:
        await run(limiter)
    assert caught.value.retry_after == pytest.approx(0.1)
    assert not isinstance(caught.value, ConcurrencyLimitError)
    clock.advance(0.1)
    assert await run(limiter) == "done"
    with pytest.raises(RateLimitExceededError):
        await run(limiter)
    assert limiter.statistics() == RateLimiterStatistics(allowed=11, waited=0, rejected=2, keys=1)


async def test_a_short_wait_is_waited(run):
    """Up to `max_wait` and no longer; then the caller hears how long it would have been."""
    limiter, clock = make(10, burst=1, max_wait=0.1)
    await run(limiter)
    await run(limiter)
    assert clock.monotonic() == pytest.approx(1000.1)
    strict, clock = make(10, burst=1, max_wait=0.05)
    await run(strict)
    with pytest.raises(RateLimitExceededError):
        await run(strict)
    assert clock.monotonic() == 1000.0


async def test_nobody_waits_past_the_deadline(run):
    """A wait that does not fit is refused at once."""
    limiter, clock = make(1, burst=1, max_wait=60.0)
    with deadline_scope(1.5, clock=clock):
        await run(limiter)
        await run(limiter)
        with pytest.raises(RateLimitExceededError) as caught:
            await run(limiter)
    assert caught.value.retry_after == pytest.approx(1.0)
    assert clock.monotonic() == pytest.approx(1001.0)


@pytest.mark.parametrize(
    ("rate", "per", "burst", "at_once"), [(5, 1.0, None, 5), (0.5, 1.0, None, 1), (60, 60.0, None, 60), (5, 1.0, 1, 1)]
)
def test_the_burst_is_a_whole_rate_unless_it_is_given(rate, per, burst, at_once):
    """At least one call may always be made."""
    limiter, _ = make(rate, per=per, burst=burst)
    allowed = 0
    with pytest.raises(RateLimitExceededError):
        while True:
            limiter.call(int)
            allowed += 1
    assert allowed == at_once


@pytest.mark.parametrize(("rate", "least"), [(8, 28_800), (7, 19_200)])
def test_over_an_hour_the_rate_is_kept_without_drift(rate, least):
    """Asked sixteen times a second; what comes a little early is refused and comes a whole step later."""
    limiter, clock = make(rate, burst=1)
    allowed = 0
    for _ in range(3600 * 16):
        try:
            limiter.call(int)
            allowed += 1
        except RateLimitExceededError:
            pass
        clock.advance(1 / 16)
    assert least <= allowed <= 3600 * rate


async def test_each_key_has_its_own_limit():
    """A function of the arguments says whose; a method's own object is one of them."""
    limiter, _ = make(1, key=lambda tenant, **_: tenant)

    @limiter
    async def fetch(tenant: str, *, page: int = 0) -> str:
        return f"{tenant}{page}"

    assert [await fetch("a"), await fetch("b", page=1)] == ["a0", "b1"]
    with pytest.raises(RateLimitExceededError):
        await fetch("a", page=2)
    with pytest.raises(RateLimitExceededError):
        limiter.call(lambda tenant: tenant, "b")
    with pytest.raises(RateLimitExceededError), limiter.guard("a"):
        pass
    with limiter.guard("c"):
        pass
    assert limiter.statistics().keys == 3
    assert repr(limiter) == "<RateLimiter 'rate limiter' 1 per 1 s, 3 keys>"


@pytest.mark.parametrize("form", ["decorated", "acall"])
async def test_inside_a_pipeline_the_key_sees_the_calls_own_arguments(form):
    """Whatever stands around it."""
    seen: list[tuple[Any, ...]] = []

    def key(*args: Any, **kwargs: Any) -> str:
        seen.append((args, kwargs))
        return "k"

    async def work(a: int, *, b: int) -> int:
        return a + b

    pipeline = Pipeline("x", Retry(2), RateLimiter(10, key=key), Retry(2))
    assert await (pipeline(work)(1, b=2) if form == "decorated" else pipeline.acall(work, 1, b=2)) == 3
    assert seen == [((1,), {"b": 2})]


def test_a_key_that_cannot_be_hashed_is_refused():
    """The error says so; nothing is counted."""
    limiter, _ = make(1, key=lambda tenants: tenants)
    with pytest.raises(TypeError, match="key is a list; accepted is what can be hashed"):
        limiter.call(len, [1])
    assert limiter.statistics() == RateLimiterStatistics(0, 0, 0, 0)


def test_keys_are_bounded():
    """A flood of keys costs a bounded memory."""
    limiter, _ = make(1, key=lambda tenant: tenant, max_keys=100)
    for tenant in range(1000):
        limiter.call(lambda tenant: tenant, tenant)
    assert limiter.statistics().keys == 100


class PatientClock(FakeClock):
    """Waiting tasks sleep until the test lets them go, in the order of their times."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[float, anyio.Event]] = []

    async def asleep(self, seconds: float, /) -> None:
        entry = (self.monotonic() + seconds, anyio.Event())
        self.waiting.append(entry)
        try:
            await entry[1].wait()
        finally:
            self.waiting.remove(entry)

    async def pass_to(self, moment: float) -> None:
        self.advance(moment - self.monotonic())
        for at, event in sorted(self.waiting, key=lambda entry: entry[0]):
            if at <= moment + 1e-9:
                event.set()
        await settle()


async def test_who_waits_is_served_in_turn():
    """First come first served, one at each interval."""
    clock = PatientClock()
    limiter = RateLimiter(1, burst=1, max_wait=100, clock=clock)
    order: list[int] = []

    async def work(number: int) -> None:
        order.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(limiter.acall, work, number)
            await settle()
        for moment in range(1, 5):
            assert order == list(range(moment))
            await clock.pass_to(float(moment))
    assert order == [0, 1, 2, 3, 4]


async def test_a_waiter_that_is_cancelled_gives_its_place_back():
    """Where it was the last in line; who stood behind it keeps the time that was promised."""
    clock = PatientClock()
    limiter = RateLimiter(1, burst=1, max_wait=100, clock=clock)
    scopes = [anyio.CancelScope() for _ in range(4)]

    async def waiter(scope: anyio.CancelScope) -> None:
        with scope:
            async with limiter.guard():
                pass

    async with anyio.create_task_group() as tasks:
        for scope in scopes:
            tasks.start_soon(waiter, scope)
            await settle()
        assert sorted(at for at, _ in clock.waiting) == [1.0, 2.0, 3.0]
        scopes[3].cancel()  # the last: its place is free again
        scopes[1].cancel()  # one in the middle: its place is lost, and nobody's else
        await settle()
        assert [at for at, _ in clock.waiting] == [2.0]
        tasks.start_soon(waiter, anyio.CancelScope())
        await settle()
        assert sorted(at for at, _ in clock.waiting) == [2.0, 3.0]
        await clock.pass_to(3.0)
    assert limiter.statistics() == RateLimiterStatistics(allowed=3, waited=2, rejected=0, keys=1)


class InterruptedClock(FakeClock):
    """Ctrl-C comes during every sleep."""

    def sleep(self, seconds: float, /) -> None:
        raise KeyboardInterrupt


def test_an_interrupted_wait_of_a_thread_gives_its_place_back():
    """It goes through as it is."""
    clock = InterruptedClock()
    limiter = RateLimiter(1, burst=1, max_wait=1.0, clock=clock)
    limiter.call(int)
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            limiter.call(int)
    assert limiter.statistics() == RateLimiterStatistics(allowed=1, waited=0, rejected=0, keys=1)


def test_threads_together_get_no_more_than_one_would():
    """Reserving is one step."""
    limiter, _ = make(100)
    allowed: list[int] = []

    def work() -> None:
        for _ in range(100):
            with contextlib.suppress(RateLimitExceededError):
                limiter.call(allowed.append, 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(allowed) == 100
    assert limiter.statistics() == RateLimiterStatistics(allowed=100, waited=0, rejected=700, keys=1)


async def test_a_refusal_is_ours_and_worth_a_retry_where_it_fits(run):
    """It counts for no breaker, and a retry that knows a deadline waits for the turn."""
    limiter, clock = make(1, burst=1)
    await run(limiter)
    with pytest.raises(RateLimitExceededError) as caught:
        await run(limiter)
    assert classify(Outcome(exception=caught.value)) is OutcomeKind.IGNORED
    retry = Retry(2, constant(0), clock=clock)
    with deadline_scope(5, clock=clock):
        async for attempt in retry:
            async with attempt:
                assert await run(limiter) == "done"
    assert clock.monotonic() == pytest.approx(1001.0)


async def test_refusals_are_told_without_their_key(run):
    """A key may be somebody's secret."""
    seen: list[Event] = []
    limiter, _ = make(4, burst=1, name="openai", listeners=[seen.append])
    await run(limiter)
    with pytest.raises(RateLimitExceededError, match=r"<RateLimiter 'openai' 4 per 1 s> is used up"):
        await run(limiter)
    assert seen == [RateLimited("openai", 0.25)]


def test_an_awaitable_from_a_sync_call_is_refused():
    """It would run later, when nobody counts."""

    async def work() -> None:
        raise AssertionError("never runs")

    with pytest.raises(TypeError, match="awaitable to a sync call"):
        RateLimiter(1).call(work)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rate": 0}, "rate is 0; accepted are finite calls above 0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"rate": "10"}, "rate is '10'"),
        ({"rate": True}, "rate is True"),
        ({"rate": 10, "per": 0}, "per is 0; accepted are finite seconds above 0"),
        ({"rate": 1e9, "per": 0.001}, "rate is .* accepted is 1 call in 1e-9 to 1e9 s"),
        ({"rate": 10, "burst": 0}, "burst is 0; accepted are whole numbers from 1"),
        ({"rate": 10, "burst": 1.5}, r"burst is 1\.5"),
        ({"rate": 10, "key": "tenant"}, "key is 'tenant'; accepted is a function of the call's arguments"),
        ({"rate": 10, "max_wait": -1}, "max_wait is -1; accepted are finite seconds from 0"),
        ({"rate": 10, "max_keys": 0}, "max_keys is 0; accepted are whole numbers from 1"),
        ({"rate": 10, "config": RateLimiterConfig(rate=10)}, "config and rate are both given"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, says):
    """Where they are given, with the parameter's name and what is accepted."""
    with pytest.raises(ConfigurationError, match=says):
        RateLimiter(**options)


def test_a_rate_is_needed():
    """There is no sensible one to assume."""
    with pytest.raises(ConfigurationError, match="rate is not given; accepted are rate, per"):
        RateLimiter()
