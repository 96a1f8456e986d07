"""How the attempts of a hedged call end: they clean up in peace, none is left over, and nothing keeps them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from typing import Any

import anyio
import pytest
from tests.policies.hedging import Call, StepClock, settle
from tests.policies.hedging import Upstream as Answering

from creatormate_resilience.exceptions import OperationTimeoutError
from creatormate_resilience.policies import Hedge, Pipeline, Timeout
from creatormate_resilience.time_limit import time_limit

pytestmark = pytest.mark.anyio

on_asyncio = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)


class Connections:
    """Attempts that hold a connection each, which takes several awaits to give back."""

    def __init__(self, wins: int | None) -> None:
        self.wins = wins
        self.log: list[str] = []
        self.held = 0
        self.calls = 0
        self.answers = anyio.Event()

    async def __aenter__(self) -> None:
        self.held += 1

    async def __aexit__(self, *error: object) -> None:
        self.log.append("gives back")
        await asyncio.sleep(0)
        await settle()
        self.held -= 1
        self.log.append("gave back")

    async def ask(self) -> int:
        number = self.calls
        self.calls += 1
        async with self:
            if number != self.wins:
                await anyio.sleep_forever()
            await self.answers.wait()
        return number


@on_asyncio
@pytest.mark.parametrize("wins", [0, 1, 2])
async def test_a_loser_may_await_what_cleans_up(anyio_backend, wins):
    """Whichever wins: it was cancelled once, not at each await, so that connections and transactions are given back."""
    clock, upstream = StepClock(), Connections(wins)
    async with anyio.create_task_group() as tasks:
        call = Call(lambda: Hedge(1.0, max_hedges=2, clock=clock).acall(upstream.ask))
        tasks.start_soon(call)
        await settle()
        for _ in range(2):
            await clock.let_pass(1.0)
        upstream.answers.set()
    assert call.ended == [wins]
    assert upstream.held == 0
    assert upstream.log.count("gives back") == upstream.log.count("gave back") == upstream.calls


@on_asyncio
async def test_a_cancelled_call_lets_all_attempts_clean_up(anyio_backend):
    """A plain cancellation of the caller's task is passed on once to each, and passes when all have ended."""
    clock, upstream = StepClock(), Connections(None)
    task = asyncio.ensure_future(Hedge(1.0, max_hedges=2, clock=clock).acall(upstream.ask))
    await settle()
    await clock.let_pass(1.0)
    await clock.let_pass(1.0)
    assert upstream.held == 3
    task.cancel("why")
    with pytest.raises(asyncio.CancelledError, match="why"):
        await task
    assert (upstream.held, upstream.log.count("gave back")) == (0, 3)
    assert clock.sleepers == []


@on_asyncio
@pytest.mark.parametrize("by", ["task", "scope", "timeout"])
async def test_a_call_that_is_cancelled_while_losers_clean_up_waits_for_them(anyio_backend, by):
    """Nothing is left running, and the cancellation is not lost although there is an answer."""
    clock, clean, calls, log = StepClock(), asyncio.Event(), 0, list[str]()

    async def ask() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            return await Answering().ask()
        if calls == 2:
            try:
                await anyio.sleep_forever()
            finally:
                await clean.wait()
                log.append("cleaned")
        return "answer"

    async def call() -> str:
        return await Hedge(1.0, max_hedges=2, clock=clock).acall(ask)

    scope, before = anyio.CancelScope(), asyncio.all_tasks()

    async def under() -> str:
        if by == "scope":
            with scope:
                return await call()
            return "cancelled"
        if by == "timeout":
            async with asyncio.timeout(0.05):  # a limit of ours would tell the hedge that there is no time
                return await call()
        return await call()

    task = asyncio.ensure_future(under())
    await settle()
    await clock.let_pass(1.0)
    await clock.let_pass(1.0)
    if by == "task":
        task.cancel()
    elif by == "scope":
        scope.cancel()
    else:
        await asyncio.sleep(0.06)
    await asyncio.sleep(0.001)
    assert (task.done(), log) == (False, [])
    clean.set()
    expected = {"task": asyncio.CancelledError, "timeout": TimeoutError}
    with pytest.raises(expected[by]) if by in expected else contextlib.nullcontext():
        assert await task == "cancelled"
    assert log == ["cleaned"]
    assert asyncio.all_tasks() <= before


