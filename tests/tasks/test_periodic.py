"""Tasks that are submitted again and again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tasks.fake_time import World, world

from creatormate_resilience.exceptions import ConfigurationError, ShuttingDownError
from creatormate_resilience.tasks import PeriodicTask, TaskExecutor, every
from creatormate_resilience.tasks.croniter import cron


def repeat(there: World, name: str, schedule: Any, **options: Any) -> PeriodicTask:
    return there.loop.do(there.executor.options(name=name, **options).repeat(schedule, there.work, name))


def test_an_interval_counts_from_its_beginning() -> None:
    """The first run comes after one interval; each starts in step, however long the one before took."""
    with world() as there:
        periodic = repeat(there, "refresh", every(10.0))
        began = there.loop.time()
        for _ in range(3):
            there.loop.pass_time(6.0)
            there.let_end("refresh")
            there.gates.clear()
            there.loop.pass_time(4.0)
        assert [at - began for at, _ in there.starts] == [10.0, 20.0, 30.0]
        assert (periodic.submitted, periodic.left_out) == (3, 0)


def test_a_run_that_has_not_ended_leaves_the_next_out() -> None:
    """Never two at once; and it goes on when the run has ended."""
    with world() as there:
        periodic = repeat(there, "slow", every(10.0))
        for _ in range(4):
            there.loop.pass_time(10.0)
        assert (there.running, periodic.submitted, periodic.left_out) == (["slow"], 1, 3)
        there.let_end("slow")
        there.gates.clear()
        there.loop.pass_time(10.0)
        assert (there.running, periodic.submitted) == (["slow"], 2)


def test_what_was_missed_is_not_made_up_for() -> None:
    """After the loop stood still, or the machine slept, there is one run, and the next is in step again."""
    with world() as there:
        repeat(there, "late", every(10.0))
        there.gates["late"] = asyncio.Event()
        there.gates["late"].set()
        there.loop.pass_time(57.0)
        assert len(there.starts) == 1
        there.loop.pass_time(2.9)
        assert len(there.starts) == 1
        there.loop.pass_time(0.2)
        assert len(there.starts) == 2


def test_a_full_queue_leaves_a_run_out_and_the_next_comes() -> None:
    """What cannot be submitted is counted and logged; the periodic task lives."""
    with world(max_concurrent=1, max_queue=1) as there:
        there.submit("a")
        there.submit("b")
        periodic = repeat(there, "refresh", every(10.0))
        there.loop.pass_time(10.0)
        assert (periodic.submitted, periodic.left_out) == (0, 1)
        there.let_end("a", "b")
        there.loop.pass_time(10.0)
        assert (periodic.submitted, there.running) == (1, ["refresh"])


def test_cancelling_and_closing_end_it() -> None:
    """Cancelled, it submits no more, and what runs goes on; its executor's end cancels it."""
    with world() as there:
        one, other = repeat(there, "one", every(10.0)), repeat(there, "other", every(10.0))
        there.loop.pass_time(10.0)
        one.cancel()
        there.let_end("other")
        there.gates.clear()
        there.loop.pass_time(10.0)
        assert (one.cancelled, other.cancelled, sorted(there.running)) == (True, False, ["one", "other"])
        there.loop.do(there.executor.aclose())
        there.loop.settle()
        assert other.cancelled
        with pytest.raises(ShuttingDownError):
            repeat(there, "third", every(10.0))


def test_a_name_is_used_once() -> None:
    """Two of one name would leave each other out; a cancelled one frees its name."""
    with world() as there:
        first = repeat(there, "same", every(10.0))
        with pytest.raises(ConfigurationError, match="periodic task 'same' already"):
            repeat(there, "same", every(20.0))
        first.cancel()
        there.loop.settle()
        assert not repeat(there, "same", every(20.0)).cancelled


@pytest.mark.parametrize("wrong", [10, "10", None, every])
def test_what_is_no_schedule_is_refused(wrong: Any) -> None:
    """The error names what is accepted."""
    with world() as there, pytest.raises(TypeError, match=r"schedule is a .*every\(seconds\) and cron"):
        repeat(there, "x", wrong)


