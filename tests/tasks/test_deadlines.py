"""Deadlines: none early, none forgotten, none of what was taken out, and no timers left behind."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.fake_time import FakeTimeLoop

from creatormate_resilience.tasks._deadlines import Deadlines, loop_resolution

EXAMPLES = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 100

steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from([0.5, 1.0, 3.0, 3.0000001])),
        st.tuples(st.just("remove"), st.integers(0, 50)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 0.5, 0.9, 1.0, 4.0])),
    ),
    max_size=50,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(steps)
def test_each_deadline_strikes_once_and_in_time(steps: list[tuple]) -> None:
    """Not before it (beyond the clock's tick), at the first turn of the loop after it, and never after its removal."""
    loop = FakeTimeLoop()
    struck: list[int] = []
    deadlines: Deadlines[int] = Deadlines(struck.append)
    due: dict[int, tuple[float, float]] = {}
    n = 0
    try:
        for what, value in steps:
            if what == "add":
                due[n] = deadlines.add(n, value, loop.time(), loop), value
                n += 1
            elif what == "remove" and due:
                item = list(due)[int(value) % len(due)]
                deadlines.remove(item, due.pop(item)[1])
            elif what == "wait":
                loop.pass_time(value)
            loop.settle()
            now = [item for item, (deadline, _) in due.items() if deadline <= loop.time() + loop_resolution(loop)]
            assert sorted(struck) == sorted(now)
            for item in now:
                del due[item]
            struck.clear()
    finally:
        loop.close()


def test_tasks_that_end_early_leave_no_timers_behind() -> None:
    """Ten thousand different timeouts of an hour, as remaining times of requests are: what has ended is forgotten."""
    loop = FakeTimeLoop()
    deadlines: Deadlines[int] = Deadlines(lambda _: None)
    try:
        for n in range(10_000):
            deadlines.add(n, 3600.0 + n / 1e6, loop.time(), loop)
            deadlines.remove(n, 3600.0 + n / 1e6)
            if not n % 100:
                loop.settle()
        loop.settle()
        assert len(deadlines._lines) < 200
        assert len(loop._scheduled) < 400, "asyncio itself forgets cancelled timers when they are many"
    finally:
        loop.close()


@pytest.mark.parametrize("count", [1, 500])
def test_many_different_timeouts_all_strike(count: int) -> None:
    """Also those that share the clearing away of others."""
    loop = FakeTimeLoop()
    struck: list[int] = []
    deadlines: Deadlines[int] = Deadlines(struck.append)
    try:
        for n in range(count):
            deadlines.add(n, 1.0 + n / 1e3, loop.time(), loop)
        for n in range(0, count, 2):
            deadlines.remove(n, 1.0 + n / 1e3)
        for n in range(count, 2 * count):
            deadlines.add(n, 5.0 + n / 1e3, loop.time(), loop)
        loop.pass_time(100.0)
        assert sorted(struck) == [*range(1, count, 2), *range(count, 2 * count)]
        assert not deadlines._lines
    finally:
        loop.close()
