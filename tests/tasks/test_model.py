"""Whatever is done to tasks in whatever order: each ends in exactly one final status, and none runs twice at once."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from tests.tasks.fake_time import FakeTimeLoop

from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import TaskQueueFullError
from creatormate_resilience.tasks import TaskExecutor, TaskFinished, TaskHandle, TaskPriority, TaskStatus

SLOTS, PLACES = 2, 3
EXAMPLES = 600 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 60


@dataclass
class Advice:
    """Two attempts, two seconds apart."""

    max_attempts: int = 2

    def delay_before(self, attempt: int, error: BaseException) -> float | None:
        return 2.0


@dataclass(eq=False, repr=False)
class Job:
    """A task as the model sees it."""

    stubborn: bool
    timeout: float | None
    attempts: int
    handle: TaskHandle[str] = field(init=False)
    gates: list[asyncio.Future[bool]] = field(default_factory=list)
    running: int = 0
    deadline: float | None = None
    final: TaskStatus | None = None

    async def run(self) -> str:
        assert self.running == 0, "two attempts at once"
        self.running += 1
        loop = asyncio.get_running_loop()
        gate: asyncio.Future[bool] = loop.create_future()
        self.gates.append(gate)
        self.deadline = None if self.timeout is None else loop.time() + self.timeout
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


def status_of(job: Job) -> TaskStatus:
    """Looking at a task of this process never waits."""
    try:
        job.handle.status().send(None)
    except StopIteration as answer:
        return answer.value
    raise AssertionError("it waited")


class Tasks(RuleBasedStateMachine):
    """Submits, lets finish and fail, cancels, passes time; checks against what must come of it."""

    jobs: Bundle[Job] = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.loop = FakeTimeLoop()
        self.all: list[Job] = []
        self.finished: list[str] = []
        self.rejected = 0
        self.executor = TaskExecutor(
            max_concurrent=SLOTS, max_queue=PLACES, clock=self.loop.clock, listeners=(self.hear,)
        )
        self.do(self.executor.start())

    def hear(self, event: Event) -> None:
        if isinstance(event, TaskFinished):
            self.finished.append(event.task_id)

    def do(self, what: Any) -> Any:
        async def then_settle() -> Any:
            result = await what
            for _ in range(20):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(then_settle())

    @rule(
        target=jobs,
        stubborn=st.booleans(),
        timeout=st.sampled_from([None, 3.0]),
        retried=st.booleans(),
        delay=st.sampled_from([0.0, 2.0]),
        priority=st.sampled_from(TaskPriority),
    )
    def submit(self, stubborn: bool, timeout: float | None, retried: bool, delay: float, priority: TaskPriority) -> Job:
        job = Job(stubborn, timeout, 2 if retried else 1)
        before = self.executor.statistics()
        waiting = before.queued + before.scheduled + before.retrying
        options = self.executor.options(
            timeout=timeout, retry=Advice() if retried else None, delay=delay, priority=priority
        )
        try:
            job.handle = self.do(options.submit(job.run))
        except TaskQueueFullError:
            assert waiting >= PLACES
            self.rejected += 1
            job.final = TaskStatus.CANCELLED  # never taken; nothing may be done with it
            return job
        self.all.append(job)
        return job

    @rule(job=jobs, succeeds=st.booleans())
    def let_end(self, job: Job, succeeds: bool) -> None:
        if not job.running or job.gates[-1].done():
            return
        status, attempt = status_of(job), len(job.gates)
        job.gates[-1].set_result(succeeds)
        self.do(asyncio.sleep(0))
        if status is not TaskStatus.RUNNING:
            assert status_of(job) is status or status is TaskStatus.RETRYING
        elif succeeds:
            assert status_of(job) is TaskStatus.SUCCEEDED
        else:
            over = TaskStatus.DEAD if job.attempts > 1 else TaskStatus.FAILED
            assert status_of(job) is (TaskStatus.RETRYING if attempt < job.attempts else over)

    @rule(job=jobs)
    def cancel(self, job: Job) -> None:
        if job not in self.all:
            return
        before = status_of(job)
        assert self.do(job.handle.cancel()) is (not before.final)
        assert status_of(job) is (before if before.final else TaskStatus.CANCELLED)

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 3.0]))
    def pass_time(self, seconds: float) -> None:
        due = [
            (job, len(job.gates))
            for job in self.all
            if status_of(job) is TaskStatus.RUNNING
            and job.deadline is not None
            and job.deadline <= self.loop.time() + seconds
        ]
        self.loop.clock.advance(seconds)
        self.do(asyncio.sleep(0))
        for job, attempt in due:
            over = TaskStatus.DEAD if job.attempts > 1 else TaskStatus.TIMED_OUT
            assert status_of(job) is (TaskStatus.RETRYING if attempt < job.attempts else over)

    @invariant()
    def each_task_has_one_final_status(self) -> None:
        for job in self.all:
            status = status_of(job)
            if job.final is not None:
                assert status is job.final
            elif status.final:
                job.final = status
            assert self.finished.count(job.handle.id) == status.final
            assert len(job.gates) <= job.attempts

    @invariant()
    def the_books_balance(self) -> None:
        now = self.executor.statistics()
        really = sum(job.running for job in self.all)
        assert really == now.running + now.zombies <= SLOTS
        assert now.submitted == len(self.all)
        assert now.rejected == self.rejected
        in_a_status = now.succeeded + now.failed + now.timed_out + now.cancelled + now.lost + now.dead + now.expired
        in_a_status += now.scheduled + now.queued + now.running + now.retrying
        assert in_a_status == len(self.all)
        assert not (now.queued and really < SLOTS), "a slot is free and something waits"

    def teardown(self) -> None:
        for job in self.all:
            if job.running and not job.gates[-1].done() and job.stubborn:
                job.gates[-1].set_result(True)
        self.do(self.executor.aclose())
        assert all(status_of(job).final for job in self.all)
        self.each_task_has_one_final_status()
        assert (self.executor.statistics().running, self.executor.statistics().zombies) == (0, 0)
        self.loop.close()


TestTasks = Tasks.TestCase
TestTasks.settings = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
