"""Calls of one tick as one trip: who travels with whom, what a failure, a cancellation and a deadline concern."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from creatormate_resilience.cache._batching import Batcher

pytestmark = pytest.mark.anyio

mark: ContextVar[str] = ContextVar("mark", default="clean")


class Server:
    """Answers each item with ten times the item, when it is let."""

    def __init__(self, *, open_: bool = True) -> None:
        self.trips: list[list[int]] = []
        self.seen: list[tuple[asyncio.Task[object] | None, str]] = []
        self.gate = asyncio.Event()
        self.errors: list[Exception] = []
        self.travelling = self.most = 0
        if open_:
            self.gate.set()

    async def send(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.trips.append(list(items))
        self.seen.append((asyncio.current_task(), mark.get()))
        error = self.errors.pop(0) if self.errors else None
        self.travelling += 1
        self.most = max(self.most, self.travelling)
        try:
            await asyncio.sleep(0)  # no answer of a server is there in the same tick
            await self.gate.wait()
        finally:
            self.travelling -= 1
        if error is not None:
            raise error
        return [ValueError(item) if item < 0 else item * 10 for item in items]


async def asked(batcher: Batcher[int, int], *items: int) -> Sequence[int | Exception]:
    """What a caller gets."""
    return await batcher.ask(items)


def callers(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[Sequence[int | Exception]]]:
    """One task for each item."""
    return [asyncio.create_task(asked(batcher, item)) for item in items]


@pytest.fixture(autouse=True)
async def no_task_is_left_over():
    """Whatever happened, every task has ended with the test."""
    yield
    await ticks()
    assert [task for task in asyncio.all_tasks() if task.get_coro().__qualname__ in {"asked", "Batcher._carry"}] == []


async def ticks(count: int = 5) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_lone_call_goes_at_once_in_its_own_task():
    """No other task and no tick in between: nothing is added to its duration."""
    server = Server()
    batcher = Batcher(server.send, seconds=5)
    token = mark.set("mine")
    assert await batcher.ask((1, 2)) == [10, 20]
    mark.reset(token)
    assert server.seen == [(asyncio.current_task(), "mine")]


async def test_calls_of_one_tick_travel_together_and_get_their_own_answers():
    """The first is on its way already; all others share a trip, in the order of asking."""
    server = Server()
    batcher = Batcher(server.send, seconds=5)
    answers = await asyncio.gather(asked(batcher, 1), asked(batcher, 2, 3), asked(batcher, 2), asked(batcher, 4))
    assert answers == [[10], [20, 30], [20], [40]]
    assert server.trips == [[1], [2, 3, 2, 4]]


async def test_trips_are_bounded_in_size_and_number():
    """What does not fit waits for a trip that comes back; more items than fit in one go alone."""
    server = Server(open_=False)
    batcher = Batcher(server.send, seconds=5, size=3, trips=2)
    tasks = callers(batcher, *range(8))
    tasks.append(asyncio.create_task(asked(batcher, *range(10, 15))))
    await ticks()
    assert server.trips == [[0], [1, 2, 3]]
    server.gate.set()
    assert await asyncio.gather(*tasks) == [*([item * 10] for item in range(8)), [100, 110, 120, 130, 140]]
    assert server.trips == [[0], [1, 2, 3], [4, 5, 6], [7], [10, 11, 12, 13, 14]]
    assert server.most == 2


async def test_an_error_of_a_trip_reaches_everybody_on_it_and_nobody_else():
    """One error for each item; the trips before and after are as if nothing had been."""
    server = Server()
    server.errors = [OSError("first"), OSError("second")]
    batcher = Batcher(server.send, seconds=5, size=2)
    tasks = callers(batcher, 1, 2, 3, 4)
    outcomes = [(await task)[0] for task in tasks]
    assert [str(outcome) for outcome in outcomes] == ["first", "second", "second", "40"]


async def test_an_error_of_an_item_reaches_who_asked_for_it_only():
    """Others of the same trip get their answers."""
    server = Server()
    tasks = callers(Batcher(server.send, seconds=5), 1, -2, 3)
    first, second, third = [(await task)[0] for task in tasks]
    assert (first, third) == (10, 30)
    assert isinstance(second, ValueError)


async def test_a_cancelled_caller_harms_nobody():
    """Whether it goes alone, waits or travels: the others of its trip get their answers, and later callers too."""
    server = Server(open_=False)
    batcher = Batcher(server.send, seconds=5, trips=2)
    alone, *together = callers(batcher, 0, 1, 2)
    await ticks()
    waiting = callers(batcher, 3, 4)
    await ticks()
    for task in (alone, together[0], waiting[0]):
        task.cancel()
    await ticks()
    server.gate.set()
    results = await asyncio.gather(alone, *together, *waiting, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, True, False, True, False]
    assert (results[2], results[4]) == ([20], [40])
    assert server.trips == [[0], [1, 2], [4]]
    assert await batcher.ask((5,)) == [50]


async def test_a_deadline_covers_waiting_and_travelling():
    """With every trip stuck, each caller has its `TimeoutError`, those too that never departed."""
    server = Server(open_=False)
    batcher = Batcher(server.send, seconds=0.02, size=1, trips=2)
    outcomes = await asyncio.wait_for(asyncio.gather(*callers(batcher, *range(20))), 5)
    assert {type(outcome) for [outcome] in outcomes} == {TimeoutError}
    server.gate.set()
    assert await batcher.ask((7,)) == [70]


async def test_a_later_caller_has_its_own_deadline():
    """It does not end with the earlier one's."""
    server = Server(open_=False)
    batcher = Batcher(server.send, seconds=0.1, trips=1)
    first = callers(batcher, 1, 2)
    await asyncio.sleep(0.06)
    [late] = callers(batcher, 3)
    assert [type(outcome) for task in first for outcome in await task] == [TimeoutError] * 2
    server.gate.set()
    assert await late == [30]


async def test_a_shared_trip_has_a_context_of_its_own():
    """It must not end with the first caller's deadline, nor carry its request's name."""
    server = Server()
    token = mark.set("mine")
    await asyncio.gather(*callers(Batcher(server.send, seconds=5), 1, 2))
    mark.reset(token)
    assert [context for _, context in server.seen] == ["mine", "clean"]


async def test_closing_ends_trips_and_answers_who_waits():
    """Nobody is left hanging and no task is left over."""
    server = Server(open_=False)
    batcher = Batcher(server.send, seconds=30, size=1, trips=2)
    tasks = callers(batcher, 1, 2, 3)
    await ticks()
    tasks[0].cancel()  # it goes in its own task, which is its caller's to end
    await batcher.aclose()
    outcomes = await asyncio.gather(*tasks[1:])
    assert {type(outcome) for [outcome] in outcomes} == {ConnectionAbortedError}
    await asyncio.gather(tasks[0], return_exceptions=True)


async def test_nothing_is_kept_of_what_was_answered():
    """A hundred thousand answers do not stay in memory until their deadlines have passed."""
    server = Server()
    batcher = Batcher(server.send, seconds=30)
    for _ in range(10):
        await asyncio.gather(*callers(batcher, *range(100)))
    await ticks()
    assert (len(batcher._deadlines), len(batcher._waiting), len(batcher._tasks)) == (0, 0, 0)
    await batcher.aclose()
