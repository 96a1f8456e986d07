"""`Pipeline`: policies under one name, in an order that makes sense, and working together."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import pytest

from creatormate_resilience.breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.exceptions import (
    ConfigurationError,
    ExternalAPITimeoutError,
    OperationTimeoutError,
    RetriesExhaustedError,
)
from creatormate_resilience.policies import Bulkhead, Fallback, Hedge, Pipeline, RateLimiter, Retry, Timeout, constant
from creatormate_resilience.policy import compose
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


class Plain:
    """A policy of somebody else's: `call` and `acall`, and no decorator."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        return fn(*args, **kwargs)

    async def acall(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        return await fn(*args, **kwargs)


@pytest.mark.parametrize("form", ["decorated", "called"])
async def test_every_policy_sees_the_calls_own_arguments(form):
    """Sync and async, whatever stands around; a policy need not be a decorator."""
    plain = Plain()
    pipeline = Pipeline("x", Fallback(0), Retry(2), plain, Pipeline("inner", Bulkhead(1), plain.__class__()), Retry(1))

    def work(a: int, *, b: int) -> int:
        return a + b

    async def awork(a: int, *, b: int) -> int:
        return a * b

    if form == "decorated":
        assert (pipeline(work)(3, b=4), await pipeline(awork)(3, b=4)) == (7, 12)
    else:
        assert (pipeline.call(work, 3, b=4), await pipeline.acall(awork, 3, b=4)) == (7, 12)
    assert plain.calls == [((3,), {"b": 4})] * 2


async def test_a_timeout_names_the_function_whatever_stands_between():
    """Decorated and called."""
    pipeline = Pipeline("x", Timeout(0.01), Retry(2), Bulkhead(1))

    async def report() -> None:
        await anyio.sleep(30)

    for call in (pipeline(report), lambda: pipeline.acall(report)):
        with pytest.raises(OperationTimeoutError, match=r"report took longer than 0\.01 s"):
            await call()


async def test_streams_pass_through_policies_that_take_them():
    """Begun again before the first item, counted by the breaker at their end; a bulkhead takes none."""
    breaker = CircuitBreaker("x")
    begun = 0

    @Pipeline("x", Retry(3, constant(0), clock=FakeClock()), breaker)
    async def stream() -> AsyncGenerator[int, None]:
        nonlocal begun
        begun += 1
        if begun == 1:
            raise TimeoutError
        yield 1
        yield 2

    assert [item async for item in stream()] == [1, 2]
    assert (breaker.statistics().failures, breaker.statistics().successes) == (1, 1)
    with pytest.raises(ConfigurationError, match="generator"):
        Pipeline("x", Retry(), Bulkhead(1))(stream.__wrapped__)


TWICE = Retry()
BREAKER = CircuitBreaker("openai")


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        ((BREAKER, Retry()), "a retry inside of <CircuitBreaker 'openai'.* hides its attempts"),
        ((BREAKER, Timeout(5), Pipeline("inner", Bulkhead(1), Retry())), "a retry inside of <CircuitBreaker"),
        ((compose(BREAKER), Retry()), "a retry inside of <CircuitBreaker"),
        ((Hedge(1), Retry()), "a hedge around a retry multiplies the attempts"),
        ((Retry(), Fallback(None)), r"Fallback\(NoneType\) hides every failure from Retry\(.* say `on=`"),
        ((BREAKER, Fallback(None)), "hides every failure from <CircuitBreaker"),
        ((Hedge(1), Fallback(None)), "hides every failure from <Hedge"),
        ((TWICE, BREAKER, TWICE), r"Retry\(.* stands in it twice"),
        ((BREAKER, Pipeline("inner", BREAKER)), "stands in it twice"),
    ],
)
def test_an_order_that_cannot_work_is_refused(policies, says):
    """Also where it hides in a nested pipeline; the error says what to do."""
    with pytest.raises(ConfigurationError, match=rf"pipeline 'x': .*{says}"):
        Pipeline("x", *policies)


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        ((Bulkhead(5), Retry()), "a bulkhead around a retry keeps its place"),
        ((Retry(), Retry()), "a retry inside of a retry multiplies the attempts"),
        ((Timeout(5), Fallback(None)), "a fallback inside of a timeout has no answer"),
    ],
)
def test_an_order_that_is_seldom_meant_is_logged_once(policies, says, caplog):
    """And works."""
    with caplog.at_level(logging.WARNING):
        Pipeline("x", *policies)
    assert len(caplog.records) == 1
    assert says in caplog.text


@pytest.mark.parametrize(
    "policies",
    [
        (Fallback(None), RateLimiter(5), Timeout(9), Retry(), CircuitBreaker("x"), Hedge(1), Bulkhead(1), Timeout(5)),
        (CircuitBreaker("cluster"), Retry(), CircuitBreaker("node")),
        (Retry(), Fallback(None, on=KeyError)),
        (Bulkhead(5), Fallback(None)),
        (Retry(), Hedge(1)),
    ],
)
def test_an_order_that_works_is_taken_without_a_word(policies, caplog):
    """The usual one, a breaker in each layer, a substitute for something definite."""
    with caplog.at_level(logging.WARNING):
        Pipeline("x", *policies)
    assert caplog.records == []
