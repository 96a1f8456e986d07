"""What is remembered of ended tasks, and for how long."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from creatormate_resilience.exceptions import ExternalAPIError, TaskError, TaskNotFoundError
from creatormate_resilience.tasks import HistoryLimits, TaskExecutor, TaskStatus
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_log_keeps_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="creatormate_resilience.tasks")  # pytest keeps what is logged


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def small(clock: FakeClock) -> AsyncIterator[TaskExecutor]:
    """Remembers three tasks for a minute."""
    async with TaskExecutor(history=HistoryLimits(max_count=3, max_age=60.0), clock=clock) as executor:
        yield executor


class Big:
    """Something that can be watched being freed."""


async def echo(value: object) -> object:
    return value


async def fails(value: object) -> None:
    held = value
    try:
        raise KeyError("inner")
    except KeyError:
        raise ExceptionGroup("several", [ValueError(str(type(held)))])  # noqa: B904


async def test_the_oldest_are_forgotten_when_there_are_too_many(small: TaskExecutor) -> None:
    """The count is a bound; who still holds the handle still has the result."""
    handles = [await small.submit(echo, n) for n in range(5)]
    assert [await handle for handle in handles] == [0, 1, 2, 3, 4]
    assert [record.id for record in await small.list()] == [handle.id for handle in reversed(handles[2:])]
    with pytest.raises(TaskNotFoundError, match="forgotten"):
        await small.get(handles[0].id)
    assert await handles[0] == 0


async def test_the_old_are_forgotten(small: TaskExecutor, clock: FakeClock) -> None:
    """The age is a bound."""
    handle = await small.submit(echo, 1)
    await handle
    clock.advance(60.0)
    assert (await small.get(handle.id)).status is TaskStatus.SUCCEEDED
    clock.advance(0.1)
    with pytest.raises(TaskNotFoundError):
        await small.result(handle.id)


@pytest.mark.parametrize("run_in", ["async", "thread"])
async def test_an_ended_task_holds_neither_arguments_nor_tracebacks(small: TaskExecutor, run_in: str) -> None:
    """Arguments and the local variables of a failed function are freed although the task is remembered."""
    big = Big()
    gone = weakref.ref(big)

    def fails_in_thread(value: object) -> None:
        held = value
        raise ValueError(str(type(held)))

    handle = await small.submit(fails if run_in == "async" else fails_in_thread, big)
    with pytest.raises(TaskError) as caught:
        await handle
    del big, caught
    await small.submit(echo, None)  # the worker thread lets go of its last call with its next one at the latest
    await (await small.submit(str, 1))
    gc.collect()
    assert gone() is None
    assert (await small.get(handle.id)).status is TaskStatus.FAILED


async def test_raising_the_same_error_again_and_again_adds_nothing_to_it(small: TaskExecutor) -> None:
    """Many waiters of one failed task do not grow its traceback."""

    async def refused() -> None:
        raise ExternalAPIError("OpenAI")

    handle = await small.submit(refused)
    depths: list[int] = []
    for _ in range(3):
        with pytest.raises(ExternalAPIError) as caught:
            await handle
        depths.append(len(caught.traceback))
    assert len(set(depths)) == 1


async def test_a_thousand_failures_leave_no_more_behind_than_the_history_allows(small: TaskExecutor) -> None:
    """Memory follows the history's bound, not the number of tasks."""
    gc.collect()
    watched = [Big() for _ in range(1000)]
    refs = [weakref.ref(big) for big in watched]
    handles = list(await small.submit_many(fails, [(big,) for big in watched]))
    await small.drain()
    del watched, handles
    gc.collect()
    assert sum(ref() is not None for ref in refs) == 0
    assert len(await small.list()) == 3
