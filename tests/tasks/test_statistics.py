"""What an executor says of itself."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.fake_time import world

from creatormate_resilience.tasks import TaskPriority, TaskStatus
from creatormate_resilience.tasks._statistics import Totals

LOW, NORMAL, HIGH, CRITICAL = TaskPriority
EXAMPLES = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 100


def test_waits_and_runs_are_told_by_function_and_by_priority() -> None:
    """Of each the quantiles of the last 512, in seconds of the executor's clock."""
    with world(max_concurrent=1) as w:
        for n in range(10):
            w.submit(f"{n}", priority=HIGH if n % 2 else LOW)
        for _ in range(10):
            w.loop.pass_time(1.0)
            w.let_end(*w.running)
        now = w.executor.statistics()
        assert set(now.functions) == {f"{n}" for n in range(10)}
        assert set(now.priorities) == {LOW, HIGH}
        high, low = now.priorities[HIGH], now.priorities[LOW]
        assert (high.succeeded, high.unsuccessful, low.succeeded) == (5, 0, 5)
        assert high.wait is not None
        assert low.wait is not None
        assert high.run is not None
        assert (high.run.p50, high.run.longest) == (1.0, 1.0)
        assert (high.wait.longest, low.wait.longest) == (5.0, 9.0), "the first LOW one started before HIGH ones came"
        assert (now.mean_wait, now.mean_run) == (4.5, 1.0)


def test_a_task_that_never_started_has_neither_wait_nor_run() -> None:
    """It is counted in its status alone."""
    with world(max_concurrent=1) as w:
        w.submit("running")
        queued = w.submit("queued")
        w.loop.do(queued.cancel())
        assert "queued" not in w.executor.statistics().functions
        assert w.executor.statistics().cancelled == 1


@pytest.mark.parametrize("rate", [0.5, 3.0])
def test_throughput_is_that_of_the_last_minute(rate: float) -> None:
    """Steady for two minutes, then nothing: it is the rate, falls, and is 0 a minute later."""
    totals = Totals()
    now = 0.0
    for n in range(int(120 * rate)):
        now = n / rate
        totals.throughput.count(now)
    assert totals.throughput.per_second(now) == pytest.approx(rate, rel=0.05)
    assert totals.throughput.per_second(now + 30.0) == pytest.approx(rate / 2, rel=0.1)
    assert totals.throughput.per_second(now + 61.0) == 0.0


def test_throughput_begins_with_the_first_task() -> None:
    """Ten in the first second are ten a second, not ten a minute; a long sleep before them changes nothing."""
    totals = Totals()
    for _ in range(10):
        totals.throughput.count(1000.0)
    assert totals.throughput.per_second(1000.0) == 10.0
    assert totals.throughput.per_second(1002.0) == 5.0


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.floats(0.0, 40.0), max_size=80))
def test_throughput_never_counts_more_than_there_were(pauses: list[float]) -> None:
    """At most what ended in the last minute, over the time there was."""
    totals, now, ends = Totals(), 0.0, list[float]()
    for pause in pauses:
        now += pause
        totals.throughput.count(now)
        ends.append(now)
        recent = sum(end > now - 60.0 for end in ends)
        over = min(max(now - ends[0], 1.0), 60.0)
        assert (recent - 1) / over - 0.2 <= totals.throughput.per_second(now) <= recent / over + 1e-9


def test_names_are_bounded() -> None:
    """Two hundred by name, the rest together: a name made of a user's id must not grow the memory."""
    totals = Totals()
    for n in range(1000):
        totals.ended(f"task {n}", NORMAL, 0.0, 1.0, succeeded=n % 2 == 0)
    functions = totals.picture("x", now=0.0, used=0, oldest=None).functions
    assert len(functions) == 201
    others = functions["(others)"]
    assert (others.succeeded, others.unsuccessful) == (400, 400)
    totals.ended("task 3", NORMAL, 0.0, 1.0, succeeded=True)
    again = totals.picture("x", now=0.0, used=0, oldest=None).functions["task 3"]
    assert (again.succeeded, again.unsuccessful) == (1, 1), "a known name stays known"


@pytest.mark.parametrize(
    ("ran", "waiting", "slots", "seconds"),
    [(None, 50, 1, 1.0), (2.0, 10, 4, 5.0), (0.001, 1, 8, 0.1), (600.0, 1000, 1, 60.0)],
)
def test_the_retry_after_of_a_full_queue(ran: float | None, waiting: int, slots: int, seconds: float) -> None:
    """What one slot takes for its share of what waits, from a tenth of a second to a minute."""
    totals = Totals()
    if ran is not None:
        totals.ended("x", NORMAL, 0.0, ran, succeeded=True)
    totals.statuses[TaskStatus.QUEUED] = waiting
    assert totals.relief(slots) == seconds


def test_zombies_oldest_wait_and_depth_are_those_of_now() -> None:
    """In fake time, to the second."""
    with world(max_concurrent=1) as w:
        w.submit("running")
        w.loop.pass_time(2.0)
        w.submit("first", priority=LOW)
        w.loop.pass_time(3.0)
        w.submit("second", priority=CRITICAL)
        w.submit("later", delay=60.0)
        now = w.executor.statistics()
        assert (now.oldest_wait, now.queued, now.scheduled, now.running, now.zombies) == (3.0, 2, 1, 1, 0)
        w.let_end("running", "second", "first")
        now = w.executor.statistics()
        assert (now.oldest_wait, now.queued) == (0.0, 0)


def test_a_record_tells_wait_and_run_of_each_stage() -> None:
    """While it waits, runs, and after its end."""
    with world(max_concurrent=1) as w:
        w.submit("running")
        handle = w.submit("second")
        w.loop.pass_time(2.0)
        record = w.loop.do(handle.record())
        assert (record.wait_time, record.run_time, record.attempts) == (2.0, None, 0)
        w.let_end("running")
        w.loop.pass_time(3.0)
        record = w.loop.do(handle.record())
        assert (record.wait_time, record.run_time, record.attempts) == (2.0, 3.0, 1)
        w.let_end("second")
        w.loop.pass_time(3.0)
        record = w.loop.do(handle.record())
        assert (record.wait_time, record.run_time, record.status) == (2.0, 3.0, TaskStatus.SUCCEEDED)
