"""`Bulkhead`: never more than allowed at once, first come first served, and no place is ever lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import threading
import time

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio.testing

from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import ConcurrencyLimitError, ConfigurationError, OperationTimeoutError
from creatormate_resilience.policies import Bulkhead, BulkheadFull, BulkheadStatistics, Timeout

pytestmark = pytest.mark.anyio


class Gauge:
    """How many are inside, and how many were at most."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = self.most = self.total = 0

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            self.total += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1


def state(bulkhead: Bulkhead) -> tuple[int, int]:
    """Running and waiting."""
    seen = bulkhead.statistics()
    return seen.running, seen.waiting


async def test_tasks_never_exceed_the_bound():
    """Forty tasks, three places; all get their turn."""
    bulkhead, gauge = Bulkhead(3, max_queue=100), Gauge()

    async def work() -> None:
        with gauge:
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as tasks:
        for _ in range(40):
            tasks.start_soon(bulkhead.acall, work)
    assert (gauge.most, gauge.total) == (3, 40)
    assert state(bulkhead) == (0, 0)


async def test_threads_never_exceed_the_bound():
    """Sixteen threads, three places; all get their turn."""
    bulkhead, gauge = Bulkhead(3, max_queue=100), Gauge()

    def work() -> None:
        with gauge:
            time.sleep(0.001)

    threads = [threading.Thread(target=lambda: [bulkhead.call(work) for _ in range(20)]) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (gauge.most, gauge.total) == (3, 320)
    assert state(bulkhead) == (0, 0)


async def test_who_finds_it_full_is_turned_away_at_once():
    """Without a queue, and behind a queue that is full; a refusal of ours that may be retried later."""
    bulkhead = Bulkhead(1, max_queue=1, name="openai")
    with bulkhead.guard():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bulkhead.acall, anyio.sleep, 0)
            await anyio.wait_all_tasks_blocked()
            assert state(bulkhead) == (1, 1)
            with pytest.raises(ConcurrencyLimitError, match=r"openai.* is full") as caught:
                await bulkhead.acall(anyio.sleep, 0)
            assert caught.value.retryable
            with pytest.raises(ConcurrencyLimitError):
                bulkhead.call(int)
            tasks.cancel_scope.cancel()
    assert bulkhead.statistics() == BulkheadStatistics(0, 0, 2, 1, 1)


async def test_places_are_given_first_come_first_served():
    """Also to whom arrives while a place is handed over."""
    bulkhead, order = Bulkhead(1, max_queue=100), []

    async def work(number: int) -> None:
        order.append(number)
        await anyio.sleep(0)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(bulkhead.acall, work, number)
            await anyio.sleep(0)  # each is in the queue before the next comes
    assert order == list(range(20))


async def test_nobody_waits_longer_than_the_longest_wait():
    """Then the place in the queue is free again."""
    bulkhead = Bulkhead(1, max_queue=1, max_wait=0.01)
    with bulkhead.guard():
        for _ in range(3):
            with pytest.raises(ConcurrencyLimitError, match=r"no place within 0\.01 s"):
                await bulkhead.acall(anyio.sleep, 0)
            with pytest.raises(ConcurrencyLimitError, match=r"no place within 0\.01 s"):
                await anyio.to_thread.run_sync(bulkhead.call, int)
        assert state(bulkhead) == (1, 0)
    assert bulkhead.statistics().rejected == 6
    assert bulkhead.call(int) == 0


@pytest.mark.parametrize("error", [KeyError, None])
async def test_a_place_comes_back_whatever_happens(error):
    """Errors and cancellations inside leave nothing behind, in any form."""
    bulkhead = Bulkhead(1)

    @bulkhead
    async def work() -> None:
        if error:
            raise error
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01):
        try:
            await work()
        except KeyError:
            assert error
    if error:
        with pytest.raises(error), bulkhead.guard():
            raise error
    assert state(bulkhead) == (0, 0)
    assert await bulkhead(anyio.sleep)(0) is None


async def test_a_waiter_that_is_cancelled_leaves_the_queue():
    """Those behind it move up."""
    bulkhead = Bulkhead(1, max_queue=5)
    done: list[str] = []

    async def work(name: str) -> None:
        done.append(name)

    async with anyio.create_task_group() as tasks:
        with bulkhead.guard():
            scope = anyio.CancelScope()

            async def cancelled() -> None:
                with scope:
                    await bulkhead.acall(work, "cancelled")

            tasks.start_soon(cancelled)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(bulkhead.acall, work, "next")
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert state(bulkhead) == (1, 1)
    assert done == ["next"]
    assert state(bulkhead) == (0, 0)


