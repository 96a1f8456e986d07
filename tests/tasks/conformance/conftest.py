"""Both engines, with a worker where one needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from creatormate_resilience.tasks import KeyLimits, TaskExecutor
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine

Start = Callable[..., AbstractAsyncContextManager[TaskExecutor]]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """One event loop is enough: what engines promise has nothing to do with it."""
    return "asyncio"


@asynccontextmanager
async def in_process(slots: int = 4) -> AsyncIterator[TaskExecutor]:
    async with TaskExecutor(max_concurrent=slots, key_limits=KeyLimits(max_concurrent=1)) as executor:
        yield executor


@pytest.fixture(params=["in process", pytest.param("procrastinate", marks=pytest.mark.server)])
def start(request: pytest.FixtureRequest) -> Start:
    """Starts an executor that runs so many tasks at once."""
    if request.param == "in process":
        return in_process
    url = request.getfixturevalue("postgres_url")

    @asynccontextmanager
    async def durable(slots: int = 4) -> AsyncIterator[TaskExecutor]:
        engine = ProcrastinateEngine(url, lease=2.0, poll_interval=0.05)
        await engine.migrate()
        async with TaskExecutor(engine=engine) as executor:
            work = asyncio.create_task(engine.work(concurrency=slots))
            yield executor
        await work

    return durable
