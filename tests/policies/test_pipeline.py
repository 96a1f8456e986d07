"""`Pipeline`: policies under one name, in an order that makes sense, and working together."""

from __future__ import annotations

import anyio
import pytest

from creatormate_resilience.breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.exceptions import (
    ConfigurationError,
    ExternalAPITimeoutError,
    OperationTimeoutError,
    RetriesExhaustedError,
)
from creatormate_resilience.policies import Bulkhead, Fallback, Pipeline, Retry, Timeout, constant
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


async def test_the_usual_order_works_together():
    """Attempts are retried and counted by the breaker; when it opens, the fallback answers without calling."""
    clock = FakeClock()
    breaker = CircuitBreaker("openai", CircuitBreakerConfig(failure_threshold=4), clock=clock)
    pipeline = Pipeline(
        "openai",
        Fallback("degraded"),
        Timeout(30),
        Retry(3, constant(0), clock=clock),
        breaker,
        Bulkhead(5),
        Timeout(5),
    )
    calls = 0

    @pipeline
    async def ask() -> str:
        nonlocal calls
        calls += 1
        raise ExternalAPITimeoutError("OpenAI")

    assert await ask() == "degraded"
    assert (calls, breaker.state) == (3, BreakerState.CLOSED)
    assert await ask() == "degraded"
    assert (calls, breaker.state) == (4, BreakerState.OPEN)
    assert await ask() == "degraded"
    assert calls == 4


async def test_a_pipeline_is_a_policy_again():
    """Nested, decorated, called; sync where all parts can be."""
    inner = Pipeline("inner", Retry(3, constant(0), clock=FakeClock()))
    outer = Pipeline("outer", Fallback(lambda error: type(error).__name__), inner)
    calls = []

    @outer
    def work() -> str:
        calls.append(1)
        raise TimeoutError

    assert work() == RetriesExhaustedError.__name__
    assert len(calls) == 3
    assert outer.call(lambda x: x, 7) == 7
    assert await outer.acall(anyio.sleep, 0) is None
    assert repr(outer).startswith("<Pipeline 'outer': Fallback(")
    assert "> <Pipeline 'inner': Retry(" in repr(outer)


async def test_an_outer_timeout_bounds_all_attempts_together():
    """And the breaker inside counts the one it interrupted."""
    breaker = CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=100))
    pipeline = Pipeline("x", Timeout(0.05), Retry(100, constant(0)), breaker, Timeout(0.02))
    with pytest.raises(OperationTimeoutError):
        await pipeline.acall(anyio.sleep, 30)
    assert 2 <= breaker.statistics().failures <= 4
    assert breaker.statistics().ignored == 0


@pytest.mark.parametrize(
    "policies",
    [
        (Timeout(5), Timeout(10)),
        (Timeout(10), Retry(), Timeout(3), Timeout(4)),
        (Timeout(5), Pipeline("inner", Retry(), Timeout(10))),
        (Pipeline("inner", Timeout(5)), Timeout(10)),
    ],
)
def test_an_inner_timeout_that_could_never_strike_is_refused(policies):
    """Wherever it hides."""
    with pytest.raises(ConfigurationError, match=r"pipeline 'x': the outer timeout of \d s strikes before the inner"):
        Pipeline("x", *policies)


def test_timeouts_that_fit_are_accepted():
    """Equal ones too."""
    Pipeline("x", Timeout(10), Retry(), Timeout(10), CircuitBreaker("x", CircuitBreakerConfig(timeout=3.0)), Timeout(2))


@pytest.mark.parametrize(
    "policy",
    [Timeout(5), Pipeline("inner", Timeout(5)), CircuitBreaker("x", CircuitBreakerConfig(timeout=5.0))],
    ids=["timeout", "pipeline", "breaker"],
)
def test_a_sync_function_is_refused_where_a_part_cannot_serve_it(policy):
    """At decoration, and at a call."""
    pipeline = Pipeline("x", Retry(), policy)
    assert pipeline.async_only
    with pytest.raises(ConfigurationError, match="cannot interrupt"):
        pipeline(lambda: None)
    with pytest.raises(ConfigurationError, match="cannot interrupt"):
        pipeline.call(print)


@pytest.mark.parametrize("policies", [(), (7,), (Retry(), print), (Retry,), (Retry(), "breaker")])
def test_what_is_no_policy_is_refused(policies):
    """The error names the pipeline and the culprit."""
    with pytest.raises(ConfigurationError, match=r"pipeline 'x'.*(name at least one|is not a policy)"):
        Pipeline("x", *policies)


@pytest.mark.parametrize("name", ["", None, 7, Retry()])
def test_a_pipeline_needs_a_name(name):
    """It is what metrics and errors are told by; the first policy is easily passed in its place."""
    with pytest.raises(ConfigurationError, match=r"name is .*accepted is a text"):
        Pipeline(name, Retry())
