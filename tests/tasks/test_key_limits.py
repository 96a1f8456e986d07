"""What one key may have: so many runs at once, so many starts in a time, and no memory of who is gone."""

from __future__ import annotations

import asyncio
import math
import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.fake_time import world

from creatormate_resilience.tasks import KeyLimits, TaskExecutor, TaskStatus
from creatormate_resilience.tasks._key_limits import KeyGate

EXAMPLES = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 100
limits = st.builds(
    KeyLimits,
    max_concurrent=st.none() | st.integers(1, 3),
    rate=st.none() | st.sampled_from([0.5, 1.0, 3.0]),
    per=st.sampled_from([1.0, 2.0]),
    burst=st.none() | st.integers(1, 4),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["open", "start", "end", "close", "wait"]),
        st.sampled_from("ab"),
        st.sampled_from([0.1, 0.5, 1.0, 3.0]),
    ),
    max_size=80,
)


def test_runs_of_one_key_at_once_are_bounded_and_others_go_on() -> None:
    """A tenant's backlog waits for itself; another tenant's task starts at once."""
    with world(max_concurrent=4, key_limits=KeyLimits(max_concurrent=2)) as w:
        for n in range(4):
            w.submit(f"a{n}", key="a")
        w.submit("b0", key="b")
        assert w.running == ["a0", "a1", "b0"]
        w.let_end("a0")
        assert w.running == ["a1", "b0", "a2"]
        w.let_end("a1", "a2", "b0", "a3")
        assert not w.running
        assert not w.executor.engine._scheduler.gate._keys


def test_a_timed_out_run_that_goes_on_still_counts_for_its_key() -> None:
    """The next one of the key starts when the first has really ended."""
    with world(key_limits=KeyLimits(max_concurrent=1)) as w:
        swallowed: list[int] = []

        async def stubborn() -> None:
            gate = w.gates.setdefault("stubborn", asyncio.Event())
            while not gate.is_set():
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    swallowed.append(1)

        first = w.loop.do(w.executor.options(key="a", timeout=1.0).submit(stubborn))
        w.submit("second", key="a")
        w.loop.pass_time(1.5)
        assert w.status(first) is TaskStatus.TIMED_OUT
        assert (w.running, w.executor.statistics().zombies) == ([], 1)
        w.let_end("stubborn")
        assert w.running == ["second"]


def test_starts_of_one_key_keep_to_their_rate() -> None:
    """Two a second with a burst of two: the third comes half a second later, without a slot being lost meanwhile."""
    with world(max_concurrent=8, key_limits=KeyLimits(rate=2.0)) as w:
        for n in range(6):
            w.submit(f"a{n}", key="a")
        w.submit("b", key="b")
        for _ in range(40):
            w.loop.pass_time(0.1)
        starts = [round(at, 1) for at, name in w.starts if name.startswith("a")]
        assert starts == [0.0, 0.0, 0.5, 1.0, 1.5, 2.0]
        assert (0.0, "b") in w.starts


def test_attempts_count_for_the_rate_too() -> None:
    """A retry is a start like any other."""

    class AtOnce:
        max_attempts = 4

        def delay_before(self, attempt: int, error: BaseException) -> float | None:
            return 0.0

    with world(key_limits=KeyLimits(rate=1.0, burst=1)) as w:
        at: list[float] = []

        async def fails() -> None:
            at.append(round(w.loop.time(), 1))
            raise ValueError

        handle = w.loop.do(w.executor.options(key="a", retry=AtOnce()).submit(fails))
        for _ in range(50):
            w.loop.pass_time(0.1)
        assert at == [0.0, 1.0, 2.0, 3.0]
        assert w.status(handle) is TaskStatus.DEAD


def test_limits_may_differ_by_key() -> None:
    """A function says what a key may have; it is asked once while the key is in use."""
    asked: list[str] = []

    def of(key: str) -> KeyLimits:
        asked.append(key)
        return KeyLimits(max_concurrent=3 if key == "paying" else 1)

    with world(key_limits=of) as w:
        for n in range(4):
            w.submit(f"free {n}", key="free")
            w.submit(f"paying {n}", key="paying")
        assert sorted(w.running) == ["free 0", "paying 0", "paying 1", "paying 2"]
        assert asked == ["free", "paying"]


