"""The end of an executor: bounded, and telling of each task what became of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.tasks.fake_time import world

from creatormate_resilience.exceptions import ShuttingDownError, TaskCancelledError
from creatormate_resilience.tasks import ShutdownReport, TaskExecutor, TaskHandle, TaskStatus

pytestmark = pytest.mark.anyio
GROUPS = ("finished", "never_started", "stopped", "killed", "left")


def groups(report: ShutdownReport) -> dict[str, set[str]]:
    """Names of the tasks in each group; each task is in one."""
    found = {group: [record.name for record in getattr(report, group)] for group in GROUPS}
    everything = [record.id for group in GROUPS for record in getattr(report, group)]
    assert len(everything) == len(set(everything))
    return {group: set(names) for group, names in found.items() if names}


def busy_process(file: str) -> None:
    Path(file).touch()
    while True:
        pass


class Later:
    max_attempts = 9

    def delay_before(self, attempt: int, error: BaseException) -> float | None:
        return 60.0


async def test_the_report_tells_of_each_task(tmp_path: Path) -> None:
    """What finished in time, never started, was stopped, was killed, and what is still there."""
    gate, released, may_end = threading.Event(), asyncio.Event(), asyncio.Event()
    executor, file = TaskExecutor(max_concurrent=5), tmp_path / "started"
    await executor.start()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    async def submit(name: str, fn: Any, *args: Any, **options: Any) -> TaskHandle[Any]:
        return await executor.options(name=name, **options).submit(fn, *args)

    try:
        handles = [
            await submit("process", busy_process, str(file), run_in="process"),
            await submit("ends", may_end.wait),
            await submit("sleeps", asyncio.sleep, 60),
            await submit("stubborn", stubborn),
            await submit("thread", gate.wait, 30),
            await submit("delayed", asyncio.sleep, 0, delay=60.0),
            await submit("queued", asyncio.sleep, 60),
            await submit("cancelled before", asyncio.sleep, 60),
        ]
        await handles[-1].cancel()
        with anyio.fail_after(20):
            while not file.exists():
                await asyncio.sleep(0.001)
        asyncio.get_running_loop().call_later(0.05, may_end.set)
        report = await executor.shutdown(drain=0.4, grace=0.6)
        assert groups(report) == {
            "finished": {"ends"},
            "never_started": {"delayed"},
            "stopped": {"sleeps", "queued"},  # it started in the slot that the first one left
            "killed": {"process"},
            "left": {"stubborn", "thread"},
        }
        assert all([(await handle.status()).final for handle in handles])
        assert str(report) == "1 finished, 1 never started, 2 stopped, 1 killed, 2 left"
        assert groups(await executor.shutdown(grace=0.0)) == {"left": {"stubborn", "thread"}}
    finally:
        gate.set()
        released.set()
    with anyio.fail_after(10):
        while executor.statistics().zombies:
            await asyncio.sleep(0.001)


def test_a_task_that_had_started_is_not_said_never_to_have() -> None:
    """One that rested between two attempts, and one that somebody cancelled while the executor drained."""
    with world(max_concurrent=1) as w:

        async def fails() -> None:
            raise ValueError

        resting = w.loop.do(w.executor.options(name="resting", retry=Later()).submit(fails))
        assert w.status(resting) is TaskStatus.RETRYING
        running = w.submit("running")
        w.submit("queued")
        shutdown = w.loop.later(w.executor.shutdown(drain=5.0, grace=1.0))
        w.loop.do(running.cancel())
        w.let_end("queued")
        w.loop.pass_time(5.0)
        w.loop.pass_time(1.0)
        assert groups(shutdown.result()) == {"finished": {"queued"}, "stopped": {"resting", "running"}}


def test_drain_counts_what_was_taken_and_nothing_is_lost_between_dequeue_and_start() -> None:
    """Tasks that are dequeued in the same turn as the drain begins run to their end."""
    with world(max_concurrent=2) as w:
        handles = [w.submit(f"{n}") for n in range(6)]

        async def drains() -> bool:
            w.gates["0"].set()
            w.gates["1"].set()
            return await w.executor.drain()

        drain = w.loop.later(drains())
        with pytest.raises(ShuttingDownError):
            w.submit("late")
        w.let_end(*(f"{n}" for n in range(6)))
        assert drain.result() is True
        assert [w.loop.do(handle.result()) for handle in handles] == [f"{n}" for n in range(6)]
        assert sorted(name for _, name in w.starts) == [f"{n}" for n in range(6)]


def test_a_drain_waits_for_delays_and_retries_but_not_beyond_its_time() -> None:
    """In fake time: false at its timeout, true when the last one has ended."""
    with world() as w:
        w.submit("delayed", delay=5.0)
        short = w.loop.later(w.executor.drain(timeout=3.0))
        long = w.loop.later(w.executor.drain(timeout=30.0))
        w.loop.pass_time(3.0)
        assert short.result() is False
        w.loop.pass_time(2.0)
        w.let_end("delayed")
        assert long.result() is True


async def test_a_shutdown_that_is_cancelled_leaves_no_watching_thread() -> None:
    """Whoever runs out of patience with the grace has still closed the executor."""
    before = watching()
    executor = TaskExecutor(name="impatient", max_loop_lag=0.01)
    await executor.start()
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    handle = await executor.submit(stubborn)
    await asyncio.sleep(0)
    closing = asyncio.create_task(executor.aclose(grace=60.0))
    await asyncio.sleep(0.01)
    closing.cancel()
    try:
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(TaskCancelledError):
            await handle
        with pytest.raises(ShuttingDownError):
            await executor.submit(stubborn)
        with anyio.fail_after(10):
            while watching() != before:
                await asyncio.sleep(0.001)
    finally:
        released.set()
    with anyio.fail_after(10):
        while executor.statistics().zombies:
            await asyncio.sleep(0.001)


def watching() -> Sequence[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("impatient")]


async def test_the_watching_thread_ends_with_the_executor() -> None:
    """Thirty executors one after the other leave no threads."""
    for _ in range(30):
        async with TaskExecutor(name="impatient", max_loop_lag=0.05) as executor:
            await (await executor.submit(asyncio.sleep, 0))
    with anyio.fail_after(10):
        while watching():
            await asyncio.sleep(0.001)


async def test_shutting_down_twice_at_once_is_one_end(executor: TaskExecutor) -> None:
    """Each reports each task once, and both return."""
    await executor.options(name="sleeps").submit(asyncio.sleep, 60)
    reports = await asyncio.gather(executor.shutdown(grace=5.0), executor.shutdown(grace=5.0))
    assert {"stopped": {"sleeps"}} in [groups(report) for report in reports]
    now = executor.statistics()
    assert (now.cancelled, now.running, now.zombies) == (1, 0, 0)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf"), "soon", None])
async def test_a_bad_time_is_refused_and_nothing_is_closed(executor: TaskExecutor, wrong: Any) -> None:
    """The error names the parameter."""
    for close, parameter in ((executor.shutdown, "drain"), (executor.shutdown, "grace"), (executor.aclose, "grace")):
        with pytest.raises((ValueError, TypeError), match=f"{parameter} is .*accepted"):
            await close(**{parameter: wrong})
    assert await (await executor.submit(asyncio.sleep, 0, 1)) == 1


async def test_a_closing_task_that_was_cancelled_still_waits_in_bounded_time(anyio_backend: Any) -> None:
    """Executors are closed by what is being cancelled; Python 3.11.2's own timeouts do not work there."""
    gate, reports = threading.Event(), list[ShutdownReport]()
    executor = TaskExecutor()
    await executor.start()
    await executor.submit(gate.wait, 30)

    async def closes_when_cancelled() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            reports.append(await executor.shutdown(drain=0.01, grace=0.01))

    closing = asyncio.create_task(closes_when_cancelled())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    gate.set()
    assert [len(report.left) for report in reports] == [1]
