"""What is retried, when, how often, and what comes out when nothing helped."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creatormate_resilience.deadline import deadline_scope, remaining_time
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import (
    CircuitOpenError,
    ConcurrencyLimitError,
    ConfigurationError,
    ExternalAPIError,
    ExternalAPIRateLimitedError,
    ExternalAPIRejectedError,
    ExternalAPIUnavailableError,
    NotFoundError,
    OperationTimeoutError,
    RateLimitExceededError,
    RetriesExhaustedError,
    TransactionConflictError,
)
from creatormate_resilience.outcome import OutcomeKind
from creatormate_resilience.policies import (
    Retry,
    RetryConfig,
    RetryScheduled,
    RetryStatistics,
    constant,
    exponential,
)
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


class Flaky:
    """Fails so often as told, then returns; counts its calls."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    async def acall(self) -> str:
        return self()


@pytest.fixture(params=["call", "acall", "decorated", "adecorated", "for", "async for"])
def run(request: pytest.FixtureRequest) -> Callable[[Retry, Flaky], Any]:
    """Every way of retrying; all decide alike."""

    async def run(retry: Retry, work: Flaky) -> str:
        if request.param == "call":
            return retry.call(work)
        if request.param == "acall":
            return await retry.acall(work.acall)
        if request.param == "decorated":
            return retry(work.__call__)()
        if request.param == "adecorated":
            return await retry(work.acall)()
        if request.param == "for":
            for attempt in retry:
                with attempt:
                    return work()
        else:
            async for attempt in retry:
                async with attempt:
                    return await work.acall()
        raise AssertionError("an attempt neither returned nor raised")

    return run


def make(attempts: int = 3, **options: Any) -> tuple[Retry, FakeClock]:
    """A retry in fake time that waits a second between attempts."""
    clock = FakeClock()
    options.setdefault("wait", constant(1))
    return Retry(attempts, clock=clock, **options), clock


async def test_a_failure_that_passes_is_retried(run):
    """The result of the attempt that worked comes out."""
    retry, clock = make()
    work = Flaky(TimeoutError(), ConnectionError())
    assert await run(retry, work) == "done"
    assert (work.calls, clock.monotonic()) == (3, 2.0)


async def test_when_all_attempts_failed_the_error_says_so(run):
    """It carries the last failure as its cause and the wait that one asked for."""
    retry, _ = make()
    last = ExternalAPIRateLimitedError("OpenAI", retry_after=7.0)
    work = Flaky(TimeoutError(), TimeoutError(), last)
    with pytest.raises(RetriesExhaustedError, match="gave up after 3 attempts") as caught:
        await run(retry, work)
    assert caught.value.__cause__ is last
    assert caught.value.retry_after == 7.0
    assert not caught.value.retryable
    assert work.calls == 3


@pytest.mark.parametrize("before", [0, 1, 2])
async def test_a_failure_that_is_not_worth_a_retry_comes_out_as_it_is(run, before):
    """At the first attempt, in the middle, and at the last: a NotFound stays a NotFound."""
    retry, _ = make()
    error = NotFoundError("x")
    work = Flaky(*[TimeoutError() for _ in range(before)], error)
    with pytest.raises(NotFoundError) as caught:
        await run(retry, work)
    assert caught.value is error
    assert work.calls == before + 1


