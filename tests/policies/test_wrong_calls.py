"""Calls that could not do what they look like: refused with what to do instead, and nobody's failure."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from creatormate_resilience.breaker import CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.outcome import Outcome, OutcomeKind, classify
from creatormate_resilience.policies import Bulkhead, Fallback, Hedge, Pipeline, RateLimiter, Retry, Timeout, constant
from creatormate_resilience.testing import Chaos

pytestmark = pytest.mark.anyio

STRICT = CircuitBreakerConfig(failure_threshold=1)
SYNC: dict[str, Any] = {
    "breaker": lambda: CircuitBreaker("x", STRICT),
    "measuring breaker": lambda: CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=1, slow_call_duration=9)),
    "retry": lambda: Retry(3, constant(0)),
    "retry with a deadline": lambda: Retry(3, constant(0), deadline=9),
    "bulkhead": lambda: Bulkhead(5),
    "rate limiter": lambda: RateLimiter(1000),
    "fallback": lambda: Fallback("instead"),
    "pipeline": lambda: Pipeline("x", Fallback("instead"), Retry(3, constant(0)), CircuitBreaker("x", STRICT)),
    "chaos": Chaos,
}
ASYNC: dict[str, Any] = SYNC | {
    "timeout": lambda: Timeout(5),
    "breaker with a timeout": lambda: CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=1, timeout=5)),
    "hedge": lambda: Hedge(0.5),
    "hedge not yet": lambda: Hedge(percentile=0.5),
}
sync = pytest.mark.parametrize("make", SYNC.values(), ids=SYNC)
every = pytest.mark.parametrize("make", ASYNC.values(), ids=ASYNC)


def stream() -> Iterator[int]:
    """Yields."""
    yield 1


async def async_stream() -> AsyncIterator[int]:
    """Yields."""
    yield 1


@contextlib.contextmanager
def session() -> Iterator[int]:
    """A block."""
    yield 1


@contextlib.asynccontextmanager
async def async_session() -> AsyncIterator[int]:
    """A block."""
    yield 1


class Repository:
    """Sessions as methods."""

    @contextlib.contextmanager
    def session(self) -> Iterator[int]:
        yield 1


@functools.wraps(stream)
def passed_on() -> Iterator[int]:
    """What a decorator of someone else makes of it."""
    return stream()


@functools.wraps(stream)
def used_up() -> list[int]:
    """What a decorator that does the work makes of it."""
    return list(stream())


@every
@pytest.mark.parametrize(
    "fn",
    [session, async_session, Repository.session, Repository().session, functools.partial(session)],
    ids=["def", "async def", "function of a method", "method", "partial"],
)
def test_a_context_manager_is_refused_when_it_is_decorated(make, fn):
    """Its body runs after the call, so a policy around the call would protect nothing."""
    with pytest.raises(ConfigurationError, match=r"session.*body runs after the call.*`with policy\.guard\(\):`"):
        make()(fn)
    with pytest.raises(ConfigurationError, match=r"session"):
        make()(staticmethod(fn))


@sync
@pytest.mark.parametrize(
    "fn",
    [stream, async_stream, functools.partial(stream), passed_on, session, async_session, Repository().session],
    ids=["generator", "async generator", "partial", "wrapped", "context", "async context", "method"],
)
def test_what_only_begins_later_is_refused_when_it_is_called(make, fn):
    """Each time, also after another function has returned the same type; and it is nobody's failure."""
    policy = make()
    given = stream()
    assert policy.call(lambda: given) is given
    given_session = session()
    assert policy.call(lambda: given_session) is given_session
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"was called under a policy: a .* after the call has ended"):
            policy.call(fn)
    if isinstance(policy, CircuitBreaker):
        seen = policy.statistics()
        assert (seen.failures, seen.ignored, seen.state) == (0, 2, "closed")


@sync
def test_what_uses_a_generator_up_is_a_call_like_any_other(make):
    """Whatever it was made from."""
    assert make().call(used_up) == [1]
    assert make()(used_up)() == [1]


def test_a_probe_that_is_refused_gives_its_place_back():
    """A half-open breaker is not used up by it."""
    breaker = CircuitBreaker("x", CircuitBreakerConfig(half_open_max_calls=1, half_open_max_concurrent=1))
    breaker.trip(1e-9)
    for _ in range(3):
        with pytest.raises(ConfigurationError, match="generator"):
            breaker.call(stream)
    assert breaker.call(int) == 0
    assert breaker.state == "closed"


