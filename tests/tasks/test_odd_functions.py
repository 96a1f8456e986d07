"""Functions that raise, return and do odd things: each has an end that says so, and the executor goes on."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import TaskError, TaskTimeoutError
from creatormate_resilience.tasks import (
    HistoryLimits,
    TaskExecutor,
    TaskFinished,
    TaskStarted,
    TaskStatus,
    current_task,
)

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class FrozenError(Exception):
    """Refuses every assignment, also Python's own attributes."""

    code: int


class UnprintableError(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class UncausedError(Exception):
    """Guards its attributes."""

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("read only")


class EqualError(Exception):
    """Equal to nothing, and cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")


class RingError(Exception):
    """Its own cause."""

    def __init__(self) -> None:
        super().__init__()
        self.__cause__ = self


ODD: tuple[Callable[[], BaseException], ...] = (
    lambda: FrozenError(3),
    UnprintableError,
    UncausedError,
    EqualError,
    RingError,
    lambda: ExceptionGroup("several", [FrozenError(1), UnprintableError()]),
    lambda: BaseExceptionGroup("several", [KeyboardInterrupt(), FrozenError(1)]),
    GeneratorExit,
    StopIteration,
    StopAsyncIteration,
    lambda: RecursionError("deep"),
    MemoryError,
)


def raises(make: Callable[[], BaseException]) -> None:
    raise make()


async def raises_async(make: Callable[[], BaseException]) -> None:
    raise make()


class Once:
    max_attempts = 2

    def delay_before(self, attempt: int, error: BaseException) -> float | None:
        return 0.0


@pytest.mark.parametrize("retry", [None, Once()], ids=["once", "twice"])
@pytest.mark.parametrize("function", [raises, raises_async])
async def test_an_odd_exception_is_a_failure(executor: TaskExecutor, function: Any, retry: Any) -> None:
    """Its waiters wake, its record can be read, its slot is free, and nothing else notices."""
    for make in ODD:
        handle = await executor.options(retry=retry).submit(function, make)
        with pytest.raises(TaskError):
            await handle.result(timeout=10)
        assert await handle.status() is (TaskStatus.FAILED if retry is None else TaskStatus.DEAD)
        assert (await executor.get(handle.id)).error
    assert await executor.drain(timeout=10)
    now = executor.statistics()
    assert (now.running, now.zombies) == (0, 0)


def raises_frozen() -> None:
    raise FrozenError(3)


async def test_a_frozen_exception_comes_out_of_a_process(executor: TaskExecutor) -> None:
    """What was raised is named, not what went wrong while it was packed."""
    with pytest.raises(TaskError) as caught:
        await (await executor.options(run_in="process").submit(raises_frozen))
    assert "FrozenError" in f"{caught.value} {caught.value.cause_chain}"
    assert "FrozenInstanceError" not in str(caught.value)


who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


async def test_events_of_a_task_are_told_in_its_own_context_or_in_none() -> None:
    """A listener that logs a request's id must never log another request's."""
    seen: list[tuple[str, str, str]] = []

    def listen(event: Event) -> None:
        if isinstance(event, TaskStarted | TaskFinished):
            seen.append((type(event).__name__, event.name, who.get()))

    async with TaskExecutor(max_concurrent=1, listeners=(listen,)) as executor:
        for name in ("first", "second", "third"):
            who.set(name)
            await executor.options(name=name, timeout=0.01).submit(asyncio.sleep, 60)
        who.set("nobody")
        await executor.drain()
    assert len(seen) == 6
    assert [entry for entry in seen if entry[2] not in {entry[1], "nobody"}] == []


class Big:
    """Something that can be watched being freed."""


async def test_nothing_of_a_task_is_kept_by_the_timers_of_others(executor: TaskExecutor) -> None:
    """A request's context variables are freed with its task, although an hour's timer began with it."""
    holder: contextvars.ContextVar[Big] = contextvars.ContextVar("holder")

    async def submits() -> weakref.ref[Big]:
        big = Big()
        holder.set(big)
        await (await executor.options(timeout=3600.0).submit(asyncio.sleep, 0))
        return weakref.ref(big)

    ref = await asyncio.create_task(submits())
    await asyncio.sleep(0)
    gc.collect()
    assert ref() is None


async def test_ten_thousand_failures_leave_memory_flat(caplog: pytest.LogCaptureFixture) -> None:
    """Exceptions with tracebacks, arguments and local variables: what is kept is bounded by the history."""
    caplog.set_level("CRITICAL", logger="creatormate_resilience.tasks")  # pytest keeps what is logged

    async def fails(number: int) -> None:
        held = [number] * 100
        raise ValueError(str(len(held)))

    async with TaskExecutor(max_queue=2000, history=HistoryLimits(max_count=100), max_loop_lag=None) as executor:

        async def blocks_after(count: int) -> int:
            for _ in range(count):
                await executor.submit_many(fails, [(n,) for n in range(1000)])
                while executor.statistics().queued or executor.statistics().running:
                    await asyncio.sleep(0)
            gc.collect()
            return sys.getallocatedblocks()

        before = await blocks_after(2)
        grown = await blocks_after(8) - before
        assert executor.statistics().failed == 10_000
        assert grown < 2000, "a quarter of a block of memory for each task"


async def test_a_thread_that_ends_after_the_loop_has_gone_harms_nobody() -> None:
    """The executor was closed without waiting; the thread's late end is nobody's business."""
    gate, errors = threading.Event(), list[BaseException]()

    def elsewhere() -> None:
        async def main() -> None:
            executor = TaskExecutor()
            await executor.start()
            await executor.submit(gate.wait, 20)
            await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.1, gate.set)
            await executor.aclose(grace=0.0)

        try:
            asyncio.run(main())
        except BaseException as error:
            errors.append(error)

    await asyncio.to_thread(elsewhere)
    assert not errors


@pytest.mark.parametrize("run_in", ["async", "thread"])
async def test_the_end_of_the_event_loop_ends_tasks_that_have_just_been_submitted(run_in: Any) -> None:
    """Cancelled before their first step by `asyncio.run`, they are CANCELLED, and Python has nothing to warn of."""
    statuses: list[TaskStatus] = []

    async def works() -> None:
        await asyncio.sleep(60)

    def elsewhere() -> None:
        async def main() -> Any:
            executor = TaskExecutor(max_loop_lag=None)
            await executor.start()
            handles = [
                await executor.options(run_in=run_in).submit(works if run_in == "async" else len, *()) for _ in range(2)
            ]
            return executor, handles

        async def closes(executor: TaskExecutor) -> None:
            await executor.aclose(grace=0.0)

        loop = asyncio.new_event_loop()
        try:
            executor, handles = loop.run_until_complete(main())
            for one in asyncio.all_tasks(loop):
                one.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(asyncio.sleep(0.01))
            statuses.extend(loop.run_until_complete(handle.status()) for handle in handles)
            loop.run_until_complete(closes(executor))
        finally:
            loop.close()

    await asyncio.to_thread(elsewhere)
    gc.collect()
    assert set(statuses) <= {TaskStatus.CANCELLED, TaskStatus.FAILED}


async def test_a_timeout_that_strikes_while_the_result_is_on_its_way_is_one_end(executor: TaskExecutor) -> None:
    """Whichever is first: one final status, one event, and the waiters see the same."""
    for _ in range(50):
        handle = await executor.options(timeout=0.001).submit(asyncio.sleep, 0.001, "done")
        try:
            assert await handle == "done"
            assert await handle.status() is TaskStatus.SUCCEEDED
        except TaskTimeoutError:
            assert await handle.status() is TaskStatus.TIMED_OUT
    with anyio.fail_after(10):
        while executor.statistics().zombies:
            await asyncio.sleep(0.001)
    now = executor.statistics()
    assert now.succeeded + now.timed_out == 50


@pytest.fixture
async def one(anyio_backend: Any) -> AsyncIterator[TaskExecutor]:
    async with TaskExecutor(max_concurrent=1) as executor:
        yield executor


async def test_a_task_may_submit_cancel_and_list_itself(one: TaskExecutor) -> None:
    """What a task does to the executor it runs in is done in order."""
    handles: list[Any] = []

    async def parent() -> str:
        handles.append(await one.submit(asyncio.sleep, 0, "child"))
        assert [record.status for record in await one.list()] == [TaskStatus.QUEUED, TaskStatus.RUNNING]
        return "parent"

    async def cancels_itself() -> str:
        assert await handles[-1].cancel()
        await asyncio.sleep(60)
        return "never"

    assert await (await one.submit(parent)) == "parent"
    assert await handles[0] == "child"
    handles.append(await one.submit(cancels_itself))
    with pytest.raises(TaskError):
        await handles[-1]
    assert await one.drain(timeout=10)


@pytest.mark.parametrize("arguments", [[1, 2], ["ab"], [None], [[1, 2]], [{"a": 1}]])
async def test_submit_many_takes_tuples(executor: TaskExecutor, arguments: Any) -> None:
    """A list of plain values is a mistake that would call the function with the letters of a text."""
    with pytest.raises(TypeError, match="arguments"):
        await executor.submit_many(asyncio.sleep, arguments)
    assert executor.statistics().submitted == 0


@dataclass
class Secretive:
    """Shows its secret to whoever prints it."""

    secret: str

    def __call__(self, _password: str) -> Any:
        return asyncio.sleep(0)


@pytest.mark.parametrize("fn", [Secretive("hunter2"), functools.partial(Secretive("hunter2"))])
async def test_a_sync_function_that_returns_an_awaitable_is_told_without_its_arguments(
    executor: TaskExecutor, fn: Any
) -> None:
    """The error names the function and what to do; what it was called with stays out of the record and the log."""
    handle = await executor.submit(fn, "hunter2")
    with pytest.raises(TaskError) as caught:
        await handle
    assert "Secretive returned an awaitable, which nobody awaits" in str(caught.value.__cause__)
    assert "`async def`" in str(caught.value.__cause__)
    record = await handle.record()
    assert record.error is not None
    assert "hunter2" not in record.error


async def test_what_was_submitted_after_a_function_that_is_gone_is_looked_at_anew(executor: TaskExecutor) -> None:
    """None is not taken for the last function, of which nothing is left."""

    async def passing() -> int:
        return 1

    assert await (await executor.submit(passing)) == 1
    del passing
    gc.collect()
    nothing: Any = None
    with pytest.raises(TypeError, match="fn is a NoneType"):
        await executor.submit(nothing)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit, FrozenError])
async def test_an_error_that_was_told_is_not_logged_by_the_event_loop_too(
    executor: TaskExecutor, raised: type[BaseException]
) -> None:
    """Asyncio's own line about it would show everything in it, unredacted."""
    seen: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: seen.append(context))

    def raises() -> None:
        raise raised("password=hunter2")

    try:
        handle = await executor.submit(raises)
        with pytest.raises(TaskError):
            await handle
        del handle
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(before)
    assert not seen


async def test_progress_is_a_line_and_not_a_log(executor: TaskExecutor) -> None:
    """Ten thousand records are kept; what a task says of itself in each is bounded, and is text or nothing."""

    def speaks(message: Any) -> None:
        current_task().set_progress(0.5, message)

    handle = await executor.submit(speaks, "x" * 1_000_000)
    await handle
    progress = await handle.progress()
    assert progress is not None
    assert progress.message == "x" * 499 + "…"
    with pytest.raises(TaskError) as caught:
        await (await executor.submit(speaks, 5))
    assert "message is a int; accepted is a text, or None" in str(caught.value.__cause__)


@pytest.mark.parametrize("fraction", ["half", None])
async def test_a_fraction_that_is_no_number_is_told(executor: TaskExecutor, fraction: Any) -> None:
    """The error says what is accepted."""
    with pytest.raises(TaskError) as caught:
        await (await executor.submit(lambda: current_task().set_progress(fraction)))
    assert "accepted is 0 to 1" in str(caught.value.__cause__)
