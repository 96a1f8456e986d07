"""Submitting, waiting, looking, cancelling, closing."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from creatormate_resilience.deadline import deadline_scope, remaining_time
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import (
    ConfigurationError,
    ExternalAPIError,
    ShuttingDownError,
    TaskCancelledError,
    TaskError,
    TaskNotFoundError,
    TaskQueueFullError,
    TaskResultTimeoutError,
)
from creatormate_resilience.tasks import (
    TaskExecutor,
    TaskFinished,
    TaskHandle,
    TaskPriority,
    TaskRejected,
    TaskRetrying,
    TaskStarted,
    TaskStatus,
    current_task,
    task,
)

pytestmark = pytest.mark.anyio


async def add(a: int, b: int = 1) -> int:
    return a + b


async def options_as_arguments(*, timeout: int, priority: str, tags: str, name: str) -> tuple[int, str, str, str]:
    return timeout, priority, tags, name


@pytest.fixture
async def narrow() -> AsyncIterator[TaskExecutor]:
    """One slot, two places to wait."""
    async with TaskExecutor(max_concurrent=1, max_queue=2) as executor:
        yield executor


async def until(condition: Any) -> None:
    """Let the event loop turn until something holds."""
    with anyio.fail_after(10):
        while not condition():
            await asyncio.sleep(0.001)


async def becomes(handle: TaskHandle[Any], status: TaskStatus) -> None:
    """Let the event loop turn until a task stands there."""
    with anyio.fail_after(10):
        while await handle.status() is not status:
            await asyncio.sleep(0.001)


async def test_a_handle_gives_the_result(executor: TaskExecutor) -> None:
    """Awaiting it, `result`, and the executor by id agree."""
    handle = await executor.submit(add, 2, b=3)
    assert (await handle, await handle.result(), await executor.result(handle.id, timeout=0)) == (5, 5, 5)
    assert await handle.status() is TaskStatus.SUCCEEDED


async def test_auto_takes_the_loop_for_coroutine_functions_and_a_thread_for_others(executor: TaskExecutor) -> None:
    """Also for what wraps or imitates a function; never a process."""

    class Callable_:
        async def __call__(self) -> int:
            return threading.get_ident()

    here = threading.get_ident()
    assert await (await executor.submit(Callable_())) == here
    assert await (await executor.submit(functools.partial(add, 1), 5)) == 6
    handle = await executor.submit(threading.get_ident)
    assert await handle != here
    assert (await executor.get(handle.id)).run_in == "thread"


async def test_the_function_owns_every_keyword(executor: TaskExecutor) -> None:
    """Options are given elsewhere, so a function may have parameters of their names."""
    handle = await executor.options(timeout=5.0).submit(
        options_as_arguments, timeout=1, priority="a", tags="b", name="c"
    )
    assert await handle == (1, "a", "b", "c")


async def test_a_declaration_gives_options_and_the_submission_wins(executor: TaskExecutor) -> None:
    """`@task` holds for plain submissions; `options` overrides single values of it."""

    @task(name="analyse", priority=TaskPriority.LOW, tags={"agent": "content"})
    async def declared() -> str:
        return current_task().name

    plain = await executor.submit(declared)
    assert await plain == "analyse"
    record = await executor.get(plain.id)
    assert (record.priority, dict(record.tags)) == (TaskPriority.LOW, {"agent": "content"})
    urgent = await executor.options(priority=TaskPriority.CRITICAL).submit(functools.partial(declared))
    assert ((await executor.get(urgent.id)).priority, await urgent) == (TaskPriority.CRITICAL, "analyse")


async def test_submit_many_takes_all_or_none(narrow: TaskExecutor) -> None:
    """Three fit into one slot and two places; four do not, and then none is taken."""
    with pytest.raises(TaskQueueFullError) as caught:
        await narrow.submit_many(add, [(n,) for n in range(4)])
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 0
    assert narrow.statistics().submitted == 0
    assert [await handle for handle in await narrow.submit_many(add, [(n,) for n in range(3)])] == [1, 2, 3]
    assert narrow.statistics().rejected == 4


async def test_a_full_queue_refuses_and_takes_again_when_it_has_moved(narrow: TaskExecutor) -> None:
    """The refusal says when to come back, and leaves what waits alone."""
    gate = asyncio.Event()
    handles = [await narrow.submit(gate.wait) for _ in range(3)]
    with pytest.raises(TaskQueueFullError, match="2 of 2"):
        await narrow.submit(gate.wait)
    with pytest.raises(TaskQueueFullError):
        await narrow.options(delay=60.0).submit(gate.wait)
    assert await handles[1].cancel()
    handles.append(await narrow.submit(gate.wait))
    gate.set()
    assert [await handle.status() for handle in handles if not (await handle.status()).final] == [
        TaskStatus.RUNNING,
        TaskStatus.QUEUED,
        TaskStatus.QUEUED,
    ]
    assert [await handles[index] for index in (0, 2, 3)] == [True, True, True]


async def test_high_overtakes_low(narrow: TaskExecutor) -> None:
    """While the only slot is taken, later tasks of a higher priority pass earlier ones of a lower."""
    gate, order = asyncio.Event(), list[str]()

    async def note(name: str) -> None:
        order.append(name)

    await narrow.submit(gate.wait)
    low = await narrow.options(priority=TaskPriority.LOW).submit(note, "low")
    high = await narrow.options(priority=TaskPriority.HIGH).submit(note, "high")
    gate.set()
    await low
    await high
    assert order == ["high", "low"]


async def test_an_error_of_the_family_comes_back_as_it_is(executor: TaskExecutor) -> None:
    """A ResilienceError keeps its type and its advice; anything else is the cause of a TaskError."""

    async def refused() -> None:
        raise ExternalAPIError("OpenAI", "secret detail", retryable=True)

    async def broken() -> None:
        raise ZeroDivisionError("by zero")

    with pytest.raises(ExternalAPIError):
        await (await executor.submit(refused))
    handle = await executor.submit(broken)
    with pytest.raises(TaskError, match="failed with ZeroDivisionError") as caught:
        await handle
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert (await executor.get(handle.id)).error == "builtins.ZeroDivisionError: by zero"


@pytest.mark.parametrize("run_in", ["async", "thread", "process"])
async def test_a_task_that_exits_fails_and_nothing_else_ends(executor: TaskExecutor, run_in: Any) -> None:
    """`sys.exit()` in a task is its failure, not the end of the service."""

    async def leaves() -> None:
        raise SystemExit(3)

    function: Any = leaves if run_in == "async" else exits
    with pytest.raises(TaskError, match=r"exit|Exit"):
        await (await executor.options(run_in=run_in).submit(function))
    assert await (await executor.submit(add, 1)) == 2


def exits() -> None:
    raise SystemExit(3)


async def test_a_wait_that_times_out_leaves_the_task_alone(executor: TaskExecutor) -> None:
    """The waiter gets TaskResultTimeoutError; the task goes on and can be waited for again."""
    gate = asyncio.Event()
    handle = await executor.submit(gate.wait)
    for timeout in (0, 0.01):
        with pytest.raises(TaskResultTimeoutError):
            await executor.result(handle.id, timeout=timeout)
    gate.set()
    assert await handle is True


async def test_a_cancelled_waiter_leaves_nothing_and_cancels_nothing(executor: TaskExecutor) -> None:
    """A disconnected client costs the task nothing and leaves no future behind."""
    gate = asyncio.Event()
    handle = await executor.submit(gate.wait)
    waiters = [asyncio.create_task(handle.result()) for _ in range(3)]
    await until(lambda: len(handle._task.waiters or ()) == 3)
    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)
    assert not handle._task.waiters
    gate.set()
    assert await handle is True


async def test_an_unknown_id_is_an_error_and_never_pending(executor: TaskExecutor) -> None:
    """Never submitted, and another executor's: two messages, one type."""
    with pytest.raises(TaskNotFoundError, match="never submitted"):
        await executor.get(f"{(await executor.submit(add, 1)).id[:-4]}0000")
    async with TaskExecutor() as other:
        foreign = await other.submit(add, 1)
        await foreign
        for ask in (executor.result, executor.cancel):
            with pytest.raises(TaskNotFoundError, match=f"executor '{foreign.id[:8]}'.*only to the process"):
                await ask(foreign.id)
    with pytest.raises(TypeError, match="task_id"):
        await executor.get(7)  # type: ignore[arg-type]


