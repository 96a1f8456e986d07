"""What every policy asks of its options, and what happens when a decorator's parentheses are forgotten."""

from __future__ import annotations

import pytest

from creatormate_resilience.breaker import CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.policies import (
    Bulkhead,
    Fallback,
    Hedge,
    Pipeline,
    RateLimiter,
    Retry,
    RetryBudget,
    Timeout,
)

NAMED = {
    "retry": lambda **options: Retry(3, **options),
    "timeout": lambda **options: Timeout(5, **options),
    "bulkhead": lambda **options: Bulkhead(5, **options),
    "rate limiter": lambda **options: RateLimiter(5, **options),
    "hedge": lambda **options: Hedge(5, **options),
    "fallback": lambda **options: Fallback(5, **options),
}
TIMED = {name: NAMED[name] for name in ("retry", "rate limiter", "hedge")} | {
    "budget": lambda **options: RetryBudget(0.2, **options)
}


class HalfClock:
    """Knows the time and cannot wait."""

    def monotonic(self) -> float:
        return 0.0


@pytest.mark.parametrize("make", NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("listeners", [print, [print, 7], 7, None, "print", ["print"]], ids=repr)
def test_listeners_that_cannot_listen_are_refused(make, listeners):
    """When the policy is made, not at the first event."""
    with pytest.raises(ConfigurationError, match=r"listeners is .*; accepted are functions of an event"):
        make(listeners=listeners)


@pytest.mark.parametrize("make", NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("name", ["", None, 7], ids=repr)
def test_a_name_that_says_nothing_is_refused(make, name):
    """It is what events are told by."""
    with pytest.raises(ConfigurationError, match=r"name is .*; accepted is a text that is not empty"):
        make(name=name)


@pytest.mark.parametrize("make", TIMED.values(), ids=TIMED)
@pytest.mark.parametrize("clock", [7, "utc", HalfClock(), HalfClock])
def test_a_clock_that_is_none_is_refused(make, clock):
    """When the policy is made, not when it would wait."""
    with pytest.raises(
        ConfigurationError, match=r"clock is .*; accepted is a Clock, which has monotonic, sleep, asleep"
    ):
        make(clock=clock)


@pytest.mark.parametrize("policy", [Retry, Timeout, Bulkhead, RateLimiter, Hedge, Pipeline])
def test_a_decorator_without_its_parentheses_says_so(policy):
    """Instead of making a policy out of the function."""

    def work() -> None:
        """Something to decorate."""

    with pytest.raises(ConfigurationError, match=r"a decorator wants its parentheses"):
        policy(work)


@pytest.mark.parametrize("make", [*NAMED.values(), lambda: Pipeline("x", Retry())], ids=[*NAMED, "pipeline"])
@pytest.mark.parametrize("thing", [7, "name", None])
def test_what_is_no_function_is_not_decorated(make, thing):
    """The error says what was given."""
    with pytest.raises(TypeError, match=f"decorates functions; got {type(thing).__name__}"):
        make()(thing)


async def answer(*args: object) -> bool:
    """An async function where one that answers at once is wanted."""
    return bool(args)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Retry(retry_on=answer), "retry_on"),
        (lambda: Retry(wait=answer), "wait"),
        (lambda: Retry(classify=answer), "classify"),
        (lambda: Fallback(0, on=answer), "on"),
        (lambda: RateLimiter(5, key=answer), "key"),
        (lambda: Bulkhead(5, listeners=[answer]), "listeners"),
        (lambda: CircuitBreakerConfig(classify=answer), "classify"),
        (lambda: CircuitBreaker("shop", listeners=[answer]), "listeners"),
    ],
)
def test_questions_are_not_asked_of_async_functions(make, name):
    """What they return would count as true, whatever they answer."""
    with pytest.raises(ConfigurationError, match=f"{name} is .*, which is async and would not be awaited; accepted"):
        make()


@pytest.mark.parametrize(
    "make",
    [*NAMED.values(), lambda: Pipeline("x", Retry()), lambda: CircuitBreaker("shop")],
    ids=[*NAMED, "pipe", "cb"],
)
def test_classes_are_not_decorated(make):
    """A class under a policy would be a function, and no class any more."""

    class Client:
        """Something with methods."""

    with pytest.raises(TypeError, match=r"decorates functions; got the class .*Client"):
        make()(Client)


def plain() -> int:
    return 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wrong",
    [lambda policy: policy.acall(plain), lambda policy: policy.acall(3), lambda policy: policy.acall(answer, x=1)],
)
async def test_a_call_that_is_wrong_in_itself_is_nobodys_failure(wrong):
    """Nothing to await, nothing to call, other parameters: no substitute hides it and no breaker counts it."""
    breaker = CircuitBreaker("shop", CircuitBreakerConfig(failure_threshold=1))
    for policy in (breaker, Fallback("hidden"), Pipeline("shop", Fallback("hidden"), Retry(3), breaker)):
        with pytest.raises(TypeError):
            await wrong(policy)
    assert breaker.statistics().failures == 0
    assert breaker.statistics().ignored == 2


def test_a_wrong_sync_call_is_nobodys_failure():
    """As in async code; a TypeError from inside the function is a failure like any other."""
    assert Fallback("given").call(lambda: len(None)) == "given"  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Fallback("hidden").call(plain, 1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Fallback("hidden").call(3)  # type: ignore[arg-type]
