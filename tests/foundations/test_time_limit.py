"""`time_limit` and `Deadline`: what is interrupted, and who can see when."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time

import anyio
import anyio.lowlevel
import pytest
import trio.testing

from creatormate_resilience.clock import SystemClock
from creatormate_resilience.deadline import Deadline, current_deadline, deadline_scope, remaining_time
from creatormate_resilience.exceptions import OperationTimeoutError
from creatormate_resilience.testing import FakeClock
from creatormate_resilience.time_limit import TimeLimit, time_limit

pytestmark = pytest.mark.anyio


async def test_a_block_that_takes_longer_is_interrupted():
    """The error names what it was and how long it could take."""
    with pytest.raises(OperationTimeoutError, match=r"the report took longer than 0\.01 s"):
        async with time_limit(0.01, what="the report"):
            await anyio.sleep(30)


async def test_a_block_in_time_is_left_alone():
    """It keeps its result and its exceptions, also a timeout of its own."""
    async with time_limit(30):
        await anyio.sleep(0)
    with pytest.raises(KeyError):
        async with time_limit(30):
            raise KeyError("x")
    with pytest.raises(TimeoutError, match="of its own") as caught:
        async with time_limit(30):
            raise TimeoutError("of its own")
    assert type(caught.value) is TimeoutError


async def test_a_cancellation_from_outside_stays_a_cancellation():
    """Only the limit's own strike becomes a timeout."""
    with anyio.move_on_after(0.01) as scope:
        async with time_limit(30):
            await anyio.sleep(30)
    assert scope.cancelled_caught


async def test_the_inner_of_two_limits_strikes_first():
    """The outer block can handle the inner's timeout and go on."""
    async with time_limit(30, what="outer"):
        with pytest.raises(OperationTimeoutError, match="inner"):
            async with time_limit(0.01, what="inner"):
                await anyio.sleep(30)
        await anyio.sleep(0)


async def test_the_deadline_is_visible_inside_and_gone_outside():
    """Inner policies ask how much time is left."""
    assert current_deadline() is remaining_time() is None
    async with time_limit(30) as deadline:
        assert current_deadline() is deadline
        assert 29 < (remaining_time() or 0) <= 30
        async with time_limit(60) as inner:
            assert inner is deadline
        async with time_limit(5) as inner:
            assert current_deadline() is inner is not deadline
        assert current_deadline() is deadline
    assert current_deadline() is None


@pytest.mark.parametrize("seconds", [0.001, 0.0035, 0.0101, 0.02])
async def test_when_the_limit_strikes_its_deadline_has_expired(seconds):
    """Whatever the resolution of the loop's timers: a breaker asks this to tell its own timeout from a cancellation."""
    for _ in range(15):
        seen: list[bool] = []
        with pytest.raises(OperationTimeoutError):
            async with time_limit(seconds):
                try:
                    await anyio.sleep(30)
                finally:
                    deadline = current_deadline()
                    seen.append(deadline is not None and deadline.expired)
        assert seen == [True]


async def test_an_outer_limit_that_strikes_expires_the_deadline_in_force():
    """The inner block, which has more time, sees the outer's deadline and that it has come."""
    seen: list[bool] = []
    with pytest.raises(OperationTimeoutError, match="outer"):
        async with time_limit(0.01, what="outer"), time_limit(30, what="inner"):
            try:
                await anyio.sleep(30)
            finally:
                deadline = current_deadline()
                seen.append(deadline is not None and deadline.expired)
    assert seen == [True]


async def test_a_cancelled_block_does_not_expire_its_deadline():
    """A plain cancellation says nothing about time."""
    seen: list[bool] = []
    with anyio.CancelScope() as scope:
        async with time_limit(30):
            scope.cancel()
            try:
                await anyio.sleep(30)
            finally:
                deadline = current_deadline()
                seen.append(deadline is not None and deadline.expired)
    assert seen == [False]


@pytest.mark.parametrize("anyio_backend", [("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})])
async def test_on_trio_the_loops_own_clock_decides(anyio_backend):
    """An hour on trio's mock clock passes at once, and the deadline knows that it has."""
    expired: list[bool] = []
    with pytest.raises(OperationTimeoutError):
        async with time_limit(3600) as deadline:
            try:
                await trio.sleep(7200)
            finally:
                expired.append(deadline.expired)
    assert expired == [True]


def test_a_deadline_stands_on_its_clock():
    """It comes when its clock says so, at the very moment."""
    clock = FakeClock(100.0)
    with deadline_scope(5.0, clock=clock) as deadline:
        assert deadline == Deadline(105.0, clock)
        clock.advance(4.999)
        assert not deadline.expired
        clock.advance(0.001)
        assert deadline.expired
        assert remaining_time() == pytest.approx(0)
        clock.advance(1)
        assert deadline.remaining() == pytest.approx(-1)


def test_an_outer_deadline_that_comes_sooner_stays_in_force():
    """A block cannot give itself more time than its caller has, whoever set which."""
    clock = FakeClock()
    with deadline_scope(5.0, clock=clock, received=True) as outer:
        with deadline_scope(10.0, clock=clock) as inner:
            assert inner is outer
            assert inner.received
        with deadline_scope(3.0, clock=clock) as inner:
            assert not inner.received
            assert current_deadline() is inner
        assert current_deadline() is outer
    assert current_deadline() is None


def test_a_block_that_raises_gives_the_outer_deadline_back():
    """The variable is reset on every way out."""
    with pytest.raises(KeyError), deadline_scope(5.0):
        raise KeyError("x")
    assert current_deadline() is None


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), "5", None, True])
def test_a_deadline_wants_a_finite_number(seconds):
    """The error names the parameter."""
    with pytest.raises(ValueError, match=r"seconds is .*accepted are finite seconds"), deadline_scope(seconds):
        pass


