"""Tasks that may start too late to be of use, and tasks of which one is enough."""

from __future__ import annotations

import asyncio

import pytest
from tests.tasks.fake_time import world

from creatormate_resilience.exceptions import TaskExpiredError
from creatormate_resilience.tasks import TaskStatus


def test_a_task_that_cannot_start_in_time_never_does() -> None:
    """It is EXPIRED at its time, wakes its waiters, and gives its place back."""
    with world(max_concurrent=1, max_queue=1) as w:
        w.submit("running")
        handle = w.submit("late", expires=5.0)
        waiter = w.loop.later(handle.result())
        w.loop.pass_time(4.9)
        assert w.status(handle) is TaskStatus.QUEUED
        w.loop.pass_time(0.2)
        with pytest.raises(TaskExpiredError, match="within 5 s"):
            waiter.result()
        w.submit("next")
        w.let_end("running")
        assert w.running == ["next"]
        assert w.executor.statistics().expired == 1


def test_a_task_that_started_in_time_may_run_on() -> None:
    """Its time to start is over, and that is no matter any more."""
    with world() as w:
        handle = w.submit("running", expires=5.0)
        w.loop.pass_time(60.0)
        w.let_end("running")
        assert w.loop.do(handle.result()) == "running"


def test_a_delay_longer_than_the_time_there_is_expires() -> None:
    """It was never to start."""
    with world() as w:
        handle = w.submit("never", delay=10.0, expires=5.0)
        w.loop.pass_time(5.1)
        assert w.status(handle) is TaskStatus.EXPIRED
        w.loop.pass_time(10.0)
        assert w.starts == []


@pytest.mark.parametrize("runs_on", [False, True])
def test_an_attempt_that_ends_too_late_is_not_made_again(runs_on: bool) -> None:
    """EXPIRED with the failure as its cause; also where the time ran out while the attempt was still running."""

    class Later:
        max_attempts = 3

        def delay_before(self, attempt: int, error: BaseException) -> float | None:
            return 3.0

    with world() as w:

        async def fails() -> None:
            if runs_on:
                await w.work("fails")
            raise ZeroDivisionError

        handle = w.loop.do(w.executor.options(retry=Later(), expires=2.0).submit(fails))
        w.loop.pass_time(2.5)
        assert w.status(handle) is (TaskStatus.RUNNING if runs_on else TaskStatus.EXPIRED)
        w.let_end("fails")
        assert w.status(handle) is TaskStatus.EXPIRED
        with pytest.raises(TaskExpiredError) as caught:
            w.loop.do(handle.result())
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_unique_key_joins_while_its_task_has_not_ended() -> None:
    """Queued, scheduled, running or resting: one task, one run, and every submitter has its result."""
    with world(max_concurrent=1) as w:
        w.submit("running")
        first = w.submit("once", unique_key="u", delay=5.0)
        assert w.submit("once", unique_key="u").id == first.id
        w.loop.pass_time(5.0)
        assert w.submit("once", unique_key="u").id == first.id
        w.let_end("running")
        joined = w.submit("once", unique_key="u")
        w.let_end("once")
        assert w.loop.do(joined.result()) == "once"
        assert [name for _, name in w.starts] == ["running", "once"]
        assert w.executor.statistics().joined == 3
        assert w.submit("once", unique_key="u").id != first.id, "it had ended"


@pytest.mark.parametrize("end", ["cancel", "expire", "fail"])
def test_every_end_frees_the_unique_key(end: str) -> None:
    """The next submission is a task of its own."""
    with world(max_concurrent=1) as w:
        w.submit("running")
        first = w.submit("once", unique_key="u", expires=5.0)
        if end == "cancel":
            w.loop.do(first.cancel())
        elif end == "expire":
            w.loop.pass_time(5.1)
        else:
            w.gates["once"] = None  # type: ignore[assignment]
            w.let_end("running")
        assert w.status(first).final
        assert w.executor.engine._scheduler.unique == {}


def test_a_timed_out_run_that_goes_on_does_not_hold_the_unique_key() -> None:
    """The task has ended; that its function still runs is what `zombies` tells."""
    with world() as w:
        gate = asyncio.Event()

        async def stubborn() -> None:
            while not gate.is_set():
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    continue

        options = w.executor.options(unique_key="u", timeout=1.0)
        first = w.loop.do(options.submit(stubborn))
        w.loop.pass_time(1.5)
        second = w.loop.do(options.submit(stubborn))
        assert second.id != first.id
        assert w.executor.statistics().zombies == 1
        gate.set()
        w.loop.settle()
        assert w.status(second) is TaskStatus.SUCCEEDED


def test_submit_many_takes_no_unique_key() -> None:
    """It names one task."""
    with world() as w, pytest.raises(ValueError, match="unique_key"):
        w.loop.do(w.executor.options(unique_key="u").submit_many(w.work, [("a",), ("b",)]))
