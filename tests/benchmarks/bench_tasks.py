"""What the task executor costs beside bare tasks and its peers, and what it keeps in memory.

Run with `nox -s benchmarks -- -s` to see the tables. Figures are ratios within one run; nothing here asserts a time.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import anyio
import pytest
from aiojobs import Scheduler

from creatormate_resilience.tasks import HistoryLimits, TaskExecutor, TaskPriority

TASKS, ROUNDS, WORKERS = 100_000, 5, 32


async def nothing() -> None:
    """A task that does nothing."""


async def fails() -> None:
    raise ValueError("expected")


async def bare(count: int) -> None:
    await asyncio.gather(*[asyncio.create_task(nothing()) for _ in range(count)])


def executor_for(count: int) -> TaskExecutor:
    limits = HistoryLimits(max_count=1000)
    return TaskExecutor(max_concurrent=WORKERS, max_queue=max(1000, count), when_full="wait", history=limits)


async def one_by_one(count: int) -> None:
    """A queue of a thousand, into which submitting waits."""
    async with executor_for(0) as executor:
        tracked = executor.options(timeout=60.0, priority=TaskPriority.HIGH)
        for _ in range(count):
            await tracked.submit(nothing)
        await executor.drain()


async def all_at_once(count: int) -> None:
    async with executor_for(count) as executor:
        tracked = executor.options(timeout=60.0, priority=TaskPriority.HIGH)
        await tracked.submit_many(nothing, [()] * count)
        await executor.drain()


async def memory_stream(count: int) -> None:
    send, receive = anyio.create_memory_object_stream[Callable[[], Awaitable[None]]](1000)

    async def work() -> None:
        async for job in receive:
            await job()

    async with anyio.create_task_group() as group:
        for _ in range(WORKERS):
            group.start_soon(work)
        async with send:
            for _ in range(count):
                await send.send(nothing)
    receive.close()


async def aiojobs_scheduler(count: int) -> None:
    scheduler = Scheduler(limit=100, pending_limit=1000)
    for _ in range(count):
        await scheduler.spawn(nothing())
    await scheduler.wait_and_close(timeout=60)


VARIANTS = {
    "asyncio.create_task + gather": bare,
    "TaskExecutor, submit_many": all_at_once,
    "TaskExecutor, submit, a queue of 1,000": one_by_one,
    "anyio memory stream, 32 workers": memory_stream,
    "aiojobs, 100 at once": aiojobs_scheduler,
}


async def test_a_hundred_thousand_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    """With tracking, a timeout and a priority each; the executor's rate beside bare tasks and beside its peers."""
    seen: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name, run in VARIANTS.items():
            gc.collect()
            began = time.perf_counter()
            await run(TASKS)
            seen[name].append((time.perf_counter() - began) / TASKS * 1e6)
    base = seen["asyncio.create_task + gather"]
    lines = [f"{'':42}{'min us':>9}{'median us':>11}{'rate, min':>11}{'rate, median':>14}"]
    for name, costs in seen.items():
        least, middle = min(costs), statistics.median(costs)
        lines.append(
            f"{name:42}{least:>9.2f}{middle:>11.2f}{min(base) / least:>11.2f}{statistics.median(base) / middle:>14.2f}"
        )
    with capsys.disabled():
        print("\n" + "\n".join(lines))


async def test_the_latency_that_is_added(capsys: pytest.CaptureFixture[str]) -> None:
    """One task after the other, from its submission to its result, beside a bare task."""

    async def times(run: Callable[[], Awaitable[object]]) -> list[float]:
        seen = []
        for _ in range(5000):
            began = time.perf_counter()
            await run()
            seen.append((time.perf_counter() - began) * 1e6)
        return sorted(seen)

    async with executor_for(0) as executor:
        tracked = executor.options(timeout=60.0, priority=TaskPriority.HIGH)

        async def ours() -> None:
            await (await tracked.submit(nothing))

        rounds = [(await times(lambda: asyncio.create_task(nothing())), await times(ours)) for _ in range(5)]
    added = [ours[len(ours) // 2] - bare[len(bare) // 2] for bare, ours in rounds]
    tail = [ours[-len(ours) // 100] - bare[-len(bare) // 100] for bare, ours in rounds]
    with capsys.disabled():
        print(
            f"\nadded p50 {min(added):.1f} us (median of rounds {statistics.median(added):.1f}), p99 {min(tail):.1f} us"
        )


async def test_what_a_finished_task_keeps(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes of a record in the history, with its id, its times and its place there."""
    count = 20_000
    async with TaskExecutor(max_queue=100, when_full="wait", history=HistoryLimits(max_count=2 * count)) as executor:
        tracked = executor.options(timeout=60.0, priority=TaskPriority.HIGH, tags={"user_id": "u1"})
        for _ in range(1000):
            await tracked.submit(nothing)
        gc.collect()
        tracemalloc.start()
        for _ in range(count):
            await tracked.submit(nothing)
        while executor.statistics().running or executor.statistics().queued:
            await asyncio.sleep(0.001)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    with capsys.disabled():
        print(f"\n{kept / count:.0f} bytes for each finished task")


async def test_a_million_failures(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Resident memory after each hundred thousand."""
    caplog.set_level("CRITICAL", logger="creatormate_resilience.tasks")  # pytest keeps what is logged
    seen = []
    async with executor_for(0) as executor:
        for _ in range(10):
            for _ in range(100_000):
                await executor.submit(fails)
            gc.collect()
            seen.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    with capsys.disabled():
        print(f"\nlargest resident memory, MiB, after each 100,000 failures: {seen}")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]
