"""Tasks in worker processes: real ones, really killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from creatormate_resilience.deadline import remaining_time
from creatormate_resilience.exceptions import (
    ConfigurationError,
    ExternalAPIError,
    TaskCancelledError,
    TaskError,
    TaskTimeoutError,
    WorkerCrashedError,
)
from creatormate_resilience.request_context import RequestContext, get_request_context, request_scope
from creatormate_resilience.tasks import TaskExecutor, TaskStatus, TaskSubmitter, current_task

pytestmark = pytest.mark.anyio


class TwoArgumentsError(Exception):
    """Cannot be rebuilt: it asks for two arguments and keeps one."""

    def __init__(self, a: str, b: str) -> None:
        super().__init__(a + b)


def square(n: int) -> int:
    return n * n


def loops_for_ever() -> None:
    while True:
        pass


def waits_for(path: str, result: str) -> str:
    deadline = time.monotonic() + 20
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    return result


def says_its_pid(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(30)


def echoes() -> int:
    return subprocess.run(["echo", "hello"], check=True).returncode


def reads_all() -> int:
    return subprocess.run(["cat"], check=True).returncode


def writes_raw() -> int:
    return os.write(1, b"garbage\n" * 20) + len(os.read(0, 10))


def raises(kind: str) -> None:
    if kind == "family":
        raise ExternalAPIError("OpenAI", "down", retry_after=7.0)
    if kind == "unpicklable":
        raise TwoArgumentsError("a", "b")
    raise ZeroDivisionError("by zero")


def returns_a_lock() -> Any:
    return threading.Lock()


def reports_progress() -> None:
    current_task().set_progress(0.5)


def tells_what_it_knows() -> tuple[str, int, object, str | None, float | None]:
    task, request = current_task(), get_request_context()
    return task.name, task.attempt, task.tags["user"], request and request.trace_id, remaining_time()


async def until(condition: Any) -> None:
    """Let the event loop turn until something holds."""
    with anyio.fail_after(20):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
async def executor() -> AsyncIterator[TaskExecutor]:
    """Two worker processes."""
    async with TaskExecutor(max_processes=2) as executor:
        yield executor


@pytest.fixture
def processes(executor: TaskExecutor) -> TaskSubmitter:
    """Submits to them."""
    return executor.options(run_in="process")


async def test_a_function_runs_in_another_process(processes: TaskSubmitter) -> None:
    """Results come back; the process is not this one and is used again."""
    pids = [await handle for handle in await processes.submit_many(os.getpid, [()] * 4)]
    assert os.getpid() not in pids
    assert len(set(pids)) <= 2
    assert await (await processes.submit(square, n=7)) == 49


async def test_a_cpu_loop_is_killed_at_its_deadline_and_the_slot_works_on(executor: TaskExecutor) -> None:
    """Nothing else stops such a loop; the next tasks succeed."""
    looping = executor.options(run_in="process", timeout=0.2)
    handles = list(await looping.submit_many(loops_for_ever, [()] * 2))
    for handle in handles:
        with pytest.raises(TaskTimeoutError):
            await handle
    await until(lambda: executor.statistics().zombies == 0)
    assert await (await executor.options(run_in="process").submit(square, 3)) == 9


async def test_cancelling_kills(executor: TaskExecutor, processes: TaskSubmitter, tmp_path: Path) -> None:
    """The worker process of a cancelled task is gone, and its slot is free."""
    file = tmp_path / "pid"
    handle = await processes.submit(says_its_pid, str(file))
    await until(lambda: file.exists() and file.read_text())
    assert await handle.cancel()
    with pytest.raises(TaskCancelledError):
        await handle
    await until(lambda: executor.statistics().zombies == 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


async def test_a_killed_worker_loses_its_own_task_only(
    executor: TaskExecutor, processes: TaskSubmitter, tmp_path: Path
) -> None:
    """The task is LOST, and neither its neighbour nor what comes after it notices."""
    file, go = tmp_path / "pid", tmp_path / "go"
    neighbour = await processes.submit(waits_for, str(go), "unharmed")
    lost = await executor.options(run_in="process", retry=Always()).submit(says_its_pid, str(file))
    after = await processes.submit(square, 5)
    await until(lambda: file.exists() and file.read_text())
    os.kill(int(file.read_text()), signal.SIGKILL)
    with pytest.raises(WorkerCrashedError):
        await lost
    assert (await lost.status(), (await executor.get(lost.id)).attempts) == (TaskStatus.LOST, 1), (
        "at most once: not retried"
    )
    assert await after == 25
    go.touch()
    assert await neighbour == "unharmed"


class Always:
    """Advises to try again whatever happened."""

    max_attempts = 5

    def delay_before(self, attempt: int, error: BaseException) -> float | None:
        return 0.0


async def test_giving_up_while_the_worker_starts_leaves_no_process_behind() -> None:
    """A start is not interrupted; the worker it gives serves the next task."""

    async def gives_up_early() -> int:
        async with TaskExecutor(max_processes=2) as executor:
            for timeout in (0.001, 0.01, 0.03):
                hasty = executor.options(run_in="process", timeout=timeout)
                for handle in await hasty.submit_many(loops_for_ever, [()] * 2):
                    with pytest.raises(TaskTimeoutError):
                        await handle
            await until(lambda: executor.statistics().zombies == 0)
            assert await (await executor.options(run_in="process").submit(square, 2)) == 4
            return len(worker_processes())

    before = len(worker_processes())
    # On an event loop of its own, where no worker is ready yet.
    workers = await asyncio.to_thread(asyncio.run, gives_up_early())
    assert workers - before <= 2


def worker_processes() -> list[str]:
    """The command lines of this process's children that are anyio's workers and no zombies."""
    tasks = Path(f"/proc/{os.getpid()}/task")
    pids = [pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in set(pids)]
    return [line for line in lines if "to_process" in line]


async def test_errors_come_back_from_the_process(executor: TaskExecutor, processes: TaskSubmitter) -> None:
    """One of the family as itself, any other as the cause, one that cannot travel described."""
    with pytest.raises(ExternalAPIError) as known:
        await (await processes.submit(raises, "family"))
    assert known.value.retry_after == 7.0
    with pytest.raises(TaskError, match="ZeroDivisionError") as other:
        await (await processes.submit(raises, "other"))
    assert isinstance(other.value.__cause__, ZeroDivisionError)
    assert any("in raises" in note for note in other.value.__cause__.__notes__), "where it happened is told"
    with pytest.raises(TaskError, match="TwoArgumentsError, which cannot be pickled") as described:
        await (await processes.submit(raises, "unpicklable"))
    assert "TwoArgumentsError: ab" in described.value.cause_chain[0]


async def test_what_cannot_travel_is_a_clear_error_and_breaks_nothing(
    executor: TaskExecutor, processes: TaskSubmitter
) -> None:
    """Arguments are refused at submission, a result fails its own task; the pool works on."""
    with pytest.raises(TypeError, match="arguments that pickle takes"):
        await processes.submit(square, threading.Lock())  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="returned a lock, which cannot be pickled"):
        await (await processes.submit(returns_a_lock))
    with pytest.raises(ConfigurationError, match=r"cannot report progress.*run_in='thread'"):
        await (await processes.submit(reports_progress))
    assert await (await processes.submit(square, 4)) == 16


async def test_what_a_task_carries_into_its_process(executor: TaskExecutor) -> None:
    """Its own name, attempt and tags, the trace of the request that submitted it, and the time it has left."""
    headers = [(b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")]
    options = executor.options(run_in="process", timeout=30.0, tags={"user": 7}, name="told")
    with request_scope(RequestContext({"headers": headers}, lambda _peer, _headers: None)):
        handle = await options.submit(tells_what_it_knows)
    *known, left = await handle
    assert known == ["told", 1, 7, "a" * 32]
    assert left is not None
    assert 0 < left <= 30
    assert (await (await options.submit(tells_what_it_knows)))[3] is None, "the next task of the same worker"


async def test_a_worker_that_died_while_it_was_idle_costs_no_task(
    executor: TaskExecutor, processes: TaskSubmitter
) -> None:
    """Nothing ran in it, so nothing is lost: the next task gets another one, whenever the death is noticed."""
    pid = await (await processes.submit(os.getpid))
    os.kill(pid, signal.SIGKILL)
    assert await (await processes.submit(square, 6)) == 36
    assert executor.statistics().lost == 0


@pytest.mark.parametrize(("fn", "returned"), [(echoes, 0), (reads_all, 0), (writes_raw, 160)])
async def test_what_a_function_and_its_children_write_and_read_is_not_our_pipe(
    executor: TaskExecutor, fn: Any, returned: int
) -> None:
    """A command that it starts inherits the standard streams: it spoils no answer and eats no further task."""
    process = executor.options(run_in="process", timeout=20)
    assert await (await process.submit(fn)) == returned
    assert await (await process.submit(square, 3)) == 9


async def test_an_exception_that_cannot_be_pickled_says_what_it_was(
    executor: TaskExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """Its text and where it was raised stand in the log."""
    handle = await executor.options(run_in="process", timeout=20).submit(raises, "unpicklable")
    with pytest.raises(TaskError) as caught:
        await handle
    notes = "".join(caught.value.__notes__)
    assert "TwoArgumentsError: ab" in notes
    assert "in raises" in notes


UNIMPORTABLE = """
import asyncio, sys, time
from creatormate_resilience.tasks import TaskExecutor

with open("starts", "a") as file:
    file.write("x")
mode = sys.argv[1]  # not there in a worker


async def main():
    async with TaskExecutor() as executor:
        handle = await executor.options(run_in="process").submit(abs, -1)
        try:
            await handle
        except Exception as error:
            print(type(error).__name__, error, "|", error.cause_chain)
        print((await handle.status()).name)


if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.slow
def test_a_main_module_that_no_worker_can_import_is_told_at_once(tmp_path: Path) -> None:
    """It is tried once, not as often as workers may die, and the error has the reason."""
    (tmp_path / "unimportable.py").write_text(UNIMPORTABLE)
    done = subprocess.run(
        [sys.executable, "unimportable.py", "mode"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "WorkerCrashedError the worker process of task abs could not start" in done.stdout, done.stderr
    assert "IndexError" in done.stdout
    assert done.stdout.endswith("LOST\n")
    assert (tmp_path / "starts").read_text() == "xx"
