"""Who is taken when the queue is full: nobody too many, in their order, all or none, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tests.tasks.fake_time import world

from creatormate_resilience.exceptions import ShuttingDownError, TaskCancelledError, TaskQueueFullError
from creatormate_resilience.tasks import KeyLimits, TaskPriority, TaskRejected, TaskStatus

LOW, NORMAL, HIGH, CRITICAL = TaskPriority


def test_a_submitter_waits_for_a_place_and_gets_it() -> None:
    """With when_full="wait" `submit` returns when there is room, and nothing was refused."""
    with world(max_concurrent=1, max_queue=1, when_full="wait") as w:
        w.submit("running")
        w.submit("queued")
        waits = w.submitter("waits")
        assert (waits.done(), w.waiting) == (False, 1)
        w.let_end("running")
        assert (waits.done(), w.running, w.waiting) == (True, ["queued"], 1)
        w.let_end("queued", "waits")
        assert w.loop.do(waits.result().result()) == "waits"
        assert w.executor.statistics().rejected == 0


def test_submitters_are_let_in_in_their_order() -> None:
    """A submission of many that came first is not overtaken for ever by single ones that would fit."""
    with world(max_concurrent=1, max_queue=3, when_full="wait") as w:
        w.submit("running")
        for n in range(3):
            w.submit(f"queued {n}")
        many = w.loop.later(w.executor.submit_many(w.work, [("many",)] * 3))
        w.let_end("running")
        assert (many.done(), w.waiting) == (False, 2), "one place is free, and three are wanted"
        single = w.submitter("single")
        assert not single.done(), "it would fit, but it is not its turn"
        w.let_end("queued 0", "queued 1", "queued 2")
        assert many.done()
        w.let_end("many", "single")
        assert single.done()


def test_no_more_wait_than_the_queue_holds_when_a_newcomer_takes_the_free_slot() -> None:
    """Between being let in and being taken a submitter keeps its place: who comes in that moment cannot have it too."""
    with world(max_concurrent=1, max_queue=1, when_full="wait") as w:
        w.submit("running")
        w.submit("scheduled", delay=60.0)
        first = w.submitter("first")

        async def slips_in() -> None:
            w.gates["running"].set()
            while not w.executor.engine._admission._promised:
                await asyncio.sleep(0)
            await w.executor.submit(w.work, "second")

        second = w.loop.later(slips_in())
        assert w.waiting <= 1
        assert first.done()
        assert w.running == ["first"]
        w.let_end("first", "second")
        assert second.done()


@pytest.mark.parametrize("kind", ["delayed", "thread"])
def test_a_free_slot_lets_in_only_who_can_have_it(kind: str) -> None:
    """Not a delayed task, nor one for a thread where all threads are taken: they would wait beyond the bound."""
    release = threading.Event()
    with world(max_concurrent=4, max_threads=1, max_queue=1, when_full="wait") as w:
        try:
            w.loop.do(w.executor.options(name="thread").submit(release.wait, 20))
            w.submit("scheduled", delay=30.0)
            if kind == "thread":
                submitter = w.loop.later(w.executor.submit(release.wait, 20))
            else:
                submitter = w.submitter("delayed", delay=60.0)
            assert not submitter.done()
            submitter.cancel()
            w.loop.settle()
            assert w.waiting == 1
        finally:
            release.set()


def test_tasks_of_one_key_that_cannot_start_at_once_need_places() -> None:
    """Free slots are no room for tasks whose key may run one at a time."""
    with world(max_concurrent=8, max_queue=2, key_limits=KeyLimits(max_concurrent=1)) as w:
        with pytest.raises(TaskQueueFullError):
            w.loop.do(w.executor.options(key="a").submit_many(w.work, [(str(n),) for n in range(6)]))
        assert w.executor.statistics().submitted == 0
        w.loop.do(w.executor.options(key="a").submit_many(w.work, [(str(n),) for n in range(2)]))
        assert w.waiting <= 2


def test_a_submitter_behind_a_cancelled_one_takes_the_free_slot_at_once() -> None:
    """Nothing else needs to happen: there is room, so it is let in."""
    with world(max_concurrent=1, max_queue=1, when_full="wait") as w:
        w.submit("scheduled", delay=600.0)
        many = w.loop.later(w.executor.submit_many(w.work, [("many",)] * 2))
        single = w.submitter("single")
        assert not many.done()
        many.cancel()
        w.loop.settle()
        assert single.done(), "a slot is free, and it is the first of those who wait"
        assert w.running == ["single"]


def test_a_submitter_that_is_cancelled_while_it_is_let_in_gives_its_place_back() -> None:
    """The place goes to the next one; no place is lost, whichever comes first."""
    with world(max_concurrent=1, max_queue=1, when_full="wait") as w:
        w.submit("running")
        w.submit("queued")
        first, second = w.submitter("first"), w.submitter("second")

        async def both_at_once() -> None:
            w.gates["running"].set()
            while not w.executor.engine._admission._promised:
                await asyncio.sleep(0)
            first.cancel()

        w.loop.do(both_at_once())
        assert first.cancelled()
        assert second.done()
        assert w.waiting == 1
        assert w.executor.engine._admission._promised == 0


def test_what_never_fits_is_refused_instead_of_waiting_for_ever() -> None:
    """More tasks than places and slots together; delayed ones have the places only."""
    with world(max_concurrent=2, max_queue=3, when_full="wait") as w:
        with pytest.raises(TaskQueueFullError, match="0 of 3 tasks, and 6 more do not fit"):
            w.loop.do(w.executor.submit_many(w.work, [("x",)] * 6))
        with pytest.raises(TaskQueueFullError, match="and 4 more do not fit"):
            w.loop.do(w.executor.options(delay=1.0).submit_many(w.work, [("x",)] * 4))
        assert (w.executor.statistics().submitted, w.executor.statistics().rejected) == (0, 10)
        w.loop.do(w.executor.submit_many(w.work, [("x",)] * 5))
        assert w.waiting == 3


def test_waiting_submitters_are_refused_when_the_executor_drains() -> None:
    """Each gets ShuttingDownError, also one that had just been let in."""
    with world(max_concurrent=1, max_queue=1, when_full="wait") as w:
        w.submit("running")
        w.submit("queued")
        first, second = w.submitter("first"), w.submitter("second")

        async def drains() -> bool:
            w.gates["running"].set()
            while not w.executor.engine._admission._promised:
                await asyncio.sleep(0)
            return await w.executor.drain(timeout=0.0)

        assert w.loop.do(drains()) is False
        for one in (first, second):
            assert isinstance(one.exception(), ShuttingDownError)
        assert w.executor.statistics().submitted == 2


def test_one_unique_key_is_one_task_also_for_those_who_wait_for_a_place() -> None:
    """Two submitters of the same key wait; both get the handle of one task."""
    with world(max_concurrent=1, max_queue=1, when_full="wait") as w:
        w.submit("running")
        w.submit("queued")
        first, second = (w.submitter("once", unique_key="u") for _ in range(2))
        w.let_end("running", "queued")
        assert first.result().id == second.result().id
        w.let_end("once")
        assert [name for _, name in w.starts].count("once") == 1
        assert (w.executor.statistics().joined, w.executor.statistics().submitted) == (1, 3)
        assert not w.executor.engine._scheduler.unique


def test_a_key_is_not_forgotten_while_its_submitter_waits() -> None:
    """Other keys come and go meanwhile; the submission is still taken."""
    with world(max_concurrent=1, max_queue=1, when_full="wait", key_limits=KeyLimits(max_concurrent=1)) as w:
        w.submit("running", key="a")
        w.submit("queued", key="b")
        waits = w.submitter("waits", key="c")
        w.let_end("running")
        assert waits.done()
        w.let_end("queued", "waits")
        assert w.loop.do(waits.result().result()) == "waits"
        assert not w.executor.engine._scheduler.gate._keys


def test_refused_submissions_leave_no_keys_behind() -> None:
    """A full queue and ever new keys: nothing is remembered of who was turned away."""
    with world(max_concurrent=1, max_queue=1, key_limits=KeyLimits(max_concurrent=1)) as w:
        w.submit("running")
        w.submit("queued")
        for n in range(200):
            with pytest.raises(TaskQueueFullError):
                w.submit("refused", key=f"tenant {n}")
        assert len(w.executor.engine._scheduler.gate._keys) == 0


def test_drop_lowest_cancels_the_task_of_the_lowest_priority() -> None:
    """Its waiters get a TaskCancelledError that says why; it is counted, and the more urgent one is taken."""
    with world(max_concurrent=1, max_queue=3, when_full="drop_lowest") as w:
        w.submit("running")
        normal, low = w.submit("normal", priority=NORMAL), w.submit("low", priority=LOW)
        low_2 = w.submit("low 2", priority=LOW)
        waiter = w.loop.later(low.result())
        high = w.submit("high", priority=HIGH)
        assert w.status(low) is TaskStatus.CANCELLED, "of the lowest ones the one that waits longest"
        with pytest.raises(TaskCancelledError, match=rf"low \({low.id}\) was dropped.*more urgent"):
            waiter.result()
        assert [w.status(one) for one in (normal, low_2, high)] == [TaskStatus.QUEUED] * 3
        now = w.executor.statistics()
        assert (now.dropped, now.cancelled, now.queued, now.rejected) == (1, 1, 3, 0)


def test_drop_lowest_refuses_what_is_not_more_urgent() -> None:
    """An equal one is not dropped for an equal one, and what runs is never dropped."""
    with world(max_concurrent=1, max_queue=1, when_full="drop_lowest") as w:
        w.submit("running", priority=LOW)
        queued = w.submit("queued", priority=NORMAL)
        for priority in (LOW, NORMAL):
            with pytest.raises(TaskQueueFullError):
                w.submit("refused", priority=priority)
        assert w.status(queued) is TaskStatus.QUEUED
        assert (w.executor.statistics().rejected, w.executor.statistics().dropped) == (2, 0)


def test_drop_lowest_drops_enough_for_all_or_nobody() -> None:
    """`submit_many` is all or none: where too few can be dropped, none is."""
    with world(max_concurrent=1, max_queue=3, when_full="drop_lowest") as w:
        w.submit("running")
        handles = [w.submit(name, priority=p) for name, p in (("a", LOW), ("b", NORMAL), ("c", HIGH))]
        high = w.executor.options(priority=HIGH)
        with pytest.raises(TaskQueueFullError):
            w.loop.do(high.submit_many(w.work, [("x",)] * 3))
        assert {w.status(handle) for handle in handles} == {TaskStatus.QUEUED}
        w.loop.do(high.submit_many(w.work, [("x",)] * 2))
        assert [w.status(handle) for handle in handles] == [TaskStatus.CANCELLED] * 2 + [TaskStatus.QUEUED]
        rejected = [event for event in w.heard if isinstance(event, TaskRejected)]
        assert [event.count for event in rejected] == [3]
