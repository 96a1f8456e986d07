"""What type checkers make of the policies. Never executed: `mypy --strict` and pyright strict read it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import Any, Never, assert_type

from creatormate_resilience.breaker import CircuitBreaker
from creatormate_resilience.deadline import Deadline, deadline_header, deadline_scope, receive_deadline
from creatormate_resilience.policies import (
    Bulkhead,
    Fallback,
    Hedge,
    Pipeline,
    RateLimiter,
    Retry,
    RetryBudget,
    RetryConfig,
    RetryStatistics,
    Timeout,
    exponential,
)
from creatormate_resilience.policy import Policy

budget = RetryBudget(ratio=0.2)
retry = Retry(max_attempts=3, wait=exponential(0.1, max=10), retry_on=OSError, budget=budget, deadline=5.0)
limiter = RateLimiter(10, burst=5, key=len, max_wait=1.0)
hedge = Hedge(0.1, percentile=0.95, max_hedges=2, budget=budget)
every: tuple[Policy, ...] = (retry, limiter, hedge, Timeout(1), Bulkhead(1), Retry(config=RetryConfig(max_attempts=2)))


class Answer:
    """What is substituted."""


async def degrade(error: Exception) -> Answer:
    """A substitute that is computed."""
    return Answer()


async def half(x: int) -> float:
    """Something to call."""
    return x / 2


def third(x: int) -> float:
    """Something to call."""
    return x / 3


def promised(x: int) -> Awaitable[float]:
    """Something async that is no `async def`."""
    return half(x)


plain = Pipeline("plain", Timeout(10), retry, CircuitBreaker("x"), hedge, limiter)
degrading = Pipeline("degrading", Fallback(degrade), Timeout(10), retry)
nested = Pipeline("nested", Timeout(20), degrading)
assert_type(plain, Pipeline[Never])
assert_type(degrading, Pipeline[Answer])
assert_type(nested, Pipeline[Answer])
assert_type(Fallback(None), Fallback[None])
nothing_added: Policy = plain


@hedge
async def under_hedge(x: int, *, y: str) -> bytes:
    """An async function."""
    return y.encode() * x


@limiter
def under_limiter(x: str) -> int:
    """A sync function."""
    return len(x)


@retry
def stream(x: int) -> Generator[int, str, bytes]:
    """A generator."""
    yield x
    return b""


@retry
async def astream(x: int) -> AsyncGenerator[int, str]:
    """An async generator."""
    yield x


@Fallback(degrade)
async def under_fallback(x: int) -> float:
    """An async function."""
    return x / 2


@Fallback(0)
def sync_under_fallback(x: str, *, y: int = 1) -> bytes:
    """A sync function."""
    return x.encode() * y


@degrading
async def under_degrading(x: int, *, y: str = "") -> float:
    """An async function."""
    return x / len(y)


@plain
async def under_plain(x: int) -> float:
    """An async function."""
    return x / 2


class Client:
    """Methods."""

    @degrading
    async def get(self, key: str) -> bytes:
        """An async method."""
        return key.encode()


async def a_fallback_widens_the_return_type() -> None:
    """Alone, in a pipeline and in a pipeline inside; where the types agree nothing changes."""
    assert_type(await under_fallback(1), float | Answer)
    assert_type(sync_under_fallback("a", y=2), bytes | int)
    assert_type(await under_degrading(1, y="a"), float | Answer)
    assert_type(await nested(half)(1), float | Answer)
    assert_type(await degrading.acall(half, 3), float | Answer)
    assert_type(degrading.call(third, 3), float | Answer)
    assert_type(await Fallback(degrade).acall(half, 3), float | Answer)
    assert_type(Fallback(0.5).call(third, 3), float)
    assert_type(await Client().get("a"), bytes | Answer)
    assert_type(await Fallback(1.0)(promised)(3), float)
    task: Coroutine[Any, Any, float | Answer] = under_fallback(1)
    await task


async def nothing_else_changes_it() -> None:
    """A pipeline without a fallback, and every other policy."""
    assert_type(await under_plain(1), float)
    assert_type(await plain.acall(half, 3), float)
    assert_type(await under_hedge(1, y="a"), bytes)
    assert_type(await hedge.acall(half, 3), float)
    assert_type(under_limiter("a"), int)
    assert_type(limiter.call(len, "abc"), int)
    assert_type(stream(1), Generator[int, str, bytes])
    assert_type(astream(1), AsyncGenerator[int, str])
    assert_type(retry.statistics(), RetryStatistics)
    same: Callable[[int], float] = limiter(third)
    assert_type(same(1), float)


def wrong_arguments_are_errors() -> None:
    """If a decorator lost the signature, these ignores would be unused, and unused ignores are errors."""
    under_limiter(1)  # type: ignore[arg-type]
    sync_under_fallback("a", z=2)  # type: ignore[call-arg]
    Retry(max_atempts=3)  # type: ignore[call-arg]
    RateLimiter(10, birst=3)  # type: ignore[call-arg]
    Hedge(0.1, percentil=0.9)  # type: ignore[call-arg]
    not_a_policy: Policy = degrading  # type: ignore[assignment]
    not_a_policy.call(third, 1)


async def blocks() -> None:
    """Guards and deadlines."""
    with limiter.guard("tenant"), deadline_scope(5) as deadline:
        assert_type(deadline, Deadline)
    async with limiter.guard(("tenant", 7)), Timeout(1).guard() as inner:
        assert_type(inner, Deadline)
    with receive_deadline("1500", limit=30.0) as received:
        assert_type(received, Deadline | None)
    assert_type(deadline_header(), tuple[str, str] | None)