async def test_one_attempt_is_no_retry(run):
    """The failure comes out as it is."""
    retry, clock = make(1)
    with pytest.raises(TimeoutError) as caught:
        await run(retry, Flaky(TimeoutError("x")))
    assert type(caught.value) is TimeoutError
    assert clock.monotonic() == 0


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (TimeoutError(), True),
        (ConnectionError(), True),
        (OperationTimeoutError(), True),
        (httpx.ReadTimeout("x"), True),
        (ExternalAPIUnavailableError("x"), True),
        (ExternalAPIRateLimitedError("x"), True),
        (TransactionConflictError("x"), True),
        (ExternalAPIError("x"), True),
        (ExternalAPIError("x").with_cause(ExternalAPIRejectedError("x")), False),
        (ExternalAPIRejectedError("x"), False),
        (ValueError(), False),
        (FileNotFoundError(), False),
        (RetriesExhaustedError(), False),
        (CircuitOpenError("x"), False),
        (ConcurrencyLimitError(), False),
        (RateLimitExceededError(), False),
        (ExceptionGroup("one", [TimeoutError()]), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_by_default_the_error_itself_decides(error, retried):
    """What the classifier calls the dependency's failure and the error calls retryable; no refusal of ours."""
    retry, _ = make()
    assert (retry.delay_before(1, error) is not None) == retried


@pytest.mark.parametrize(
    ("retry_on", "error", "retried"),
    [
        (ValueError, ValueError(), True),
        ((ValueError, KeyError), KeyError(), True),
        (ValueError, TimeoutError(), False),
        (lambda error: "again" in str(error), ValueError("again"), True),
        (lambda error: "again" in str(error), TimeoutError(), False),
        (NotFoundError, NotFoundError(), True),
        (BaseException, KeyboardInterrupt(), False),
    ],
)
def test_retry_on_decides_where_it_is_given(retry_on, error, retried):
    """Types or a predicate, and nothing else; an interruption is never an attempt."""
    retry, _ = make(retry_on=retry_on)
    assert (retry.delay_before(1, error) is not None) == retried


def test_a_classifier_decides_where_it_is_given():
    """What it calls a success is not tried again, although the error would be retryable."""
    retry, _ = make(classify=lambda outcome: OutcomeKind.SUCCESS)
    assert retry.delay_before(1, TimeoutError()) is None


@pytest.mark.parametrize(
    ("error", "delay"),
    [
        (ExternalAPIRateLimitedError("x", retry_after=7.0), 7.0),
        (ExternalAPIRateLimitedError("x", retry_after=0.5), 1.0),
        (ExternalAPIRateLimitedError("x", retry_after=60.0), 60.0),
        (ExternalAPIRateLimitedError("x", retry_after=60.5), None),
        (ExternalAPIRateLimitedError("x", retry_after=float("nan")), 1.0),
        (ExternalAPIError("x").with_cause(ExternalAPIRateLimitedError("x", retry_after=9.0)), 9.0),
        (ExternalAPIUnavailableError("x"), 1.0),
        (ConnectionRefusedError(), 1.0),
    ],
    ids=lambda value: f"{type(value).__name__}" if isinstance(value, Exception) else str(value),
)
def test_a_wait_that_an_upstream_asked_for_is_obeyed_up_to_a_cap(error, delay):
    """It lengthens our own wait; beyond the cap nothing is tried. A class's default for clients is no such wish."""
    retry, _ = make()
    assert retry.delay_before(1, error) == delay


async def test_the_deadline_bounds_the_attempts(run):
    """Nothing starts that there is no time for; the last failure comes out as it is, at once."""
    retry, clock = make(10)
    work = Flaky(*[TimeoutError("slow") for _ in range(10)])
    with deadline_scope(2.5, clock=clock), pytest.raises(TimeoutError, match="slow") as caught:
        await run(retry, work)
    assert type(caught.value) is TimeoutError
    assert (work.calls, clock.monotonic()) == (3, 2.0)


async def test_a_wait_longer_than_the_deadline_fails_at_once(run):
    """Sixty seconds do not fit into thirty, so nobody waits."""
    retry, clock = make()
    error = ExternalAPIRateLimitedError("x", retry_after=31.0)
    with deadline_scope(30.0, clock=clock), pytest.raises(ExternalAPIRateLimitedError) as caught:
        await run(retry, Flaky(error))
    assert caught.value is error
    assert clock.monotonic() == 0


@pytest.mark.parametrize(("wait", "calls"), [(4.0, 2), (6.0, 1)])
async def test_an_open_circuit_is_waited_for_only_within_a_deadline(run, wait, calls):
    """Without one nobody knows whether it fits; with one it fits or it does not."""
    retry, clock = make()
    work = Flaky(CircuitOpenError("openai", wait))
    with deadline_scope(5.0, clock=clock):
        if calls == 2:
            assert await run(retry, work) == "done"
            assert clock.monotonic() == wait
        else:
            with pytest.raises(CircuitOpenError):
                await run(retry, work)
    assert work.calls == calls


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_passes(interruption):
    """No attempt follows it."""
    retry, _ = make(retry_on=Exception)
    work = Flaky(interruption())
    with pytest.raises(interruption):
        retry.call(work)
    assert work.calls == 1
    with pytest.raises(interruption):
        for attempt in retry:
            with attempt:
                raise interruption


async def test_a_cancellation_passes():
    """During an attempt and during a wait; no attempt follows it."""
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as scope:
        await Retry(3, retry_on=Exception).acall(work)
    assert scope.cancelled_caught
    assert calls == 1

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise TimeoutError

    with anyio.move_on_after(0.01) as scope:
        await Retry(3, constant(30)).acall(fail)
    assert scope.cancelled_caught
    assert calls == 2


async def test_attempts_are_told(run):
    """Each one that will follow, with its wait and reason."""
    seen: list[Event] = []
    retry, _ = make(name="openai", listeners=[seen.append])
    await run(retry, Flaky(TimeoutError(), ConnectionError()))
    assert seen == [
        RetryScheduled("openai", 1, 1.0, "TimeoutError"),
        RetryScheduled("openai", 2, 1.0, "ConnectionError"),
    ]


async def test_one_retry_serves_many_at_once():
    """Attempts are counted for each caller alone."""
    retry, _ = make(3)
    works = [Flaky(*[TimeoutError() for _ in range(number % 3)]) for number in range(30)]
    async with anyio.create_task_group() as tasks:
        for work in works:
            tasks.start_soon(retry.acall, work.acall)
    assert [work.calls for work in works] == [number % 3 + 1 for number in range(30)]


async def test_an_abandoned_loop_leaves_nothing_behind(recwarn):
    """Leaving the loop early is the normal way out; no half-run generator is left to the garbage collector."""

    async def fetch() -> int:
        async for attempt in Retry(3):
            async with attempt:
                return attempt.number
        raise AssertionError

    assert await fetch() == 1
    gc.collect()
    await anyio.lowlevel.checkpoint()
    assert [str(warning.message) for warning in recwarn] == []


async def test_a_block_may_end_without_leaving_the_loop():
    """A successful attempt is the last."""
    retry, _ = make()
    numbers = []
    for attempt in retry:
        with attempt:
            numbers.append(attempt.number)
            if attempt.number == 1:
                raise TimeoutError
    async for attempt in retry:
        async with attempt:
            numbers.append(attempt.number)
    assert numbers == [1, 2, 1]
    assert repr(attempt) == "<Attempt 1 of 3>"


def test_an_awaitable_from_a_sync_call_is_refused():
    """It would never fail, and never run."""

    async def work() -> None:
        raise AssertionError("never runs")

    with pytest.raises(TypeError, match="awaitable to a sync call"):
        Retry().call(work)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_attempts": 0}, r"max_attempts is 0; accepted are whole numbers from 1 to 1000"),
        ({"max_attempts": 1001}, "max_attempts is 1001"),
        ({"max_attempts": 2.0}, r"max_attempts is 2\.0"),
        ({"max_attempts": True}, "max_attempts is True"),
        ({"max_retry_after": -1}, "max_retry_after is -1; accepted are finite seconds from 0"),
        ({"max_retry_after": float("nan")}, "max_retry_after is nan"),
        ({"max_retry_after": "5"}, "max_retry_after is '5'"),
        ({"max_retry_after": None}, "max_retry_after is None"),
        ({"wait": 0.5}, r"wait is 0\.5; accepted is a function of attempts and a random number"),
        ({"retry_on": "TimeoutError"}, "retry_on is 'TimeoutError'; accepted are exception types"),
        ({"classify": 7}, "classify is 7; accepted is a function of an Outcome"),
        ({"deadline": 0}, "deadline is 0; accepted are finite seconds above 0"),
        ({"deadline": float("nan")}, "deadline is nan"),
        ({"budget": 0.2}, r"budget is 0\.2; accepted is a RetryBudget, or None"),
        ({"retry_refusals": None}, "retry_refusals is None; accepted are True and False"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, says):
    """Where they are given, with the parameter's name and what is accepted."""
    with pytest.raises(ConfigurationError, match=says):
        Retry(**options)


@pytest.mark.parametrize("odd", [-5.0, float("nan"), float("inf"), None, "1", True, 1j], ids=repr)
async def test_a_wait_that_is_no_time_is_an_error(run, odd):
    """It names the option and what is accepted, where the failure it was asked about stands behind it."""
    retry, clock = make(wait=lambda attempts, random: odd)
    work = Flaky(TimeoutError("first"))
    with pytest.raises(
        ConfigurationError, match=r"wait gave .* after attempt 1; accepted are finite seconds"
    ) as caught:
        await run(retry, work)
    assert isinstance(caught.value.__context__, TimeoutError)
    assert (work.calls, clock.monotonic()) == (1, 0.0)


@pytest.mark.parametrize("wait", [0, 3, 2.5])
async def test_a_wait_may_be_any_number_from_zero(run, wait):
    """Whole ones too."""
    retry, clock = make(wait=lambda attempts, random: wait)
    assert await run(retry, Flaky(TimeoutError())) == "done"
    assert clock.monotonic() == wait


@given(
    attempts=st.integers(1, 8),
    failures=st.integers(0, 10),
    base=st.sampled_from([0.0, 0.5, 1.0, 4.0]),
    factor=st.sampled_from([1.0, 2.0, 3.0]),
    left=st.none() | st.floats(0.1, 50),
    stated=st.none() | st.sampled_from([0.0, 2.0, 30.0, 61.0]),
)
def test_a_schedule_is_what_its_parts_say(attempts, failures, base, factor, left, stated):
    """Against the plain rules: wait the longer of ours and theirs; give up where attempts or time are used up."""
    clock = FakeClock()
    retry = Retry(attempts, exponential(base, max=20.0, factor=factor, jitter=0.0), clock=clock)
    work = Flaky(*[ExternalAPIRateLimitedError("x", retry_after=stated) for _ in range(failures)])
    calls, now, outcome = 0, 0.0, ""
    while not outcome:
        calls += 1
        wait = max(stated or 0.0, min(base * factor ** (calls - 1), 20.0))
        if calls > failures:
            outcome = "done"
        elif calls == attempts:
            outcome = "exhausted" if attempts > 1 else "failed"
        elif (stated or 0.0) > 60 or (left is not None and wait >= left - now):
            outcome = "failed"
        else:
            now += wait
    with nullcontext() if left is None else deadline_scope(left, clock=clock):
        try:
            seen = retry.call(work)
        except RetriesExhaustedError:
            seen = "exhausted"
        except ExternalAPIRateLimitedError:
            seen = "failed"
    assert (seen, work.calls, clock.monotonic()) == (outcome, calls, pytest.approx(now))


async def test_a_deadline_of_its_own_bounds_all_attempts(run):
    """Inner policies see it, whatever the form; nothing is interrupted, and nothing starts that has no time."""
    retry, _ = make(10, deadline=2.5)
    seen: list[float | None] = []

    class Looking(Flaky):
        def __call__(self) -> str:
            seen.append(remaining_time())
            return super().__call__()

    work = Looking(*[TimeoutError("slow") for _ in range(10)])
    with pytest.raises(TimeoutError, match="slow"):
        await run(retry, work)
    assert seen == [2.5, 1.5, 0.5]
    assert remaining_time() is None


async def test_a_sooner_deadline_from_outside_wins_over_its_own(run):
    """Nobody gets more time than the caller has."""
    retry, clock = make(10, deadline=60.0)
    work = Flaky(*[TimeoutError() for _ in range(10)])
    with deadline_scope(1.5, clock=clock), pytest.raises(TimeoutError):
        await run(retry, work)
    assert work.calls == 2


async def test_statistics_tell_what_came_of_retrying(run):
    """Who succeeds at once is not counted."""
    retry, _ = make(2)
    await run(retry, Flaky())
    await run(retry, Flaky(TimeoutError()))
    with pytest.raises(RetriesExhaustedError):
        await run(retry, Flaky(TimeoutError(), TimeoutError()))
    with pytest.raises(ValueError, match="ours"):
        await run(retry, Flaky(ValueError("ours")))
    assert retry.statistics() == RetryStatistics(retries=2, recovered=1, exhausted=1)
    assert repr(retry).endswith(", 2 retries made)")


async def test_an_earlier_failure_is_no_context_of_a_later_one(run):
    """An error that only wraps is judged by what it wraps, so what an earlier attempt raised must not hang on to it."""
    retry, _ = make(3)
    last = ExternalAPIError("third")
    with pytest.raises(RetriesExhaustedError):
        await run(retry, Flaky(TimeoutError("first"), TimeoutError("second"), last))
    assert last.__context__ is None


async def test_a_config_serves_several(run):
    """The settings as one frozen value, instead of keywords."""
    clock = FakeClock()
    config = RetryConfig(max_attempts=2, wait=constant(3), clock=clock, name="shared")
    for retry in (Retry(config=config), Retry(config=config)):
        assert await run(retry, Flaky(TimeoutError())) == "done"
    assert clock.monotonic() == 6.0
    with pytest.raises(ConfigurationError, match="config and max_attempts are both given"):
        Retry(3, config=config)
    with pytest.raises(ConfigurationError, match="config is 3; accepted is a RetryConfig"):
        Retry(config=3)
    with pytest.raises(ConfigurationError, match="unknown option atempts; accepted are max_attempts, wait"):
        Retry(atempts=3)


def test_the_repr_tells_the_policy():
    """Pipelines show it."""
    assert repr(Retry(3)) == "Retry(max_attempts=3, wait=Exponential(base=0.1, max=10.0, factor=2.0, jitter=0.5))"


def test_a_classifier_that_gives_no_kind_is_an_error():
    """With the failure that was to be judged as its cause."""

    def fail() -> None:
        raise TimeoutError

    retry = Retry(3, classify=lambda outcome: True)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError, match="classify gave True; accepted is an OutcomeKind") as raised:
        retry.call(fail)
    assert isinstance(raised.value.__cause__, TimeoutError)
