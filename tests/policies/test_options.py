"""What every policy asks of its options, and what happens when a decorator's parentheses are forgotten."""

from __future__ import annotations

import pytest

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