@pytest.mark.parametrize(("seconds", "jitter"), [(0, 0), (-1, 0), (float("nan"), 0), (1, -1), (1, float("inf"))])
def test_an_interval_is_checked_where_it_is_made(seconds: float, jitter: float) -> None:
    """Finite seconds, more than 0; a jitter of 0 or more."""
    with pytest.raises(ValueError, match=r"(seconds|jitter) is"):
        every(seconds, jitter)


@given(st.integers(1, 100), st.lists(st.integers(1, 300), max_size=8))
def test_an_interval_comes_once_for_each_that_was_waited_for(seconds: int, steps: list[int]) -> None:
    """Each step of time brings one run at most, and one where at least an interval has passed since the last."""
    with world() as there:
        there.gates["fast"] = asyncio.Event()
        there.gates["fast"].set()
        repeat(there, "fast", every(seconds))
        begun, last = there.loop.time(), there.loop.time()
        for step in steps:
            before = len(there.starts)
            there.loop.pass_time(step)
            now = there.loop.time()
            runs = len(there.starts) - before
            due = int((now - begun) / seconds + 1e-9) - int((last - begun) / seconds - 1e-9)
            assert runs <= 1
            assert runs == 1 or due <= 1
            last = now


class Twice:
    """Due in a moment, and then an hour later."""

    def __init__(self) -> None:
        self.asked: list[datetime] = []

    def next(self, after: datetime) -> datetime:
        self.asked.append(after)
        return after + timedelta(milliseconds=20 if len(self.asked) == 1 else 3_600_000)


async def beat(seen: list[int]) -> None:
    seen.append(1)


@pytest.mark.anyio
async def test_a_schedule_is_asked_for_the_moment_after_the_last() -> None:
    """It runs when the moment has come, and is asked again from there; the handle is the last run's."""
    schedule, seen = Twice(), list[int]()
    async with TaskExecutor() as executor:
        periodic = await executor.repeat(schedule, beat, seen)
        with anyio.fail_after(10):
            while not seen or len(schedule.asked) < 2:
                await asyncio.sleep(0.005)
        assert periodic.last is not None
        await periodic.last
        assert schedule.asked[1] >= schedule.asked[0] + timedelta(milliseconds=20)
        assert periodic.next_at is not None
        assert periodic.next_at > datetime.now(UTC) + timedelta(minutes=59)
        assert "'beat' next at 2" in repr(periodic)


def test_cron_knows_time_zones_and_the_change_of_time() -> None:
    """A moment that is left out comes at the change; one that is repeated comes twice."""
    nightly = cron("30 2 * * *", timezone="Europe/Vienna")
    spring = nightly.next(datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert spring.astimezone(UTC) == datetime(2026, 3, 29, 1, tzinfo=UTC)
    first = nightly.next(datetime(2026, 10, 24, 12, tzinfo=UTC))
    again = nightly.next(first)
    assert [moment.astimezone(UTC).hour for moment in (first, again)] == [0, 1]
    assert cron("*/5 * * * *").next(datetime(2026, 1, 1, 0, 2, tzinfo=UTC)) == datetime(2026, 1, 1, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize("wrong", ["", "* * *", "61 * * * *", "* * 31 2 *", "a b c d e", None, 5])
def test_a_wrong_cron_expression_is_refused_where_it_is_made(wrong: Any) -> None:
    """Also one that never comes."""
    with pytest.raises(ValueError, match="which is no cron expression"):
        cron(wrong)


@pytest.mark.parametrize("wrong", ["Mars/Olympus", "", "../etc/passwd", 5])
def test_a_wrong_time_zone_is_refused(wrong: Any) -> None:
    """The error shows what one looks like."""
    with pytest.raises(ValueError, match="Europe/Vienna"):
        cron("* * * * *", timezone=wrong)