async def test_a_waiter_cancelled_as_it_gets_its_place_hands_it_on():
    """The place was given and the cancellation came in the same step: nothing leaks, and the next is served."""
    bulkhead = Bulkhead(1, max_queue=5)
    done: list[str] = []
    scopes = [anyio.CancelScope() for _ in range(3)]

    async def waiter(scope: anyio.CancelScope, name: str) -> None:
        with scope:
            await bulkhead.acall(anyio.sleep, 0)
            done.append(name)

    async with anyio.create_task_group() as tasks:
        guard = bulkhead.guard()
        guard.__enter__()
        for number, scope in enumerate(scopes):
            tasks.start_soon(waiter, scope, str(number))
            await anyio.wait_all_tasks_blocked()
        guard.__exit__(None, None, None)
        scopes[0].cancel()
        scopes[1].cancel()
    assert state(bulkhead) == (0, 0)
    assert done[-1:] == ["2"]


@pytest.mark.parametrize("rounds", range(30))
async def test_cancellations_at_random_moments_lose_no_place(rounds):
    """Many waiters, cancelled here and there while places move: in the end all are free."""
    chance = random.Random(rounds)
    bulkhead = Bulkhead(2, max_queue=100, max_wait=None if rounds % 2 else 0.002)

    async def work() -> None:
        for _ in range(chance.randrange(3)):
            await anyio.sleep(0)

    async def caller() -> None:
        with anyio.move_on_after(chance.random() * 0.003):
            with contextlib.suppress(ConcurrencyLimitError):
                await bulkhead.acall(work)

    async with anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(caller)
    assert state(bulkhead) == (0, 0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_loops_in_several_threads_share_one(anyio_backend):
    """Two event loops of different kinds and two plain threads; waiters of one are woken by another."""
    bulkhead, gauge = Bulkhead(2, max_queue=1000), Gauge()

    async def work() -> None:
        with gauge:
            await anyio.sleep(0.001)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(bulkhead.acall, work)

    def plain() -> None:
        for _ in range(50):
            with bulkhead.guard(), gauge:
                time.sleep(0.0005)

    threads = [
        threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": name}) for name in ("asyncio", "trio")
    ]
    threads += [threading.Thread(target=plain) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert (gauge.most, gauge.total) == (2, 200)
    assert state(bulkhead) == (0, 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of anyio, in a coroutine without loop
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_a_waiter_whose_loop_is_gone_does_not_keep_the_place(anyio_backend):
    """The loop was closed with the waiter in it; the next one is served."""
    bulkhead = Bulkhead(1, max_queue=5)
    guard = bulkhead.guard()
    guard.__enter__()
    loop = asyncio.new_event_loop()
    task = loop.create_task(bulkhead.acall(anyio.sleep, 0))
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert state(bulkhead) == (1, 1)
    task._log_destroy_pending = False
    loop.close()
    guard.__exit__(None, None, None)
    assert state(bulkhead) == (0, 0)
    with contextlib.suppress(RuntimeError):  # anyio's cancel scope misses its loop
        task.get_coro().close()
    assert state(bulkhead) == (0, 0)
    assert bulkhead.call(int) == 0


class AlarmError(BaseException):
    """What the test's signal handler raises, as Ctrl-C would."""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("admitted", [False, True])
def test_an_interrupted_wait_of_a_thread_loses_no_place(anyio_backend, admitted, monkeypatch):
    """Ctrl-C while waiting: it goes through as it is, and the place goes to the next."""
    bulkhead = Bulkhead(1, max_queue=1)
    guard = bulkhead.guard()
    guard.__enter__()

    def interrupt(*_: object) -> None:
        if admitted:
            guard.__exit__(None, None, None)
        raise AlarmError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(AlarmError):
            bulkhead.call(int)
    finally:
        signal.signal(signal.SIGALRM, before)
    if not admitted:
        assert state(bulkhead) == (1, 0)
        guard.__exit__(None, None, None)
    assert state(bulkhead) == (0, 0)
    assert bulkhead.statistics().rejected == 0


def test_an_awaitable_from_a_sync_call_is_refused():
    """The place would be free again before the work began."""

    async def work() -> None:
        raise AssertionError("never runs")

    with pytest.raises(TypeError, match="awaitable to a sync call"):
        Bulkhead(1).call(work)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_concurrent": 0}, "max_concurrent is 0; accepted are whole numbers from 1"),
        ({"max_concurrent": 1.5}, r"max_concurrent is 1\.5"),
        ({"max_concurrent": True}, "max_concurrent is True"),
        ({"max_concurrent": 1, "max_queue": -1}, "max_queue is -1; accepted are whole numbers from 0"),
        ({"max_concurrent": 1, "max_wait": -1}, "max_wait is -1; accepted are finite seconds from 0"),
        ({"max_concurrent": 1, "max_wait": float("nan")}, "max_wait is nan"),
        ({"max_concurrent": 1, "max_wait": "5"}, "max_wait is '5'"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, says):
    """Where they are given, with the parameter's name and the range."""
    with pytest.raises(ConfigurationError, match=says):
        Bulkhead(**options)


def test_the_repr_tells_an_operator_the_load():
    """Name, running, bound and waiting."""
    assert repr(Bulkhead(5, name="openai")) == "<Bulkhead 'openai' 0/5 running, 0 waiting>"


async def test_refusals_are_told():
    """Those who found it full, and those who waited in vain."""
    seen: list[Event] = []
    bulkhead = Bulkhead(1, max_queue=1, max_wait=0.01, name="reports", listeners=[seen.append])
    with bulkhead.guard():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refused, bulkhead)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            await refused(bulkhead)
    assert seen == [BulkheadFull("reports", waited=False), BulkheadFull("reports", waited=True)]


async def refused(bulkhead: Bulkhead) -> None:
    """A call that finds no place."""
    with pytest.raises(ConcurrencyLimitError):
        await bulkhead.acall(anyio.sleep, 0)


async def test_nobody_waits_past_the_deadline():
    """Where nothing else interrupts the wait: in a thread, and under a deadline that only tells."""
    bulkhead = Bulkhead(1, max_queue=5)
    with bulkhead.guard(), deadline_scope(0.01):
        with pytest.raises(ConcurrencyLimitError, match="gave no place within the deadline"):
            await anyio.to_thread.run_sync(bulkhead.call, int)
        with pytest.raises(ConcurrencyLimitError, match="gave no place within the deadline"):
            await bulkhead.acall(anyio.sleep, 0)
    assert state(bulkhead) == (0, 0)


@pytest.mark.parametrize("anyio_backend", [("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})])
async def test_a_timeout_around_a_wait_is_told_as_a_timeout(anyio_backend):
    """What strikes is what is told, although the deadline is the same; the mock clock lets both strike exactly."""
    bulkhead = Bulkhead(1, max_queue=5)
    with bulkhead.guard(), pytest.raises(OperationTimeoutError):
        await Timeout(60).acall(bulkhead.acall, anyio.sleep, 0)
    assert bulkhead.statistics().rejected == 0


async def test_a_decorated_function_waits_and_is_refused_like_a_call():
    """The short way of decorated functions leads through the same queue."""
    bulkhead, gauge = Bulkhead(2, max_queue=3), Gauge()

    @bulkhead
    async def work() -> str:
        with gauge:
            await anyio.sleep(0.001)
            return "done"

    results: list[str] = []

    async def caller() -> None:
        try:
            results.append(await work())
        except ConcurrencyLimitError:
            results.append("refused")

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(caller)
    assert sorted(results) == ["done"] * 5 + ["refused"] * 3
    assert gauge.most == 2
    assert state(bulkhead) == (0, 0)


async def test_one_guard_serves_both_kinds_of_block():
    """With and async with; the place is given back at the end of either, also after an error."""
    reports = Bulkhead(1, name="reports")
    with reports.guard():
        assert reports.statistics().running == 1
    async with reports.guard():
        assert reports.statistics().running == 1
    with pytest.raises(ZeroDivisionError):
        async with reports.guard():
            raise ZeroDivisionError
    assert reports.statistics().running == 0


def test_a_wait_that_nobody_may_do_is_refused():
    """A longest wait says nothing where there is no queue."""
    with pytest.raises(ConfigurationError, match=r"max_wait is 1.0 and max_queue is 0"):
        Bulkhead(1, max_wait=1.0)


def test_a_place_that_nobody_has_taken_is_not_given_back():
    """It is an error, and there is not one place more than before."""
    bulkhead = Bulkhead(1)
    bulkhead.enter()
    bulkhead.leave()
    with pytest.raises(RuntimeError, match="is left more often than entered"):
        bulkhead.leave()
    assert state(bulkhead) == (0, 0)
    bulkhead.enter()
    with pytest.raises(ConcurrencyLimitError):
        bulkhead.enter()
