"""Tasks that tests hand to workers, in this process or in others, and the executor that such workers are started with.

They leave traces in files, because who asks may be another process. `path` is a file, one line for each trace.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from creatormate_resilience.exceptions import CircuitOpenError, ExternalAPIUnavailableError
from creatormate_resilience.policies import Retry, constant
from creatormate_resilience.tasks import TaskExecutor, current_task, task

DSN = "FLEET_DSN"
LEASE = "FLEET_LEASE"


def trace(path: str, text: str) -> None:
    """Append a line; whole also where several processes do."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)


def traces(path: str | Path) -> list[str]:
    """The lines so far."""
    try:
        return Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []


@contextmanager
def traced(path: str, name: str) -> Iterator[None]:
    trace(path, f"{name} begins")
    try:
        yield
    finally:
        trace(path, f"{name} ends")


@task()
async def add(one: int, other: int = 1) -> int:
    return one + other


@task()
def double(number: int) -> int:
    return 2 * number


@task(run_in="process")
def triple(number: int) -> int:
    return 3 * number


@task()
async def note(path: str, text: str) -> str:
    trace(path, text)
    return text


@task()
async def fail(message: str) -> None:
    raise ValueError(message)


@task()
async def fail_upstream() -> None:
    raise ExternalAPIUnavailableError("OpenAI", "it is away", retry_after=7.0)


@task(retry=Retry(3, constant(0), retry_on=ValueError))
async def fail_until(path: str, succeeds_at: int) -> int:
    trace(path, "attempt")
    if current_task().attempt < succeeds_at:
        raise ValueError("not yet")
    return current_task().attempt


@task(retry=Retry(2, constant(0)))
async def meet_open_circuit(path: str) -> int:
    trace(path, "attempt")
    if len(traces(path)) < 4:
        raise CircuitOpenError("openai_api", retry_after=0.0, last_failure=None)
    return current_task().attempt


@task()
async def hold(path: str, name: str, gate: str) -> str:
    """Run until the file `gate` is there."""
    with traced(path, name):
        while not Path(gate).exists():
            await asyncio.sleep(0.01)
    return name


@task()
def hold_thread(path: str, name: str, gate: str) -> str:
    """The same in a thread that nothing can stop."""
    with traced(path, name):
        while not Path(gate).exists():
            time.sleep(0.01)
    return name


@task()
async def sleep(path: str, name: str, seconds: float) -> str:
    with traced(path, name):
        await asyncio.sleep(seconds)
    return name


@task()
async def block_loop(seconds: float) -> None:
    time.sleep(seconds)


@task()
async def die(path: str) -> None:
    """Take the whole worker along."""
    trace(path, "dies")
    os.kill(os.getpid(), 9)


@task()
async def advance(gate: str) -> None:
    current_task().set_progress(0.25, "a quarter")
    while not Path(gate).exists():
        await asyncio.sleep(0.01)


@task()
async def return_object() -> Any:
    return object()


@task()
async def who_am_i() -> list[Any]:
    me = current_task()
    return [me.id, me.name, me.attempt, dict(me.tags)]


def make_executor() -> TaskExecutor:
    """The executor of a worker process, by its environment."""
    from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine

    lease = float(os.environ.get(LEASE, "30"))
    # A test that kills as often as the lease runs out may kill one task's workers again and again.
    engine = ProcrastinateEngine(os.environ[DSN], lease=lease, max_freeze=lease, poll_interval=0.2, max_rescues=50)
    return TaskExecutor(engine=engine)


if DSN in os.environ:
    executor = make_executor()