@every
def test_decorators_of_classes_stand_above(make):
    """The error says that the two are to be swapped."""
    with pytest.raises(TypeError, match="got classmethod; swap the two, so that @classmethod stands above it"):
        make()(classmethod(lambda cls: cls))
    with pytest.raises(TypeError, match="got property; swap the two, so that @property stands above it"):
        make()(property(lambda self: self))


async def question(number: int = 1) -> int:
    """Asks."""
    return number


@every
async def test_a_coroutine_in_place_of_its_function_is_closed_and_refused(make):
    """`acall(f())` for `acall(f)`."""
    policy, coroutine = make(), question()
    with pytest.raises(TypeError, match="acall was given the coroutine of question; give it the function"):
        await policy.acall(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert not_a_failure(policy)
    decorated = question()
    with pytest.raises(TypeError, match="decorates functions; got coroutine"):
        make()(decorated)
    assert inspect.getcoroutinestate(decorated) == inspect.CORO_CLOSED


def plain(number: int = 1) -> int:
    """Asks nobody."""
    return number


@every
@pytest.mark.parametrize("fn", [plain, stream, async_stream, session], ids=["def", "generator", "async", "context"])
async def test_acall_of_what_is_not_async_names_it_and_says_what_to_do(make, fn):
    """And counts for nobody, in whatever it is nested."""
    policy = make()
    name = fn.__name__
    with pytest.raises(TypeError, match=rf"{name} returned nothing that can be awaited .* or use call") as raised:
        await policy.acall(fn)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert classify(Outcome(exception=raised.value)) is OutcomeKind.IGNORED
    assert not_a_failure(policy)


@every
async def test_other_type_errors_are_left_as_they_are(make):
    """A wrong number of arguments, and what the work itself raises: that one is a failure."""
    policy = make()
    with pytest.raises(TypeError, match=r"question\(\) takes from 0 to 1 positional arguments but 3 were given"):
        await policy.acall(question, 1, 2, 3)
    assert not_a_failure(policy)

    async def awaits_nonsense() -> None:
        await plain()  # type: ignore[misc]

    policy = make()
    if isinstance(policy, Fallback | Pipeline):
        assert await policy.acall(awaits_nonsense) == "instead"
        return
    with pytest.raises(TypeError) as raised:
        await policy.acall(awaits_nonsense)
    assert "awaits_nonsense" not in str(raised.value)


def not_a_failure(policy: Any) -> bool:
    """Whether nothing was counted against anybody."""
    policies = getattr(policy, "policies", (policy,))
    return all(
        each.statistics().failures == 0 and each.state == "closed"
        for each in policies
        if isinstance(each, CircuitBreaker)
    ) and all(each.statistics().used == 0 for each in policies if isinstance(each, Fallback))


NAMES = ("self", "fn", "args", "kwargs", "key", "policy", "permit", "number", "attempt", "error", "config")


def named(**given: Any) -> list[str]:
    """What was given."""
    return sorted(given)


async def anamed(**given: Any) -> list[str]:
    """What was given."""
    await anyio.lowlevel.checkpoint()
    return sorted(given)


@every
async def test_keyword_arguments_of_any_name_pass_through(make):
    """Also those that a policy itself could have a parameter for."""
    given = dict.fromkeys(NAMES)
    policy = make()
    assert await policy.acall(anamed, **given) == sorted(NAMES)
    assert await policy(anamed)(**given) == sorted(NAMES)
    if not isinstance(policy, Hedge | Timeout) and not getattr(policy, "async_only", False):
        assert policy.call(named, **given) == sorted(NAMES)
        assert policy(named)(**given) == sorted(NAMES)


async def test_a_key_is_given_keyword_arguments_of_any_name():
    """It sees what the function sees."""
    seen = []
    limiter = RateLimiter(1000, key=lambda **given: seen.append(sorted(given)))
    assert limiter.call(named, self=1, fn=2) == ["fn", "self"]
    assert await limiter.acall(anamed, self=1, fn=2) == ["fn", "self"]
    assert seen == [["fn", "self"]] * 2
