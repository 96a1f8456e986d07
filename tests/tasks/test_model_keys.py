"""Keys, unique keys, expiry, retries, a full queue, in any order: nobody is lost, forgotten, or taken beyond bounds."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.tasks.fake_time import FakeTimeLoop

from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import ShuttingDownError, TaskQueueFullError
from creatormate_resilience.tasks import (
    KeyLimits,
    ShutdownReport,
    TaskExecutor,
    TaskFinished,
    TaskHandle,
    TaskOptionValues,
    TaskPriority,
    TaskRejected,
    TaskStatus,
)

SLOTS, PLACES = 3, 3
EXAMPLES = 300 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 50
OF_KEYS = {
    "single": KeyLimits(max_concurrent=1),
    "slow": KeyLimits(rate=0.5, burst=1),
    "both": KeyLimits(max_concurrent=2, rate=1.0, burst=2),
    "free": KeyLimits(),
}


class Advice:
    """Two attempts, two seconds apart."""

    max_attempts = 2

    def delay_before(self, attempt: int, error: BaseException) -> float | None:
        return 2.0


@dataclass(eq=False, repr=False)
class Submission:
    """One call of `submit` or `submit_many`, and what came of it."""

    options: TaskOptionValues
    count: int
    task: asyncio.Task[list[TaskHandle[str]]] = field(init=False)
    cancelled: bool = False

    @property
    def waits(self) -> bool:
        return not self.task.done()

    @property
    def handles(self) -> list[TaskHandle[str]]:
        taken = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result() if taken else []


@dataclass(eq=False, repr=False)
class Work:
    """What the tasks of one submission do: wait until they are told how to end."""

    loop: FakeTimeLoop
    key: str | None
    stubborn: bool
    gates: list[asyncio.Future[bool]] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    running: int = 0

    async def run(self) -> str:
        gate: asyncio.Future[bool] = self.loop.create_future()
        self.gates.append(gate)
        self.starts.append(self.loop.time())
        self.running += 1
        try:
            while not gate.done():
                try:
                    await asyncio.wait((gate,))
                except asyncio.CancelledError:
                    if not self.stubborn:
                        raise
            if not gate.result():
                raise ValueError
            return "done"
        finally:
            self.running -= 1


class Model(RuleBasedStateMachine):
    """Does anything in any order, and looks at everything after each step."""

    when_full: ClassVar[Any] = "raise"

    def __init__(self) -> None:
        super().__init__()
        self.loop = FakeTimeLoop()
        self.heard: list[Event] = []
        self.submissions: list[Submission] = []
        self.works: list[Work] = []
        self.final: dict[str, TaskStatus] = {}
        self.closed = False
        self.executor = TaskExecutor(
            max_concurrent=SLOTS,
            max_queue=PLACES,
            when_full=self.when_full,
            key_limits=OF_KEYS.__getitem__,
            max_loop_lag=None,
            clock=self.loop.clock,
            listeners=(self.heard.append,),
        )
        self.loop.do(self.executor.start())

    @property
    def engine(self) -> Any:
        return self.executor.engine

    @property
    def handles(self) -> dict[str, TaskHandle[str]]:
        return {handle.id: handle for one in self.submissions for handle in one.handles}

    def status(self, handle: TaskHandle[str]) -> TaskStatus:
        return handle._task.status  # type: ignore[attr-defined]

    @rule(
        count=st.sampled_from([1, 1, 1, 2, 4, 7]),
        key=st.sampled_from([None, *OF_KEYS]),
        priority=st.sampled_from(TaskPriority),
        timeout=st.sampled_from([None, 3.0]),
        stubborn=st.booleans(),
        extra=st.sampled_from(["", "", "delay", "expires", "retry", "unique"]),
    )
    def submit(
        self, count: int, key: str | None, priority: TaskPriority, timeout: float | None, stubborn: bool, extra: str
    ) -> None:
        options = TaskOptionValues(key=key, priority=priority, timeout=timeout)
        if extra == "delay":
            options["delay"] = 2.0
        elif extra == "expires":
            options["expires"] = 2.5
        elif extra == "retry":
            options["retry"] = Advice()
        elif extra == "unique":
            options["unique_key"] = "u"
        work = Work(self.loop, key, stubborn)
        submission = Submission(options, 1 if extra == "unique" else count)
        self.works.append(work)
        before = self.executor.statistics()
        submission.task = self.loop.later(self.begin(submission, work))
        self.submissions.append(submission)
        if submission.task.done() and isinstance(submission.task.exception(), TaskQueueFullError):
            after = self.executor.statistics()
            assert after.submitted == before.submitted, "all or none"
            assert after.rejected == before.rejected + submission.count
            assert self.when_full != "wait" or submission.count > PLACES
            assert before.scheduled + before.queued + before.retrying + submission.count > PLACES

    def begin(self, submission: Submission, work: Work) -> Coroutine[Any, Any, list[TaskHandle[str]]]:
        submitter = self.executor.options(**submission.options)

        async def submit() -> list[TaskHandle[str]]:
            if submission.count == 1:
                return [await submitter.submit(work.run)]
            return list(await submitter.submit_many(work.run, [()] * submission.count))

        return submit()

    @rule(which=st.integers(0, 100), succeeds=st.booleans())
    def let_end(self, which: int, succeeds: bool) -> None:
        if open_ := [gate for work in self.works for gate in work.gates if not gate.done()]:
            open_[which % len(open_)].set_result(succeeds)
            self.loop.settle()

    @rule(which=st.integers(0, 100))
    def cancel(self, which: int) -> None:
        handles = list(self.handles.values())
        if handles:
            handle = handles[which % len(handles)]
            before = self.status(handle)
            assert self.loop.do(handle.cancel()) is (not before.final)
            assert self.status(handle).final

    @rule(which=st.integers(0, 100))
    def cancel_a_submitter(self, which: int) -> None:
        waiting = [one for one in self.submissions if one.waits]
        if waiting:
            one = waiting[which % len(waiting)]
            one.cancelled = True
            one.task.cancel()
            self.loop.settle()
            assert one.task.done()

    @rule(which=st.integers(0, 100), other=st.integers(0, 100))
    def let_end_and_cancel_a_submitter_at_once(self, which: int, other: int) -> None:
        """The cancellation comes in the turn in which it is let in."""
        open_ = [gate for work in self.works for gate in work.gates if not gate.done()]
        waiting = [one for one in self.submissions if one.waits]
        if open_ and waiting:
            one = waiting[other % len(waiting)]
            open_[which % len(open_)].set_result(True)

            async def cancels() -> None:
                for _ in range(other % 5):
                    await asyncio.sleep(0)
                one.task.cancel()

            self.loop.do(cancels())
            one.cancelled = True
            assert one.task.done()

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.0, 3.0]))
    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.loop.pass_time(0.1)

    @rule(drain=st.sampled_from([0.0, 1.0]))
    @precondition(lambda self: len(self.submissions) > 4 and not self.closed)
    def shut_down(self, drain: float) -> None:
        unfinished = {one for one, handle in self.handles.items() if not self.status(handle).final}
        running = {one for one in unfinished if self.status(self.handles[one]) is TaskStatus.RUNNING}
        shutdown = self.loop.later(self.executor.shutdown(drain=drain, grace=1.0))
        for _ in range(25):
            self.loop.pass_time(0.1)
        self.closed = True
        self.check_report(shutdown.result(), unfinished, running)
        assert all(self.status(handle).final for handle in self.handles.values())
        assert not any(one.waits for one in self.submissions), "who waited for a place was told"

    def check_report(self, report: ShutdownReport, unfinished: set[str], running: set[str]) -> None:
        groups = (report.finished, report.never_started, report.stopped, report.killed, report.left)
        told = Counter(record.id for group in groups for record in group)
        assert set(told.values()) <= {1}
        assert unfinished <= set(told)
        assert {record.id for record in report.left} >= set(told) - unfinished, "zombies of before"
        assert len(report.left) == self.executor.statistics().zombies == sum(work.running for work in self.works)
        assert not {record.id for record in report.never_started} & running
        assert all(record.run_time is None for record in report.never_started)
        assert all(record.run_time is not None for record in report.stopped)
        assert {record.status for record in (*report.never_started, *report.stopped)} <= {TaskStatus.CANCELLED}

    @invariant()
    def each_task_ends_once(self) -> None:
        finished = Counter(event.task_id for event in self.heard if isinstance(event, TaskFinished))
        for one, handle in self.handles.items():
            status = self.status(handle)
            assert finished[one] == status.final
            if status.final:
                assert self.final.setdefault(one, status) is status
        assert set(finished) <= set(self.handles), "nothing runs that nobody has submitted"

    @invariant()
    def nothing_is_started_too_often(self) -> None:
        for work, submission in zip(self.works, self.submissions, strict=True):
            attempts = 2 if "retry" in submission.options else 1
            joined = "unique_key" in submission.options
            assert len(work.starts) <= attempts * submission.count
            assert joined or not submission.task.done() or submission.handles or not work.starts

    @invariant()
    def keys_keep_to_their_limits(self) -> None:
        for key, limits in OF_KEYS.items():
            works = [work for work in self.works if work.key == key]
            if limits.max_concurrent is not None:
                assert sum(work.running for work in works) <= limits.max_concurrent
            if limits.rate is not None and limits.burst is not None:
                starts = sorted(start for work in works for start in work.starts)
                for first in range(len(starts)):
                    span = starts[-1] - starts[first]
                    assert len(starts) - first <= limits.burst + span * limits.rate + 1e-6

    @invariant()
    def the_books_balance(self) -> None:
        now, scheduler = self.executor.statistics(), self.engine._scheduler
        by_status = Counter(self.status(handle) for handle in self.handles.values())
        assert now.submitted == len(self.handles)
        assert (now.scheduled, now.queued, now.retrying) == tuple(
            by_status[one] for one in (TaskStatus.SCHEDULED, TaskStatus.QUEUED, TaskStatus.RETRYING)
        )
        assert now.running == by_status[TaskStatus.RUNNING]
        assert now.running + now.zombies == sum(work.running for work in self.works) <= SLOTS
        assert set(scheduler.jobs) == {one for one, handle in self.handles.items() if not self.status(handle).final}
        assert scheduler.queue.size == now.queued
        assert self.engine._admission._promised == 0, "a promise is kept in the turn it is made, or given back"
        rejected = sum(event.count for event in self.heard if isinstance(event, TaskRejected))
        assert now.rejected == rejected
        self.check_gate(scheduler)

    def check_gate(self, scheduler: Any) -> None:
        tasks, running = Counter[str](), Counter[str]()
        for job in scheduler.jobs.values():
            tasks[job.spec.options.key] += 1
        for submission in self.submissions:
            if submission.waits and submission.options.get("key") is not None:
                tasks[submission.options["key"]] += submission.count
        for work in self.works:
            running[work.key or ""] += work.running
        for key in OF_KEYS:
            one = scheduler.gate._keys.get(key)
            assert (0, 0) if one is None else (one.tasks, one.running) == (tasks[key], running[key])
            assert one is not None or tasks[key] == 0

    @invariant()
    def the_queue_keeps_to_its_bound(self) -> None:
        """Retries come back to a queue that may be full meanwhile; nobody else does."""
        now = self.executor.statistics()
        retried = sum("retry" in one.options for one in self.submissions for _ in one.handles)
        assert now.scheduled + now.queued + now.retrying <= PLACES + min(retried, SLOTS)

    @invariant()
    def nobody_waits_where_there_is_room(self) -> None:
        first = next((one for one in self.submissions if one.waits), None)
        now, scheduler = self.executor.statistics(), self.engine._scheduler
        if first is not None:
            assert self.when_full == "wait"
            waiting = now.scheduled + now.queued + now.retrying
            assert waiting + first.count > PLACES, "it was the first of those who wait"
        ready = [job for job in scheduler.jobs.values() if job.status is TaskStatus.QUEUED]
        if now.running + now.zombies < SLOTS:
            for job in ready:
                key = job.spec.options.key
                assert key is not None
                assert scheduler.gate.wait(key, self.loop.time()) > 0, "a slot is free, and it may start"

    @invariant()
    def a_unique_key_is_one_task(self) -> None:
        alive = {
            handle.id
            for one in self.submissions
            if "unique_key" in one.options
            for handle in one.handles
            if not self.status(handle).final
        }
        assert len(alive) <= 1
        assert {job.id for job in self.engine._scheduler.unique.values()} == alive

    def teardown(self) -> None:
        for work in self.works:
            for gate in work.gates:
                if not gate.done():
                    gate.set_result(True)
        self.loop.do(self.executor.aclose())
        for one in self.submissions:
            if one.task.done() and not one.task.cancelled() and (error := one.task.exception()) is not None:
                assert isinstance(error, TaskQueueFullError | ShuttingDownError)
            assert not one.task.cancelled() or one.cancelled
        self.each_task_ends_once()
        now = self.executor.statistics()
        assert (now.running, now.zombies, self.engine._scheduler.unique) == (0, 0, {})
        assert not self.engine._scheduler.queue.size
        self.loop.close()


def _case(when_full: str) -> type:
    case = type(f"Model_{when_full}", (Model,), {"when_full": when_full}).TestCase
    case.settings = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
    return case


TestRefusing = _case("raise")
TestWaiting = _case("wait")
TestDropping = _case("drop_lowest")