async def test_tasks_are_found_by_status_and_by_tags(executor: TaskExecutor) -> None:
    """All tags that are asked for must be there."""
    gate = asyncio.Event()
    mine = await executor.options(tags={"user_id": 7, "agent": "content"}).submit(gate.wait)
    await (await executor.options(tags={"user_id": 8}).submit(add, 1))
    assert [record.id for record in await executor.list(tag={"user_id": 7})] == [mine.id]
    assert await executor.list(tag={"user_id": 7, "agent": "audience"}) == []
    assert [record.id for record in await executor.list(status=TaskStatus.RUNNING)] == [mine.id]
    assert len(await executor.list()) == 2
    for wrong in ({"status": "running"}, {"tag": "user_id"}):
        with pytest.raises(TypeError, match=r"accepted is a"):
            await executor.list(**wrong)  # type: ignore[arg-type]
    gate.set()
    await mine


async def test_a_waiting_task_that_is_cancelled_never_starts(narrow: TaskExecutor) -> None:
    """Cancelling it once is enough; a second time says that it had ended."""
    gate, started = asyncio.Event(), list[int]()
    await narrow.submit(gate.wait)

    async def start() -> None:
        started.append(1)

    waiting = await narrow.submit(start)
    later = await narrow.options(delay=60.0).submit(start)
    for handle in (waiting, later):
        assert await handle.cancel() is True
        assert await narrow.cancel(handle.id) is False
        with pytest.raises(TaskCancelledError):
            await handle
    gate.set()
    assert await narrow.drain()
    assert (started, narrow.statistics().cancelled) == ([], 2)


