"""`Fallback`: an answer where there is none, and no cover for mistakes."""

from __future__ import annotations

import anyio
import pytest

from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import (
    CircuitOpenError,
    ConcurrencyLimitError,
    ConfigurationError,
    ExternalAPIError,
    ExternalAPIRateLimitedError,
    ExternalAPIRejectedError,
    InputValidationError,
    NotFoundError,
    RetriesExhaustedError,
)
from creatormate_resilience.policies import Fallback, FallbackStatistics, FallbackUsed, Pipeline, Retry, constant
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


def fail_with(error: BaseException):
    """A sync and an async function that raise it."""

    def work() -> str:
        raise error

    async def awork() -> str:
        raise error

    return work, awork


@pytest.mark.parametrize(
    ("error", "handled"),
    [
        (TimeoutError(), True),
        (ExternalAPIError("x"), True),
        (ExternalAPIRateLimitedError("x"), True),
        (RetriesExhaustedError(), True),
        (CircuitOpenError("x"), True),
        (ConcurrencyLimitError(), True),
        (NotFoundError(), False),
        (InputValidationError(), False),
        (ExternalAPIRejectedError("x"), False),
        (ExternalAPIError("x").with_cause(ExternalAPIRejectedError("x")), False),
        (KeyboardInterrupt(), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
async def test_failures_and_refusals_have_a_substitute(error, handled):
    """What the caller did wrong comes out as it is."""
    work, awork = fail_with(error)
    if handled:
        assert Fallback("instead").call(work) == await Fallback("instead").acall(awork) == "instead"
        return
    with pytest.raises(type(error)):
        Fallback("instead").call(work)
    with pytest.raises(type(error)):
        await Fallback("instead").acall(awork)


async def test_what_works_needs_no_substitute():
    """Arguments and result pass through."""

    @Fallback(None)
    async def work(x: int, *, y: int) -> int | None:
        return x + y

    assert await work(1, y=2) == 3


async def test_on_says_which_exceptions_are_meant():
    """Types or a predicate, and nothing else."""
    work, _ = fail_with(KeyError("x"))
    assert Fallback(0, on=KeyError).call(work) == 0
    assert Fallback(0, on=lambda error: "x" in str(error)).call(work) == 0
    with pytest.raises(KeyError):
        Fallback(0, on=(ValueError, TimeoutError)).call(work)
    with pytest.raises(ConfigurationError, match="on is 'KeyError'; accepted are exception types"):
        Fallback(0, on="KeyError")  # type: ignore[arg-type]


async def test_a_substitute_may_be_computed():
    """From the exception, by a function of either kind."""

    async def asubstitute(error: Exception) -> str:
        await anyio.lowlevel.checkpoint()
        return f"async {error}"

    work, awork = fail_with(TimeoutError("slow"))
    assert Fallback(lambda error: f"sync {error}").call(work) == "sync slow"
    assert await Fallback(lambda error: f"sync {error}").acall(awork) == "sync slow"
    assert await Fallback(asubstitute).acall(awork) == "async slow"


async def test_an_async_substitute_for_sync_work_is_refused():
    """A coroutine is no answer."""

    async def substitute(error: Exception) -> str:
        raise AssertionError("never runs")

    work, _ = fail_with(TimeoutError())
    with pytest.raises(TypeError, match="substitute returned an awaitable to a sync call"):
        Fallback(substitute).call(work)


async def test_an_awaitable_from_a_sync_call_is_refused():
    """Its failures would come too late to be substituted."""
    _, awork = fail_with(TimeoutError())
    with pytest.raises(TypeError, match="awaitable to a sync call"):
        Fallback("instead").call(awork)


async def test_a_substitute_that_fails_tells_both_stories():
    """Its error comes out, with the first one as its context."""
    _, awork = fail_with(TimeoutError("first"))

    def broken(error: Exception) -> str:
        raise KeyError("second")

    with pytest.raises(KeyError) as caught:
        await Fallback(broken).acall(awork)
    assert str(caught.value.__context__) == "first"


async def test_a_cancellation_passes():
    """Nobody waits for a substitute any more."""
    with anyio.move_on_after(0.01) as scope:
        await Fallback("instead", on=Exception).acall(anyio.sleep, 30)
    assert scope.cancelled_caught


def test_the_repr_shows_the_kind_of_substitute_only():
    """The value itself may be a customer's."""
    assert repr(Fallback("hunter2")) == "Fallback(str)"


async def test_every_substitute_is_told_and_counted():
    """With the type of what failed; success is not."""
    seen: list[Event] = []
    fallback = Fallback("instead", name="greeting", listeners=[seen.append])
    work, awork = fail_with(TimeoutError())
    fallback.call(work)
    await fallback.acall(awork)
    fallback.call(int)
    with pytest.raises(NotFoundError):
        fallback.call(fail_with(NotFoundError())[0])
    assert seen == [FallbackUsed("greeting", "TimeoutError")] * 2
    assert fallback.statistics() == FallbackStatistics(used=2)


def test_an_async_substitute_is_no_answer_for_a_sync_function():
    """Refused when the function is decorated, not in the outage."""

    async def substitute(error: Exception) -> str:
        return str(error)

    with pytest.raises(ConfigurationError, match="is async and cannot answer for a function that is not"):
        Fallback(substitute)(lambda: "plain")


@pytest.mark.parametrize("form", ["call", "acall"])
async def test_types_mean_what_a_retry_inside_gave_up_on(form):
    """`RetriesExhaustedError` only says how often it failed; the substitute is given that one, with its cause."""
    clock, given = FakeClock(), list[Exception]()
    fallback = Fallback(lambda error: given.append(error) or "instead", on=(ConnectionError, TimeoutError))
    retries = Retry(2, constant(0), retry_on=Exception, clock=clock)
    pipeline = Pipeline("x", fallback, Retry(2, constant(0), retry_on=Exception, clock=clock), retries)

    async def run(error: Exception) -> str:
        work, awork = fail_with(error)
        return pipeline.call(work) if form == "call" else await pipeline.acall(awork)

    assert await run(ConnectionResetError("reset")) == "instead"
    assert isinstance(given[0], RetriesExhaustedError)
    assert isinstance(given[0].__cause__, RetriesExhaustedError)
    with pytest.raises(RetriesExhaustedError) as raised:
        await run(LookupError("not meant"))
    assert isinstance(raised.value.__cause__, RetriesExhaustedError)
    assert fallback.statistics().used == 1


def test_types_do_not_look_through_other_errors():
    """Nor does a predicate look through any: it is asked once, and can look itself."""
    error = LookupError("other")
    error.__cause__ = ConnectionError("reset")
    work, _ = fail_with(error)
    with pytest.raises(LookupError):
        Fallback("instead", on=ConnectionError).call(work)
    asked = list[Exception]()
    exhausted = RetriesExhaustedError("gave up")
    exhausted.__cause__ = ConnectionError("reset")
    work, _ = fail_with(exhausted)
    with pytest.raises(RetriesExhaustedError):
        Fallback("instead", on=lambda error: asked.append(error) or False).call(work)
    assert asked == [exhausted]
    assert Fallback("instead", on=RetriesExhaustedError).call(work) == "instead"
