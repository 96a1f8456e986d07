"""What a timeout and a cancellation can stop, and what is said of what they cannot."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio import from_thread

from creatormate_resilience.exceptions import TaskCancelledError, TaskTimeoutError
from creatormate_resilience.tasks import TaskExecutor, TaskStatus, current_task

pytestmark = pytest.mark.anyio
SOON = 0.02


async def until(condition: Any) -> None:
    """Let the event loop turn until something holds."""
    with anyio.fail_after(10):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
async def threads() -> AsyncIterator[TaskExecutor]:
    """Four threads."""
    async with TaskExecutor(max_threads=4) as executor:
        yield executor


async def test_an_async_task_is_cancelled_at_its_deadline(executor: TaskExecutor) -> None:
    """Its own cleanup runs, and its slot is free again."""
    cleaned: list[int] = []

    async def works() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(1)

    handle = await executor.options(timeout=SOON).submit(works)
    with pytest.raises(TaskTimeoutError, match=r"longer than 0\.02 s"):
        await handle
    await until(lambda: executor.statistics().zombies == 0)
    assert (cleaned, await handle.status()) == ([1], TaskStatus.TIMED_OUT)


async def test_a_swallowed_cancellation_is_still_a_timeout(executor: TaskExecutor) -> None:
    """TIMED_OUT at the deadline, cancelled again until it ends, and what it returns then is not its result."""
    swallowed: list[int] = []

    async def stubborn() -> str:
        while len(swallowed) < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed.append(1)
        return "late"

    handle = await executor.options(timeout=SOON).submit(stubborn)
    with pytest.raises(TaskTimeoutError):
        await handle
    assert executor.statistics().zombies == 1, "it holds its slot as long as it runs"
    await until(lambda: executor.statistics().zombies == 0)
    assert (len(swallowed), await handle.status()) == (3, TaskStatus.TIMED_OUT)


async def test_an_async_task_that_blocked_the_loop_past_its_deadline_has_timed_out(executor: TaskExecutor) -> None:
    """Nothing could interrupt it, but it did not succeed in time."""

    async def blocks() -> str:
        time.sleep(0.05)
        return "late"

    with pytest.raises(TaskTimeoutError):
        await (await executor.options(timeout=SOON).submit(blocks))


async def test_a_thread_that_does_not_look_keeps_its_slot(threads: TaskExecutor) -> None:
    """Thirty timed-out threads never run more than four at once, and each counts as a zombie while it runs."""
    gate, lock, running, most = threading.Event(), threading.Lock(), [0], [0]

    def hangs() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        assert gate.wait(20)
        with lock:
            running[0] -= 1

    handles = list(await threads.options(timeout=SOON).submit_many(hangs, [()] * 30))
    for handle in handles[:4]:
        with pytest.raises(TaskTimeoutError):
            await handle
    now = threads.statistics()
    assert (now.zombies, now.running, now.queued, now.timed_out) == (4, 0, 26, 4)
    assert await (await threads.submit(asyncio.sleep, 0, "the loop has slots")) == "the loop has slots"
    gate.set()
    await until(lambda: not any((now.zombies, now.queued, now.running)) if (now := threads.statistics()) else False)
    assert all([(await handle.status()).final for handle in handles])
    assert most[0] == 4
    assert {await handle.status() for handle in handles[:4]} == {TaskStatus.TIMED_OUT}


@pytest.mark.parametrize("way", ["timeout", "cancel"])
async def test_a_thread_that_looks_stops(threads: TaskExecutor, way: str) -> None:
    """`anyio.from_thread.check_cancelled()` raises in it after its deadline, and after `cancel`."""
    stopped, started = threading.Event(), threading.Event()

    def polite() -> None:
        started.set()
        try:
            while True:
                from_thread.check_cancelled()
                time.sleep(0.001)
        finally:
            stopped.set()

    handle = await threads.options(timeout=SOON if way == "timeout" else 60.0).submit(polite)
    await until(started.is_set)
    if way == "cancel":
        assert await handle.cancel()
    with pytest.raises(TaskTimeoutError if way == "timeout" else TaskCancelledError):
        await handle
    await until(lambda: threads.statistics().zombies == 0)
    assert stopped.is_set()


async def test_a_cancelled_thread_is_cancelled_although_it_returns(threads: TaskExecutor) -> None:
    """The status is final at the cancellation; what the thread does afterwards changes nothing."""
    gate, started = threading.Event(), threading.Event()

    def works() -> str:
        started.set()
        assert gate.wait(10)
        current_task().set_progress(1.0)
        return "late"

    handle = await threads.submit(works)
    await until(started.is_set)
    assert await handle.cancel()
    assert (await handle.status(), threads.statistics().zombies) == (TaskStatus.CANCELLED, 1)
    gate.set()
    await until(lambda: threads.statistics().zombies == 0)
    assert (await handle.status(), await handle.progress()) == (TaskStatus.CANCELLED, None)


class Twice:
    """Advises one retry, at once."""

    max_attempts = 2

    def delay_before(self, attempt: int, error: BaseException) -> float | None:
        return 0.0


async def test_a_timed_out_attempt_is_made_again_when_the_first_has_really_ended(threads: TaskExecutor) -> None:
    """RETRYING at the deadline; two attempts of one task never run at once."""
    gate, running = threading.Event(), list[int]()

    def hangs_once() -> int:
        running.append(current_task().attempt)
        if len(running) == 1:
            assert gate.wait(10)
        return current_task().attempt

    handle = await threads.options(timeout=0.2, retry=Twice()).submit(hangs_once)
    await until(lambda: threads.statistics().retrying == 1)
    await asyncio.sleep(SOON)
    assert (running, threads.statistics().zombies) == ([1], 1)
    gate.set()
    assert await handle == 2
    assert running == [1, 2]


async def test_cancelling_between_two_attempts_ends_the_task(threads: TaskExecutor) -> None:
    """Also while the first attempt still runs: the second is never made."""
    gate, runs = threading.Event(), list[int]()

    def hangs() -> None:
        runs.append(1)
        assert gate.wait(10)

    handle = await threads.options(timeout=SOON, retry=Twice()).submit(hangs)
    await until(lambda: threads.statistics().retrying == 1)
    assert await handle.cancel()
    gate.set()
    await until(lambda: threads.statistics().zombies == 0)
    assert (runs, await handle.status()) == ([1], TaskStatus.CANCELLED)


async def test_a_function_that_cancels_itself_is_cancelled(executor: TaskExecutor) -> None:
    """A CancelledError nobody of ours asked for is neither success nor failure."""

    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    with pytest.raises(TaskCancelledError):
        await (await executor.submit(cancels_itself))