async def test_a_cancellation_at_the_first_step_is_not_lost(executor: TaskExecutor) -> None:
    """Between its start and its first step a task can be cancelled, and gives its slot back."""
    handles = [await executor.submit(asyncio.sleep, 60) for _ in range(40)]
    assert executor.statistics().running == 32
    assert all([await handle.cancel() for handle in handles])
    await until(lambda: executor.statistics().zombies == 0)
    assert executor.statistics().cancelled == 40
    assert await (await executor.submit(add, 1)) == 2


async def test_a_task_that_ended_before_its_cancellation_arrived_has_its_result(executor: TaskExecutor) -> None:
    """Who cancels too late is told so, and the outcome stands."""
    ended = asyncio.Event()

    async def works() -> str:
        ended.set()
        return "done"

    handle = await executor.submit(works)
    await ended.wait()
    assert await handle.cancel() is (await handle.status() is TaskStatus.CANCELLED)
    assert await handle.status() is TaskStatus.SUCCEEDED
    assert await handle == "done"


async def test_a_delayed_task_waits_first(executor: TaskExecutor) -> None:
    """It is SCHEDULED until its delay has passed on the event loop's clock."""
    handle = await executor.options(delay=0.02).submit(add, 1)
    assert await handle.status() is TaskStatus.SCHEDULED
    assert await handle == 2


async def test_progress_is_seen_from_outside(executor: TaskExecutor) -> None:
    """On the loop and in a thread; after the end the last one stays."""
    gate, reached = threading.Event(), threading.Event()

    def works() -> int:
        current_task().set_progress(0.4, "reading")
        reached.set()
        assert gate.wait(10)
        with pytest.raises(ValueError, match="fraction"):
            current_task().set_progress(1.5)
        return current_task().attempt

    handle = await executor.submit(works)
    await until(reached.is_set)
    progress = await handle.progress()
    assert progress is not None
    assert (progress.fraction, progress.message) == (0.4, "reading")
    gate.set()
    assert await handle == 1
    assert (await executor.get(handle.id)).progress == progress
    with pytest.raises(ConfigurationError, match="outside a task"):
        current_task()


request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")


async def test_the_submitters_context_goes_with_the_task(executor: TaskExecutor) -> None:
    """A copy of it, on the loop and in a thread; what a task sets stays its own."""

    async def reads() -> str:
        seen = request_id.get()
        request_id.set("changed")
        return seen

    request_id.set("r1")
    handles: list[TaskHandle[str]] = [await executor.submit(reads), await executor.submit(request_id.get)]
    request_id.set("r2")
    assert [await handle for handle in handles] == ["r1", "r1"]
    assert request_id.get() == "r2"


async def test_a_task_has_its_own_deadline_and_not_its_submitters(executor: TaskExecutor) -> None:
    """The request's deadline ends with the request; the task's timeout is what policies inside it see."""

    async def sees() -> float | None:
        return remaining_time()

    with deadline_scope(0.5):
        assert await (await executor.submit(sees)) is None
        inside = await (await executor.options(timeout=100.0).submit(sees))
    assert inside is not None
    assert 50 < inside <= 100


class Twice:
    """Advises one retry, at once."""

    max_attempts = 2

    def delay_before(self, attempt: int, error: BaseException) -> float | None:
        assert attempt == 1
        return None if isinstance(error, KeyError) else 0.0


