"""How many tasks of one key may wait: a noisy tenant is refused before it has filled the queue for all."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from tests.tasks.fake_time import world

from creatormate_resilience.exceptions import TaskQueueFullError
from creatormate_resilience.policies import Retry, constant
from creatormate_resilience.tasks import KeyLimits, TaskExecutor, TaskPriority, TaskRejected, TaskStatus


def test_a_noisy_key_is_refused_and_others_find_room() -> None:
    """The error names the key; nothing of the refused submission is left."""
    with world(max_concurrent=1, max_queue=10, key_limits=KeyLimits(max_queue=2)) as w:
        for n in range(3):
            w.submit(f"noisy {n}", key="noisy")
        with pytest.raises(TaskQueueFullError, match=r"key 'noisy' has 2 of 2 tasks waiting in 'tasks', and 1 more do"):
            w.submit("too many", key="noisy")
        w.submit("quiet", key="quiet")
        w.submit("nobody's")
        assert w.waiting == 4
        assert w.executor.statistics().rejected == 1
        assert [event.count for event in w.heard if isinstance(event, TaskRejected)] == [1]
        w.let_end("noisy 0")
        w.let_end("quiet")
        w.submit("noisy 3", key="noisy")  # one of those that waited has its turn now, or will have
        w.let_end("noisy 1", "noisy 2", "noisy 3", "nobody's")
        assert not w.executor.engine._scheduler.gate._keys


@pytest.mark.parametrize("when_full", ["wait", "drop_lowest"])
def test_the_bound_of_a_key_refuses_at_once_whatever_happens_when_the_queue_is_full(when_full: Any) -> None:
    """Nobody waits, and nobody is dropped, for a key that has its share."""
    with world(max_concurrent=1, max_queue=10, when_full=when_full, key_limits=KeyLimits(max_queue=1)) as w:
        w.submit("running", key="k")
        waiting = w.submit("waiting", key="k", priority=TaskPriority.LOW)
        with pytest.raises(TaskQueueFullError, match="key 'k'"):
            w.submit("urgent", key="k", priority=TaskPriority.CRITICAL)
        assert w.status(waiting) is TaskStatus.QUEUED


def test_submitters_that_wait_for_a_place_count_for_their_key() -> None:
    """One key cannot fill the line of those who wait, either; who gives up no longer counts."""
    with world(max_concurrent=1, max_queue=1, when_full="wait", key_limits=KeyLimits(max_queue=1)) as w:
        w.submit("running")
        w.submit("waiting")
        first = w.submitter("first", key="k")
        assert not first.done()
        with pytest.raises(TaskQueueFullError, match="key 'k'"):
            w.submit("second", key="k")
        first.cancel()
        w.loop.settle()
        third = w.submitter("third", key="k")
        w.let_end("running", "waiting")
        assert third.result().id


def test_what_starts_at_once_does_not_wait() -> None:
    """The bound is of those that wait: as many as there are slots come besides."""
    with world(max_concurrent=2, key_limits=KeyLimits(max_queue=1)) as w:
        many = w.executor.options(key="k")
        w.loop.do(many.submit_many(w.work, [("a",), ("b",), ("c",)]))
        assert (len(w.running), w.waiting) == (2, 1)
        with pytest.raises(TaskQueueFullError, match="key 'k' has 1 of 1 tasks waiting in 'tasks', and 2 more do not"):
            w.loop.do(many.submit_many(w.work, [("d",), ("e",)]))


def test_what_waits_for_its_delay_or_its_next_attempt_waits() -> None:
    """Delayed tasks and those that rest between two attempts have a place, as in the whole queue."""

    async def fails() -> None:
        raise ConnectionError("reset")

    with world(key_limits=KeyLimits(max_queue=2)) as w:
        w.submit("later", key="k", delay=5.0)
        w.loop.do(w.executor.options(key="k", retry=Retry(2, constant(60))).submit(fails))
        w.loop.settle()
        assert w.waiting == 2
        with pytest.raises(TaskQueueFullError, match="key 'k'"):
            w.submit("delayed", key="k", delay=5.0)
        w.submit("at once", key="k")
        assert w.running == ["at once"]


@pytest.mark.anyio
async def test_a_run_that_was_given_up_and_goes_on_takes_no_place_and_gives_none() -> None:
    """A thread that does not stop belongs to a task that has ended: those that wait are counted without it."""
    gate = threading.Event()
    async with TaskExecutor(max_threads=1, key_limits=KeyLimits(max_queue=1)) as executor:
        of = executor.options(key="k")
        stuck = await of.submit(gate.wait, 30)
        try:
            while (await stuck.status()) is not TaskStatus.RUNNING:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            await stuck.cancel()
            waits = await of.submit(len, "abc")
            with pytest.raises(TaskQueueFullError, match="key 'k' has 1 of 1"):
                await of.submit(len, "abc")
        finally:
            gate.set()
        assert await waits == 3


def test_a_function_may_give_each_key_its_own_bound() -> None:
    """As the other limits."""
    with world(max_concurrent=1, key_limits=lambda key: KeyLimits(max_queue=2 if key == "gold" else 1)) as w:
        w.submit("running")
        for key, places in (("gold", 2), ("free", 1)):
            for n in range(places):
                w.submit(f"{key} {n}", key=key)
            with pytest.raises(TaskQueueFullError, match=f"key '{key}' has {places} of {places}"):
                w.submit("too many", key=key)


def test_a_unique_task_that_is_there_already_needs_no_place() -> None:
    """Joining is no submission of one more."""
    with world(max_concurrent=1, key_limits=KeyLimits(max_queue=1)) as w:
        w.submit("running", key="k")
        first = w.submit("one", key="k", unique_key="u")
        assert w.submit("one", key="k", unique_key="u").id == first.id


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_bad_bound_is_refused(value: Any, error: type[Exception]) -> None:
    """The error names it."""
    with pytest.raises(error, match=r"max_queue is .*accepted is a whole number"):
        KeyLimits(max_queue=value)
