"""Durable tasks beside plain Procrastinate: how fast tasks are taken, one by one and many at once, and how fast run.

Both stand on one PostgreSQL of this test's own, in databases of their own, and work in this process, in turn. Run with
`nox -s benchmarks -- -s` to see the figures; nothing here asserts a time.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import procrastinate
import pytest

import fleet_tasks as fleet
from creatormate_resilience.events import Event
from creatormate_resilience.tasks import TaskExecutor, TaskFinished
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine
from servers import PostgresServer

TASKS, SINGLE, CONCURRENCY, ROUNDS = 1000, 100, 10, 9

pytestmark = pytest.mark.server

Step = Callable[[], Awaitable[object]]


class Plain:
    """Procrastinate as it is, with its defaults."""

    name = "Procrastinate"
    database = "plain"

    def __init__(self, url: str) -> None:
        self.app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))
        self.task = self.app.task(name="add")(fleet.add)

    async def open(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(self.app.open_async())
        await self.app.schema_manager.apply_schema_async()

    async def submit_one_by_one(self) -> None:
        for number in range(SINGLE):
            await self.task.defer_async(one=number)

    async def submit_at_once(self) -> None:
        await self.task.batch_defer_async(*({"one": number} for number in range(TASKS)))

    async def run_all(self) -> None:
        await self.app.run_worker_async(concurrency=CONCURRENCY, wait=False, install_signal_handlers=False)


class Ours:
    """The same through this library, with a record, a result and a lease for each task."""

    name = "ProcrastinateEngine"
    database = "ours"

    def __init__(self, url: str) -> None:
        self.url = url

    async def open(self, stack: AsyncExitStack) -> None:
        self.engine = ProcrastinateEngine(self.url, listeners=[self.hear])
        await self.engine.migrate()
        self.executor = await stack.enter_async_context(TaskExecutor(engine=self.engine))

    async def submit_one_by_one(self) -> None:
        for number in range(SINGLE):
            await self.executor.submit(fleet.add, number)

    async def submit_at_once(self) -> None:
        await self.executor.submit_many(fleet.add, [(number,) for number in range(TASKS)])

    async def run_all(self) -> None:
        self.left, self.done = TASKS + SINGLE, asyncio.Event()
        work = asyncio.create_task(self.engine.work(concurrency=CONCURRENCY))
        await self.done.wait()
        work.cancel()
        await asyncio.wait((work,))

    def hear(self, event: Event) -> None:
        if isinstance(event, TaskFinished):
            self.left -= 1
            if not self.left:
                self.done.set()


async def timed(step: Step) -> float:
    began = time.perf_counter()
    await step()
    return time.perf_counter() - began


async def compare(server: PostgresServer) -> dict[str, dict[str, list[float]]]:
    subjects = [Plain(server.create_database(Plain.database)), Ours(server.create_database(Ours.database))]
    seen: dict[str, dict[str, list[float]]] = {subject.name: {"one": [], "many": [], "run": []} for subject in subjects}
    async with AsyncExitStack() as stack:
        for subject in subjects:
            await subject.open(stack)
        for number in range(ROUNDS):
            for subject in random.sample(subjects, len(subjects)):
                times = {
                    "one": await timed(subject.submit_one_by_one) / SINGLE,
                    "many": await timed(subject.submit_at_once) / TASKS,
                }
                server.execute("VACUUM ANALYZE", subject.database)  # as autovacuum has it a minute later
                times["run"] = await timed(subject.run_all) / (TASKS + SINGLE)
                for what, value in times.items():
                    if number:  # the first prepares the statements
                        seen[subject.name][what].append(value)
    return seen


@pytest.mark.timeout(300)
def test_durable_tasks_beside_procrastinate(capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks per second, the ratio of the medians and of the best."""
    with PostgresServer() as server:
        seen = asyncio.run(compare(server))
    plain, ours = seen[Plain.name], seen[Ours.name]
    lines = [f"{'':22}{'plain median/s':>16}{'ours median/s':>16}{'x median':>10}{'x best':>8}"]
    for what, title in (("one", "submit one by one"), ("many", f"submit {TASKS} at once"), ("run", "worker")):
        medians = [statistics.median(each[what]) for each in (plain, ours)]
        best = min(plain[what]) / min(ours[what])
        rates = "".join(f"{1 / median:>16.0f}" for median in medians)
        lines.append(f"{title:22}{rates}{medians[0] / medians[1]:>10.2f}{best:>8.2f}")
    with capsys.disabled():
        print(f"\nsum of two numbers, {CONCURRENCY} at once in one process\n" + "\n".join(lines))