async def test_a_failed_attempt_is_made_again_as_the_policy_advises(executor: TaskExecutor) -> None:
    """Until it succeeds, the attempts are used up, or the policy gives up."""
    again = executor.options(retry=Twice())

    async def fails_until(attempt: int, error: Exception) -> int:
        if current_task().attempt < attempt:
            raise error
        return current_task().attempt

    assert await (await again.submit(fails_until, 2, ValueError())) == 2
    exhausted = await again.submit(fails_until, 3, ValueError())
    with pytest.raises(TaskError):
        await exhausted
    given_up = await again.submit(fails_until, 2, KeyError())
    with pytest.raises(TaskError):
        await given_up
    assert [(await executor.get(handle.id)).attempts for handle in (exhausted, given_up)] == [2, 1]
    assert executor.statistics().retries == 2


@pytest.mark.parametrize("advice", [-1.0, float("nan"), "soon", None])
async def test_a_broken_retry_policy_does_not_lose_the_task(executor: TaskExecutor, advice: Any) -> None:
    """Nonsense or an exception from the policy is logged, and the task has failed with its own error."""

    class Broken:
        max_attempts = 5

        def delay_before(self, attempt: int, error: BaseException) -> float | None:
            if advice is None:
                raise RuntimeError("broken")
            return advice

    async def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(TaskError) as caught:
        await (await executor.options(retry=Broken()).submit(fails))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_listeners_hear_the_life_of_a_task() -> None:
    """Started, retrying, started, finished; and what was turned away. One that raises harms nobody."""
    heard: list[Event] = []

    def raises(_: Event) -> None:
        raise RuntimeError

    async def fails() -> None:
        raise ValueError

    async with TaskExecutor(name="jobs", max_concurrent=1, max_queue=1, listeners=(raises, heard.append)) as executor:
        with pytest.raises(TaskError):
            await (await executor.options(retry=Twice()).submit(fails))
        with pytest.raises(TaskQueueFullError):
            await executor.submit_many(add, [(1,), (2,), (3,)])
    assert [type(event) for event in heard] == [TaskStarted, TaskRetrying, TaskStarted, TaskFinished, TaskRejected]
    assert {event.source for event in heard} == {"jobs"}


async def test_statistics_add_up(narrow: TaskExecutor) -> None:
    """Each task is counted in exactly one status."""
    gate = asyncio.Event()

    async def fails() -> None:
        raise ValueError

    await (await narrow.submit(add, 1))
    with pytest.raises(TaskError):
        await (await narrow.submit(fails))
    await narrow.submit(gate.wait)
    await narrow.submit(gate.wait)
    await narrow.options(delay=60.0).submit(gate.wait)
    now = narrow.statistics()
    assert (now.succeeded, now.failed, now.running, now.queued, now.scheduled) == (1, 1, 1, 1, 1)
    assert now.submitted == 5
    assert now.oldest_wait > 0
    assert "1 running, 1 queued" in repr(narrow)


@pytest.mark.parametrize(
    ("run_in", "function", "message"),
    [
        ("thread", add, "coroutine function"),
        ("process", add, "coroutine function"),
        ("auto", 5, "fn is a int"),
        ("auto", lambda: (yield), "generator"),
        ("process", lambda: 1, "cannot be sent"),
    ],
)
async def test_what_cannot_run_is_refused_at_submission(
    executor: TaskExecutor, run_in: Any, function: Any, message: str
) -> None:
    """The error comes from `submit`, and nothing was taken."""
    with pytest.raises(TypeError, match=message):
        await executor.options(run_in=run_in).submit(function)
    assert executor.statistics().submitted == 0


async def test_a_coroutine_instead_of_a_function_is_refused_and_closed(executor: TaskExecutor) -> None:
    """Python's warning that it was never awaited does not come on top."""
    coroutine: Any = add(1)
    with pytest.raises(TypeError, match="already called"):
        await executor.submit(coroutine)
    del coroutine
    gc.collect()


async def test_what_returns_the_wrong_thing_fails_with_a_clear_error(executor: TaskExecutor) -> None:
    """A sync function that hands out a coroutine, and a plain one under run_in='async'."""
    returns_coroutine: Any = lambda: add(1)  # noqa: E731
    with pytest.raises(TaskError) as caught:
        await (await executor.submit(returns_coroutine))
    assert "awaitable" in str(caught.value.__cause__)
    assert await (await executor.options(run_in="async").submit(returns_coroutine)) == 2
    with pytest.raises(TaskError) as caught:
        await (await executor.options(run_in="async").submit(len, "abc"))
    assert "not an awaitable" in str(caught.value.__cause__)


