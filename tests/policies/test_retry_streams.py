"""Streams under a `Retry`: begun again before the first item, never after it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator
from typing import Any

import anyio
import pytest

from creatormate_resilience.deadline import remaining_time
from creatormate_resilience.exceptions import RetriesExhaustedError
from creatormate_resilience.policies import Retry, RetryBudget, constant
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


class Source:
    """Streams of both kinds that fail before the given item, as often as told; counts beginnings and ends."""

    def __init__(self, failures: int, before: int) -> None:
        self.failures = failures
        self.before = before
        self.begun = self.closed = 0

    def items(self, count: int) -> Generator[int, str, str]:
        self.begun += 1
        heard: list[str] = []
        try:
            for item in range(count):
                self.fail(item)
                try:
                    heard.append((yield item) or "-")
                except KeyError as error:
                    heard.append(f"thrown {error}")
            self.fail(count)
        finally:
            self.closed += 1
        return "".join(heard)

    async def aitems(self, count: int, heard: list[str] | None = None) -> AsyncGenerator[int, str]:
        self.begun += 1
        try:
            for item in range(count):
                await anyio.lowlevel.checkpoint()
                self.fail(item)
                try:
                    said = (yield item) or "-"
                except KeyError as error:
                    said = f"thrown {error}"
                if heard is not None:
                    heard.append(said)
            self.fail(count)
        finally:
            self.closed += 1

    def fail(self, item: int) -> None:
        if self.failures and item == self.before:
            self.failures -= 1
            raise TimeoutError(f"before {item}")


@pytest.fixture(params=["sync", "async"])
def drain(request: pytest.FixtureRequest) -> Any:
    """All items of a stream under a retry, of either kind."""

    async def drain(retry: Retry, source: Source, count: int) -> list[int]:
        if request.param == "sync":
            return list(retry(source.items)(count))
        return [item async for item in retry(source.aitems)(count)]

    return drain


def make(attempts: int = 3, **options: Any) -> Retry:
    return Retry(attempts, constant(1), clock=FakeClock(), **options)


async def test_a_stream_that_fails_before_its_first_item_begins_again(drain):
    """Nothing was seen of it yet."""
    source = Source(2, before=0)
    retry = make()
    assert await drain(retry, source, 3) == [0, 1, 2]
    assert (source.begun, source.closed) == (3, 3)
    assert retry.statistics().recovered == 1


async def test_a_stream_that_fails_later_does_not(drain):
    """The items before would come twice; the failure comes out as it is."""
    source = Source(1, before=1)
    with pytest.raises(TimeoutError, match="before 1"):
        await drain(make(), source, 3)
    assert (source.begun, source.closed) == (1, 1)


async def test_a_stream_that_never_begins_exhausts_the_attempts(drain):
    """As a call does."""
    source = Source(9, before=0)
    with pytest.raises(RetriesExhaustedError):
        await drain(make(), source, 3)
    assert source.begun == 3


async def test_a_stream_without_items_may_fail_and_begin_again(drain):
    """Its end is its first news."""
    source = Source(1, before=0)
    assert await drain(make(), source, 0) == []
    assert source.begun == 2


async def test_a_stream_counts_once_for_the_budget(drain):
    """However many items it has."""
    budget = RetryBudget(1.0, 0, clock=FakeClock())
    await drain(make(budget=budget), Source(0, 0), 50)
    assert budget.statistics().calls == 1


def test_a_generator_hears_what_is_sent_thrown_and_returns_what_it_returns():
    """As without the retry."""
    stream = make()(Source(1, before=0).items)(3)
    assert next(stream) == 0
    assert stream.send("a") == 1
    assert stream.throw(KeyError("k")) == 2
    with pytest.raises(StopIteration) as end:
        stream.send("c")
    assert end.value.value == "athrown 'k'c"
    with pytest.raises(StopIteration) as end:
        next(make()(Source(1, before=0).items)(0))
    assert end.value.value == ""  # and not None, which is what an ended generator says when it is asked again


async def test_an_async_generator_hears_what_is_sent_and_thrown():
    """As without the retry."""
    heard: list[str] = []
    stream = make()(Source(1, before=0).aitems)(3, heard)
    assert await anext(stream) == 0
    assert await stream.asend("a") == 1
    assert await stream.athrow(KeyError("k")) == 2
    with pytest.raises(StopAsyncIteration):
        await stream.asend("c")
    assert heard == ["a", "thrown 'k'", "c"]


async def test_a_stream_closed_early_is_closed_inside_too():
    """Before its first item, after it, and when nobody ever asked for one."""
    source = Source(0, 0)
    stream = make()(source.items)(3)
    stream.close()
    assert source.begun == 0
    stream = make()(source.items)(3)
    next(stream)
    stream.close()
    assert (source.begun, source.closed) == (1, 1)
    astream = make()(source.aitems)(3)
    await anext(astream)
    await astream.aclose()
    assert (source.begun, source.closed) == (2, 2)


async def test_a_cancelled_beginning_is_not_begun_again():
    """A cancellation passes."""
    begun = 0

    @make(retry_on=Exception)
    async def stream() -> AsyncGenerator[int, None]:
        nonlocal begun
        begun += 1
        await anyio.sleep_forever()
        yield 1

    with anyio.move_on_after(0.01) as scope:
        async for _ in stream():
            pass
    assert scope.cancelled_caught
    assert begun == 1


def test_a_stream_keeps_its_kind():
    """Frameworks ask."""
    assert inspect.isgeneratorfunction(make()(Source(0, 0).items))
    assert inspect.isasyncgenfunction(make()(Source(0, 0).aitems))


async def test_a_streams_deadline_ends_with_its_first_item():
    """What the consumer does between items is not the retry's."""
    seen: list[float | None] = []

    @make(deadline=5.0)
    async def stream() -> AsyncGenerator[int, None]:
        seen.append(remaining_time())
        yield 1
        seen.append(remaining_time())
        yield 2

    assert [item async for item in stream()] == [1, 2]
    assert seen == [5.0, None]
