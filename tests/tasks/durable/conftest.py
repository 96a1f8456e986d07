"""Workers as processes of their own, to be killed, frozen and stopped, on a database with the tables of tasks."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fleet_tasks as fleet
from creatormate_resilience.tasks import TaskExecutor, TaskHandle, TaskStatus
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine

PATIENCE = 30.0
_HARNESS = Path(fleet.__file__).parent


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """One event loop is enough here."""
    return "asyncio"


class Fleet:
    """Worker processes of one test."""

    def __init__(self, log: Path) -> None:
        self.workers: list[subprocess.Popen[bytes]] = []
        self._log = log

    def start(self, url: str, *, lease: float = 1.0, concurrency: int = 2) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            fleet.DSN: url,
            fleet.LEASE: str(lease),
            "PYTHONPATH": os.pathsep.join((str(_HARNESS), *filter(None, (os.environ.get("PYTHONPATH"),)))),
        }
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "creatormate_resilience.cli", "worker", "fleet_tasks:executor"]
            command += ["--concurrency", str(concurrency), "--drain", "0", "--grace", "1"]
            worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.workers.append(worker)
        return worker

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

    def close(self) -> None:
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.wait()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Fleet]:
    """Starts worker processes."""
    fleet_of_test = Fleet(tmp_path / "workers.log")
    yield fleet_of_test
    fleet_of_test.close()


@asynccontextmanager
async def executor_at(url: str, **options: Any) -> AsyncIterator[TaskExecutor]:
    """An executor on a database that has the tables."""
    engine = ProcrastinateEngine(url, **{"lease": 1.0, "poll_interval": 0.1} | options)
    await engine.migrate()
    async with TaskExecutor(engine=engine) as executor:
        yield executor


@asynccontextmanager
async def working(executor: TaskExecutor, **options: Any) -> AsyncIterator[ProcrastinateEngine]:
    """A worker in this process, until the block ends."""
    engine: Any = executor.engine
    work = asyncio.create_task(engine.work(**{"drain": 0.0} | options))
    try:
        yield engine
    finally:
        work.cancel()
        await asyncio.wait((work,))
        if not work.cancelled():
            work.result()


async def until(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Wait until something holds; it may be a question to the database."""
    end = time.monotonic() + patience
    while True:
        answer = condition()
        if await answer if asyncio.iscoroutine(answer) else answer:
            return
        if time.monotonic() > end:
            pytest.fail("it did not come to hold in time")
        await asyncio.sleep(0.02)


async def reaches(handle: TaskHandle[Any], status: TaskStatus) -> None:
    """Wait until the task is in a status."""

    async def is_there() -> bool:
        return await handle.status() is status

    await until(is_there)