@pytest.mark.anyio
@pytest.mark.parametrize("answer", ["none", "raises", "wrong"])
async def test_a_function_that_gives_no_limits_refuses_the_submission(answer: str) -> None:
    """What it raises comes out of `submit`, nothing was taken, and other keys go on."""

    def of(key: str) -> Any:
        if key == "good":
            return KeyLimits()
        if answer == "raises":
            raise LookupError("no such tenant")
        return None if answer == "none" else 5

    async def works() -> int:
        return 1

    async with TaskExecutor(key_limits=of) as executor:
        for _ in range(3):
            with pytest.raises(LookupError if answer == "raises" else TypeError):
                await executor.options(key="bad").submit(works)
        assert await (await executor.options(key="good").submit(works)) == 1
        assert executor.statistics().submitted == 1
        assert await executor.drain(timeout=10)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"max_concurrent": 0}, ValueError),
        ({"max_concurrent": 1.5}, TypeError),
        ({"rate": 0}, ValueError),
        ({"rate": -1.0}, ValueError),
        ({"rate": float("nan")}, ValueError),
        ({"rate": "1"}, TypeError),
        ({"per": 0}, ValueError),
        ({"burst": 0}, ValueError),
    ],
)
def test_bad_limits_are_refused(values: dict[str, Any], error: type[Exception]) -> None:
    """The error names the limit."""
    with pytest.raises(error, match=f"{next(iter(values))} is .*accepted"):
        KeyLimits(**values)


@pytest.mark.parametrize("wrong", [5, None, "rate"])
def test_what_is_no_limits_is_refused_by_the_executor(wrong: Any) -> None:
    """A KeyLimits, a function, or None for none."""
    if wrong is None:
        TaskExecutor(key_limits=None)
        return
    with pytest.raises(TypeError, match="key_limits is a"):
        TaskExecutor(key_limits=wrong)


@settings(max_examples=EXAMPLES, deadline=None)
@given(limits, steps)
def test_a_gate_never_lets_too_many_start(one: KeyLimits, steps: list[tuple[str, str, float]]) -> None:
    """At once, and in any span of time; what it calls free is what it then lets start; idle keys are forgotten."""
    gate, now = KeyGate(one), 0.0
    tasks, running = Counter[str](), Counter[str]()
    starts: dict[str, list[float]] = {"a": [], "b": []}
    burst = one.burst if one.burst is not None else max(1, int(one.rate or 1))
    for what, key, seconds in steps:
        if what == "open":
            gate.open(key, 2)
            tasks[key] += 2
        elif what == "start" and tasks[key]:
            wait = gate.wait(key, now)
            assert (gate.free(key, now) >= 1) == (wait == 0.0)
            if wait == 0.0:
                gate.start(key, now)
                running[key] += 1
                starts[key].append(now)
            elif wait != math.inf:
                assert gate.wait(key, now + wait + 1e-6) in (0.0, math.inf)
        elif what == "end" and running[key]:
            gate.end(key, now)
            running[key] -= 1
        elif what == "close" and tasks[key]:
            gate.close(key, now)
            tasks[key] -= 1
        elif what == "wait":
            now += seconds
        if one.max_concurrent is not None:
            assert max(running.values(), default=0) <= one.max_concurrent
        for times in starts.values():
            check_rate(times, one, burst)
        assert all(key in gate._keys for key in "ab" if tasks[key] or running[key])
    for key in "ab":
        gate.open(key, 1)
        for _ in range(running[key]):
            gate.end(key, now + 1e6)
        for _ in range(tasks[key] + 1):
            gate.close(key, now + 1e6)
    assert not gate._keys


def check_rate(times: list[float], one: KeyLimits, burst: int) -> None:
    if one.rate is None:
        return
    for first in range(len(times)):
        span = times[-1] - times[first]
        assert len(times) - first <= burst + span * one.rate / one.per + 1e-6


def test_ten_thousand_keys_leave_nothing_behind() -> None:
    """Also where a rate keeps a key alive for a while after its last task."""
    gate = KeyGate(KeyLimits(max_concurrent=1, rate=10.0))
    most = 0
    for n in range(10_000):
        now = n * 0.01
        gate.open(f"tenant {n}", 1)
        gate.start(f"tenant {n}", now)
        gate.close(f"tenant {n}", now)
        gate.end(f"tenant {n}", now)
        most = max(most, len(gate._keys))
    assert most < 100