@on_asyncio
async def test_a_cancellation_in_the_same_moment_wins(anyio_backend):
    """The caller was cancelled by another in the turn in which a hedge won; it must see that."""
    clock, upstream = StepClock(), Answering()
    task = asyncio.ensure_future(Hedge(1.0, clock=clock).acall(upstream.ask))
    await settle()
    await clock.let_pass(1.0)
    come, answer = upstream.answers[1]
    answer.append("second")
    come.set()
    await asyncio.sleep(0)  # the hedge has its answer and strikes in this turn
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert upstream.running == 0


@on_asyncio
async def test_a_scope_around_that_is_cancelled_in_the_same_moment_ends_as_cancelled(anyio_backend):
    """Its own cancellation comes out, so that it knows it."""
    clock, upstream = StepClock(), Answering()
    scope, ended = anyio.CancelScope(), list[str]()

    async def call() -> None:
        with scope:
            await Hedge(1.0, clock=clock).acall(upstream.ask)
            ended.append("went on")
            await asyncio.sleep(0)
            ended.append("and on")

    task = asyncio.ensure_future(call())
    await settle()
    await clock.let_pass(1.0)
    come, answer = upstream.answers[1]
    answer.append("second")
    come.set()
    await asyncio.sleep(0)
    scope.cancel()
    await task
    assert scope.cancelled_caught
    assert "and on" not in ended
    assert task.cancelling() == 0


@on_asyncio
async def test_winning_leaves_no_cancellation_over(anyio_backend):
    """The caller's task is as it was, also where its attempt made something else of the cancellation."""

    async def stubborn() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                raise ConnectionError("broken off") from None
        return f"from attempt {calls}"

    for _ in range(2):
        calls, clock = 0, StepClock()
        async with anyio.create_task_group() as tasks:
            call = Call(lambda clock=clock: Hedge(1.0, clock=clock).acall(stubborn))
            tasks.start_soon(call)
            await settle()
            await clock.let_pass(1.0)
        assert call.ended == ["from attempt 2"]
    task = asyncio.current_task()
    assert task is not None
    calls = 0
    assert await Hedge(0.0).acall(stubborn) == "from attempt 2"
    assert task.cancelling() == 0
    await asyncio.sleep(0)


@on_asyncio
@pytest.mark.parametrize("inner", ["limit", "asyncio", "scope"])
async def test_a_limit_inside_of_the_loser_is_not_taken_for_its_interruption(anyio_backend, inner):
    """A timeout within the first attempt that had not struck says nothing when a hedge has won."""
    clock, upstream = StepClock(), Answering()

    async def ask() -> str:
        if inner == "limit":
            async with time_limit(60):
                return await upstream.ask()
        if inner == "asyncio":
            async with asyncio.timeout(60):
                return await upstream.ask()
        with anyio.fail_after(60):
            return await upstream.ask()

    async with anyio.create_task_group() as tasks:
        call = Call(lambda: Hedge(1.0, clock=clock).acall(ask))
        tasks.start_soon(call)
        await settle()
        await clock.let_pass(1.0)
        await upstream.answer(1, "second")
        assert call.ended == ["second"]


@on_asyncio
@pytest.mark.parametrize("cancelled", [0, 1])
async def test_what_others_cancelled_is_a_failure_of_that_attempt_only(anyio_backend, cancelled):
    """The other attempt goes on and answers; nobody cancelled the caller."""
    clock, upstream = StepClock(), Answering()
    shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    calls = 0

    async def ask() -> Any:
        nonlocal calls
        calls += 1
        return await (shared if calls == cancelled + 1 else upstream.ask())

    async with anyio.create_task_group() as tasks:
        call = Call(lambda: Hedge(1.0, clock=clock).acall(ask))
        tasks.start_soon(call)
        await settle()
        await clock.let_pass(1.0)
        shared.cancel()
        await settle()
        assert (call.ended, upstream.cancelled) == ([], [])
        await upstream.answer(0, "answer")
        assert call.ended == ["answer"]