@pytest.mark.parametrize("seconds", [-5.0, 0.0])
async def test_no_time_at_all_interrupts_at_the_first_wait(seconds):
    """A deadline that has passed may come in from a caller; what needs no waiting is still done."""
    done: list[int] = []
    with pytest.raises(OperationTimeoutError):
        async with time_limit(seconds):
            done.append(1)
            await anyio.sleep(30)
    assert done == [1]


async def test_the_system_clock_sleeps_on_every_loop():
    """`asleep` lets others run, `monotonic` never goes back."""
    clock = SystemClock()
    before = clock.monotonic()
    turns: list[str] = []

    async def other() -> None:
        turns.append("other")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await clock.asleep(0.01)
        turns.append("slept")
    assert turns == ["other", "slept"]
    assert clock.monotonic() - before >= 0.009
    clock.sleep(0)
    assert repr(clock) == "SystemClock()"


async def test_the_wall_clock_has_no_say(monkeypatch):
    """A day back or forth changes no duration."""
    with deadline_scope(5.0) as deadline:
        monkeypatch.setattr(time, "time", lambda: 0.0)
        assert not deadline.expired
        monkeypatch.undo()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_timeout_inside_a_task_group_does_not_swallow_its_cancellation(anyio_backend):
    """`asyncio.timeout` and a task's own cancellation stay apart: the task ends cancelled."""

    async def work() -> None:
        async with time_limit(30):
            await asyncio.sleep(30)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})])
async def test_a_cancelled_task_can_bound_what_it_cleans_up(anyio_backend):
    """The cancellation that has come already is told from the limit's own."""
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            try:
                async with time_limit(0.01, what="cleaning up"):
                    await asyncio.sleep(30)
            except OperationTimeoutError as error:
                ended.append(str(error))

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cleaning up took longer than 0.01 s"]
    assert task.cancelling() == 1


@pytest.mark.parametrize("anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})])
async def test_a_cancellation_in_the_same_moment_wins(anyio_backend):
    """Whoever cancelled the task must see it end as cancelled."""
    began = asyncio.Event()

    async def work() -> None:
        async with time_limit(0.01):
            began.set()
            await asyncio.sleep(30)

    task = asyncio.ensure_future(work())
    await began.wait()
    time.sleep(0.02)  # the loop does not run, so its timer is due together with what follows
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})])
async def test_a_block_that_swallows_its_interruption_goes_on(anyio_backend):
    """As under `asyncio.timeout`: it has ended by itself, later than it should, and no cancellation is left over."""
    async with time_limit(0.001):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert current_deadline() is None


async def test_what_becomes_of_an_interruption_inside_does_not_hide_it():
    """Libraries make a TimeoutError of a cancellation; a KeyError that comes of it is told as it is."""
    with pytest.raises(OperationTimeoutError, match="the work took"):
        async with time_limit(0.001, what="the work"):
            try:
                await anyio.sleep(30)
            except anyio.get_cancelled_exc_class() as error:
                if asyncio._get_running_loop() is None:
                    raise
                raise TimeoutError from error
    with pytest.raises(KeyError):
        async with time_limit(0.001):
            try:
                await anyio.sleep(30)
            except BaseException as error:
                raise KeyError("x") from error
    with anyio.CancelScope():
        await anyio.sleep(0)  # no cancellation is left over


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_limit_wants_a_task(anyio_backend):
    """In a callback of the loop there is nothing to cancel, and no deadline is left behind."""
    seen: list[object] = []

    def callback() -> None:
        try:
            with time_limit(1):
                pass
        except RuntimeError as error:
            seen.append((str(error), current_deadline()))

    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0)
    assert seen == [("a time limit wants to be inside of a task", None)]


async def test_limits_leave_nothing_behind(monkeypatch):
    """No deadline, and no cycle that only the garbage collector could free, whether they struck or not."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            async with time_limit(3600):
                pass
        limit = time_limit(0.001)
        with contextlib.suppress(OperationTimeoutError):
            async with limit:
                await anyio.sleep(30)
        del limit
        await anyio.lowlevel.checkpoint()
        left = [each for each in gc.get_objects() if type(each) in {TimeLimit, Deadline}]
        assert len(left) <= 1  # of the one that struck, while its error's traceback lives
    finally:
        gc.enable()
    assert current_deadline() is None


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), "5", None, True])
async def test_a_limit_wants_a_finite_number(seconds):
    """The error names the parameter."""
    with pytest.raises(ValueError, match=r"seconds is .*accepted are finite seconds"):
        time_limit(seconds)


def test_a_scope_is_for_one_block():
    """A second use is an error that says so."""
    scope = deadline_scope(5)
    with scope, pytest.raises(RuntimeError, match="a DeadlineScope is for one block; make another"), scope:
        pass
    assert current_deadline() is None