async def test_before_the_start_and_after_the_end_nothing_is_taken() -> None:
    """Each has its own error; looking still works after the end."""
    executor = TaskExecutor()
    for ask in (executor.submit(add, 1), executor.drain()):
        with pytest.raises(ConfigurationError, match="not started"):
            await ask
    async with executor:
        with pytest.raises(ConfigurationError, match="started once"):
            await executor.start()
        handle = await executor.submit(add, 1)
        assert await handle == 2
    with pytest.raises(ShuttingDownError):
        await executor.submit(add, 1)
    assert await executor.result(handle.id) == 2
    await executor.aclose()
    unused = TaskExecutor()
    await unused.aclose()
    await unused.aclose()
    with pytest.raises(ShuttingDownError):
        await unused.submit(add, 1)


async def test_another_event_loop_gets_an_error(executor: TaskExecutor) -> None:
    """Submitting, waiting and cancelling from a foreign loop say so, and the task is not touched."""
    gate = asyncio.Event()
    handle = await executor.submit(gate.wait)

    def elsewhere() -> list[str]:
        async def tries() -> list[str]:
            messages: list[str] = []
            for ask in (executor.submit(add, 1), handle.result(), handle.cancel(), executor.aclose()):
                with pytest.raises(ConfigurationError) as caught:
                    await ask
                messages.append(str(caught.value))
            return messages

        return asyncio.run(tries())

    assert all("another event loop" in message for message in await asyncio.to_thread(elsewhere))
    gate.set()
    assert await handle is True


async def test_drain_waits_for_everything_and_takes_nothing_new() -> None:
    """Retries and delays included; with a timeout it says whether all have ended."""
    async with TaskExecutor(max_concurrent=1) as executor:
        gate = asyncio.Event()
        running = await executor.submit(gate.wait)
        handles = [await executor.submit(add, n) for n in range(20)]
        handles.append(await executor.options(delay=0.02).submit(add, 20))
        assert await executor.drain(timeout=0.01) is False
        with pytest.raises(ShuttingDownError):
            await executor.submit(add, 1)
        gate.set()
        assert await executor.drain() is True
        assert await running is True
        assert [await handle for handle in handles] == list(range(1, 22))


async def test_closing_cancels_what_has_not_ended_and_wakes_its_waiters() -> None:
    """Running, queued, scheduled and resting tasks all end CANCELLED, each once."""

    class Later:
        max_attempts = 9

        def delay_before(self, attempt: int, error: BaseException) -> float | None:
            return 60.0

    async def fails() -> None:
        raise ValueError

    executor = TaskExecutor(max_concurrent=1)
    await executor.start()
    resting = await executor.options(retry=Later()).submit(fails)
    await becomes(resting, TaskStatus.RETRYING)
    handles: list[TaskHandle[Any]] = [
        resting,
        await executor.submit(asyncio.sleep, 60),
        await executor.submit(add, 1),
        await executor.options(delay=60.0).submit(add, 1),
    ]
    waiters = [asyncio.create_task(handle.result()) for handle in handles]
    await asyncio.sleep(0)
    await executor.aclose()
    for waiter in waiters:
        with pytest.raises(TaskCancelledError):
            await waiter
    now = executor.statistics()
    assert (now.cancelled, now.submitted, now.zombies) == (4, 4, 0)


async def test_closing_is_bounded_when_a_function_does_not_stop() -> None:
    """What swallows every cancellation is left behind after the grace, named in the log, and cancelled no more."""
    released, cancelled = asyncio.Event(), list[int]()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                cancelled.append(1)

    executor = TaskExecutor()
    await executor.start()
    handle = await executor.submit(stubborn)
    await asyncio.sleep(0)
    started = time.monotonic()
    await executor.aclose(grace=0.1)
    assert time.monotonic() - started < 5
    assert await handle.status() is TaskStatus.CANCELLED
    count = len(cancelled)
    assert count >= 2
    await asyncio.sleep(0.2)
    assert len(cancelled) == count
    released.set()
    await until(lambda: executor.statistics().zombies == 0)


async def test_an_executor_that_was_not_closed_is_reported() -> None:
    """A forgotten aclose() is a ResourceWarning."""
    executor = TaskExecutor(name="forgotten")
    await executor.start()
    forgotten = [executor]
    del executor
    with pytest.warns(ResourceWarning, match="forgotten"):
        forgotten.clear()
