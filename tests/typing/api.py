"""What type checkers make of the public API. Never executed: `mypy --strict` and pyright strict read it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, assert_type

from creatormate_resilience.breaker import (
    BreakerStatistics,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    Permit,
)
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import (
    CircuitOpenError,
    ErrorCategory,
    ExternalAPIError,
    NotFoundError,
    ResilienceError,
    map_exception,
)
from creatormate_resilience.policies import Bulkhead, Fallback, Pipeline, Retry, Timeout, constant
from creatormate_resilience.policy import Policy, compose

breaker = CircuitBreaker("openai", CircuitBreakerConfig(failure_threshold=3))
retry = Retry(3, constant(0.1))
bulkhead = Bulkhead(10)
timeout = Timeout(5)


def count_of(error: Exception) -> int:
    return len(error.args)


fallback = Fallback("instead")
assert_type(fallback, Fallback[str])
assert_type(Fallback(count_of), Fallback[int])
pipeline = Pipeline("openai", timeout, retry, breaker, bulkhead)
every: tuple[Policy, ...] = (breaker, retry, bulkhead, timeout, pipeline, compose(breaker, retry))


@breaker
def under_breaker(x: int, *, y: str = "") -> list[str]:
    """A sync function."""
    return [y] * x


@breaker
async def aunder_breaker(x: int, *, y: str = "") -> list[str]:
    """An async function."""
    return [y] * x


@breaker
def stream(x: int) -> Generator[int, str, bytes]:
    """A generator."""
    yield x
    return b""


@breaker
async def astream(x: int) -> AsyncGenerator[int, str]:
    """An async generator."""
    yield x


@retry
def under_retry(x: int, /, *rest: str) -> dict[str, int]:
    """A sync function."""
    return dict.fromkeys(rest, x)


@Retry(3)
async def aunder_retry(x: int, /, *rest: str) -> dict[str, int]:
    """An async function."""
    return dict.fromkeys(rest, x)


@timeout
async def under_timeout(x: int) -> float:
    """An async function."""
    return x / 2


@bulkhead
def under_bulkhead(x: int) -> float:
    """A sync function."""
    return x / 2


@bulkhead
async def aunder_bulkhead(x: int) -> float:
    """An async function."""
    return x / 2


@fallback
async def under_fallback(x: int) -> str:
    """An async function."""
    return str(x)


@pipeline
async def under_pipeline(x: int, **options: bool) -> tuple[int, ...]:
    """An async function."""
    return (x, *options.values())


class Client:
    """Methods under every policy."""

    @breaker
    def get(self, key: str) -> bytes:
        """A sync method."""
        return key.encode()

    @pipeline
    async def aget(self, key: str, *, limit: int = 1) -> bytes:
        """An async method."""
        return key.encode()[:limit]

    @classmethod
    @retry
    def make(cls, name: str) -> Client:
        """A class method."""
        return cls()

    @staticmethod
    @breaker
    async def ping(host: str) -> bool:
        """A static method."""
        return bool(host)


async def decorated_functions_keep_their_signatures() -> None:
    """Arguments and results are the functions' own, for functions and methods."""
    assert_type(under_breaker(1, y="a"), list[str])
    assert_type(await aunder_breaker(1, y="a"), list[str])
    assert_type(stream(1), Generator[int, str, bytes])
    assert_type(astream(1), AsyncGenerator[int, str])
    assert_type(under_retry(1, "a", "b"), dict[str, int])
    assert_type(await aunder_retry(1, "a"), dict[str, int])
    assert_type(await under_timeout(1), float)
    assert_type(under_bulkhead(1), float)
    assert_type(await aunder_bulkhead(1), float)
    assert_type(await under_fallback(1), str)
    assert_type(await under_pipeline(1, deep=True), tuple[int, ...])
    client = Client()
    assert_type(client.get("a"), bytes)
    assert_type(await client.aget("a", limit=2), bytes)
    assert_type(Client.make("a"), Client)
    assert_type(await Client.ping("a"), bool)


def wrong_arguments_are_errors() -> None:
    """If a decorator lost the signature, these ignores would be unused, and unused ignores are errors."""
    under_breaker("a")  # type: ignore[arg-type]
    under_retry(x=1)  # type: ignore[call-arg]
    under_bulkhead(1, 2)  # type: ignore[call-arg]
    Client().get(1)  # type: ignore[arg-type]
    breaker.call(len, 7)  # type: ignore[arg-type]
    ExternalAPIError("OpenAI", retry_afer=1)  # type: ignore[call-arg]


async def half(x: int) -> float:
    """Something to call."""
    return x / 2


async def calls_keep_types() -> None:
    """`call` and `acall` check arguments and give the function's result."""
    assert_type(breaker.call(len, "abc"), int)
    assert_type(await breaker.acall(half, 3), float)
    assert_type(retry.call(len, "abc"), int)
    assert_type(await retry.acall(half, 3), float)
    assert_type(await timeout.acall(half, 3), float)
    assert_type(bulkhead.call(len, "abc"), int)
    assert_type(await pipeline.acall(half, x=3), float)
    assert_type(await compose(timeout, breaker).acall(half, 3), float)
    plain: Callable[[int], Awaitable[float]] = retry(half)
    assert_type(await plain(1), float)


async def blocks_and_permits() -> None:
    """Guards, attempts and permits."""
    with breaker.guard():
        pass
    async with breaker.guard(), bulkhead.guard(), timeout.guard() as deadline:
        assert_type(deadline.remaining(), float)
    for attempt in retry:
        with attempt:
            assert_type(attempt.number, int)
    async for attempt in retry:
        async with attempt:
            assert_type(attempt.number, int)
    permit = breaker.acquire()
    assert_type(permit, Permit)
    permit.success()
    assert_type(breaker.statistics(), BreakerStatistics)
    assert_type(CircuitBreakerRegistry({"a": {"failure_threshold": 3}}).get("a", key="b"), CircuitBreaker)


class OrderNotFoundError(NotFoundError):
    """An application's own error."""

    code = "ORDER_NOT_FOUND"

    def __init__(self, order: int) -> None:
        super().__init__(f"order {order}", public={"order": order})


def errors_are_typed(error: CircuitOpenError) -> None:
    """Fields, advice and documents."""
    assert_type(error.retry_after, float | None)
    assert_type(error.retryable, bool)
    assert_type(error.category, ErrorCategory)
    assert_type(error.to_problem(), dict[str, Any])
    assert_type(OrderNotFoundError(7).with_cause(error), OrderNotFoundError)
    assert_type(map_exception(error), ResilienceError)
    assert_type(ResilienceError.from_problem({}, trusted_domain="orders"), ResilienceError)


def listener(event: Event) -> None:
    """Any function of an event listens."""


listened = CircuitBreaker("x", listeners=[listener, print])
