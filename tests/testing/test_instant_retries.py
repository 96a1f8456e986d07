"""`instant_retries`: every attempt, and no waiting."""

from __future__ import annotations

import pytest

from creatormate_resilience.breaker import CircuitBreaker
from creatormate_resilience.exceptions import RetriesExhaustedError
from creatormate_resilience.policies import Fallback, Pipeline, Retry, RetryBudget, RetryConfig, Timeout, constant
from creatormate_resilience.policy import compose
from creatormate_resilience.testing import FakeClock, Recorder, aflaky, flaky, instant_retries

pytestmark = pytest.mark.anyio


def test_it_makes_every_attempt_and_tells_how_long_it_would_have_waited():
    """Half an hour of waiting is read from the clock; a real clock would run into the test's time limit."""
    clock = FakeClock()
    fetch = flaky(ConnectionError, ConnectionError, "ok")
    assert instant_retries(Retry(3, constant(900)), clock=clock).call(fetch) == "ok"
    assert clock.monotonic() == 1800


async def test_it_does_under_async_too():
    """On asyncio and on trio, as a function and as a block."""
    fetch = aflaky(ConnectionError, "ok", ConnectionError, "again")
    retry = instant_retries(Retry(3, constant(3600)))
    assert await retry(fetch)() == "ok"
    async for attempt in retry:
        async with attempt:
            assert await fetch() == "again"
    assert fetch.calls == 4


def test_everything_but_the_clock_is_the_originals():
    """Configuration, listeners and budget; the original stays what it was."""
    recorder = Recorder()
    config = RetryConfig(max_attempts=4, wait=constant(60), budget=RetryBudget(), name="shop", listeners=(recorder,))
    original = Retry(config=config)
    retry = instant_retries(original)
    with pytest.raises(RetriesExhaustedError):
        retry.call(flaky(then=ConnectionError))
    assert retry.config.budget is config.budget
    assert [event.source for event in recorder.events] == ["shop"] * 3
    assert (original.config, original.statistics().retries, retry.statistics().retries) == (config, 0, 3)


def test_a_pipeline_keeps_its_other_policies():
    """The very same objects in the same order; only retries are exchanged, nested ones as well."""
    clock, breaker, fallback = FakeClock(), CircuitBreaker("shop"), Fallback("none")
    inner = Pipeline("inner", Retry(2, constant(600)), breaker)
    pipeline = instant_retries(Pipeline("outer", fallback, inner), clock=clock)
    assert pipeline.call(flaky(ConnectionError, "ok")) == "ok"
    assert pipeline.call(flaky(then=ConnectionError)) == "none"
    assert clock.monotonic() == 1200
    assert breaker.statistics().calls == 4
    assert pipeline.policies[0] is fallback
    assert pipeline.name == "outer"


def test_policies_made_with_compose_work_too():
    """`compose` is a pipeline without a name."""
    clock = FakeClock()
    assert instant_retries(compose(Retry(2, constant(600))), clock=clock).call(flaky(ConnectionError, "ok")) == "ok"
    assert clock.monotonic() == 600


def test_what_has_no_retry_in_it_is_refused():
    """A silent no-op would let the next test wait."""
    with pytest.raises(TypeError, match="accepted is a Retry, or a pipeline with one in it"):
        instant_retries(Timeout(1))  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="accepted is a pipeline with a Retry in it"):
        instant_retries(Pipeline("shop", Timeout(1)))