@on_asyncio
@pytest.mark.parametrize("first_error", [None, ConnectionError("reset")], ids=["all cancelled", "one refused"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_cancellation_comes_out_where_nothing_else_does(anyio_backend, first_error, order):
    """An error says more, whichever came first; without one it is what the call would raise without a hedge."""
    clock = StepClock()
    attempts = [asyncio.get_running_loop().create_future() for _ in range(2)]
    calls = iter(attempts)

    async def ask() -> Any:
        return await next(calls)

    task = asyncio.ensure_future(Hedge(1.0, clock=clock).acall(ask))
    await settle()
    await clock.let_pass(1.0)
    for number in order:
        if number == 0 and first_error is not None:
            attempts[0].set_exception(first_error)
        else:
            attempts[number].cancel()
        await settle()
    if first_error is None:
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with pytest.raises(ConnectionError) as raised:
            await task
        assert raised.value.__notes__[-1] == "another attempt of this hedged call failed too: CancelledError"


class Interrupt(BaseException):
    """What stops a program."""


@on_asyncio
@pytest.mark.parametrize("where", [0, 1])
async def test_an_interruption_of_any_attempt_comes_out_as_it_is(anyio_backend, where):
    """From the hedge too, and nothing else is left running."""
    clock, upstream = StepClock(), Answering()
    task = asyncio.ensure_future(Hedge(1.0, clock=clock).acall(upstream.ask))
    await settle()
    await clock.let_pass(1.0)
    await upstream.answer(where, Interrupt())
    with pytest.raises(Interrupt):
        await task
    assert (upstream.running, clock.sleepers) == (0, [])


@on_asyncio
async def test_a_clock_that_fails_ends_the_call(anyio_backend):
    """Its error comes out; the attempt does not go on without anybody."""
    upstream = Answering()

    class Broken(StepClock):
        async def asleep(self, seconds: float, /) -> None:
            raise LookupError("no time")

    with pytest.raises(LookupError, match="no time"):
        await Hedge(1.0, clock=Broken()).acall(upstream.ask)
    assert upstream.running == 0


@on_asyncio
@pytest.mark.parametrize("fails", [False, True])
async def test_nothing_keeps_the_arguments_of_a_call_that_has_ended(anyio_backend, fails):
    """No circle of frames and tasks waits for the collector, whoever won."""

    class Argument:
        pass

    async def ask(argument: Argument, wait: bool) -> str:
        if wait and not asked:
            asked.append(argument.__class__.__name__)
            await anyio.sleep_forever()
        if fails:
            raise ConnectionError("refused")
        return "answer"

    seen = []
    gc.collect()
    gc.disable()
    try:
        for wait in (False, not fails):
            asked: list[str] = []
            argument = Argument()
            seen.append(weakref.ref(argument))
            with contextlib.suppress(ConnectionError):
                assert await Hedge(0.001).acall(ask, argument, wait) == "answer"
            del argument
            await asyncio.sleep(0)
        assert [reference() for reference in seen] == [None, None]
    finally:
        gc.enable()


@on_asyncio
async def test_a_call_that_is_thrown_away_leaves_no_attempt(anyio_backend):
    """Closing the coroutine cannot wait, and cancels all the same."""
    clock, upstream = StepClock(), Answering()
    held: list[Any] = []

    async def call() -> None:
        held.append(Hedge(1.0, clock=clock).acall(upstream.ask))
        held[0].send(None)
        held.append("begun")

    task = asyncio.ensure_future(call())
    await settle()
    assert held[1] == "begun"
    held[0].close()
    await settle()
    assert clock.sleepers == []
    await task


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})])
@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="tasks begin late before Python 3.12")
async def test_eager_tasks_change_nothing(anyio_backend):
    """A hedge may then answer before the first attempt has begun."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # pyright: ignore[reportAttributeAccessIssue]

    class Instant(StepClock):
        async def asleep(self, seconds: float, /) -> None:
            return

    async def answer() -> str:
        return "answer"

    try:
        assert await Hedge(1.0, clock=Instant()).acall(answer) == "answer"
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
    finally:
        loop.set_task_factory(None)


@on_asyncio
async def test_a_timeout_around_bounds_what_attempts_clean_up_together(anyio_backend):
    """All end, and it is told as what it is."""
    upstream = Connections(None)
    with pytest.raises(OperationTimeoutError):
        await Pipeline("x", Timeout(0.02), Hedge(0.001, max_hedges=2)).acall(upstream.ask)
    assert (upstream.held, upstream.log.count("gave back")) == (0, upstream.calls)
