"""What becomes of tasks when workers die, freeze and are stopped, and when PostgreSQL restarts."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter

import pytest
from procrastinate.exceptions import ConnectorException
from psycopg import OperationalError

import fleet_tasks as fleet
from creatormate_resilience.exceptions import DatabaseUnavailableError, TaskResultTimeoutError, WorkerCrashedError
from creatormate_resilience.tasks import TaskStatus
from fleet_tasks import traces

from .conftest import executor_at, until, working

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LEASE = 1.0


async def two_workers(executor) -> bool:
    return sum(worker.alive for worker in (await executor.engine.queue_statistics()).workers) == 2


async def test_a_killed_workers_task_runs_again_within_two_leases(postgres_url, workers, tmp_path, record_property):
    """On an otherwise idle queue, where nothing else wakes the other worker."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    async with executor_at(postgres_url, lease=LEASE) as executor:
        first = workers.start(postgres_url, lease=LEASE)
        handle = await executor.submit(fleet.hold, trail, "one", str(gate))
        await until(lambda: traces(trail) == ["one begins"])
        workers.start(postgres_url, lease=LEASE)
        await until(lambda: two_workers(executor))
        await asyncio.sleep(LEASE)  # as long as the other one needs to be sure of itself
        workers.kill(first)
        killed = time.monotonic()
        await until(lambda: traces(trail) == ["one begins", "one begins"])
        again = time.monotonic() - killed
        record_property("seconds from the kill to the next start", round(again, 2))
        assert again < 2 * LEASE
        gate.touch()
        assert await handle.result(30) == "one"
        record = await handle.record()
        assert (record.status, record.attempts) == (TaskStatus.SUCCEEDED, 2)


async def test_a_task_longer_than_the_lease_runs_once(postgres_url, workers, tmp_path):
    """With two workers that could both have it."""
    trail = str(tmp_path / "trail")
    async with executor_at(postgres_url, lease=LEASE) as executor:
        for _ in range(2):
            workers.start(postgres_url, lease=LEASE)
        await until(lambda: two_workers(executor))
        handle = await executor.submit(fleet.sleep, trail, "long", 3.2 * LEASE)
        await handle.result(30)
        assert traces(trail) == ["long begins", "long ends"]
        assert (await handle.record()).attempts == 1


@pytest.mark.parametrize("max_freeze", [30.0, 0.4])
async def test_blocking_the_loop_for_longer_than_the_lease_costs_no_task(postgres_url, tmp_path, max_freeze):
    """The signs of life come from a thread; the freeze is seen, and told when it is over.

    Where they stop because it was too long, the worker that wakes up does not take its own task for a vanished one's.
    """
    trail = str(tmp_path / "trail")
    async with (
        executor_at(postgres_url, lease=0.4, max_freeze=max_freeze) as executor,
        working(executor) as engine,
    ):
        slow = await executor.submit(fleet.sleep, trail, "beside", 0.2)
        await until(lambda: traces(trail) == ["beside begins"])
        handle = await executor.submit(fleet.block_loop, 1.7)
        seen: list[float] = []

        def look() -> None:
            end = time.monotonic() + 20
            while time.monotonic() < end and not (seen and seen[-1] >= 1.0):
                seen.append(engine.vitals().frozen)
                time.sleep(0.02)

        await asyncio.gather(asyncio.to_thread(look), handle.result(30), slow.result(30))
        assert seen[-1] >= 1.0
        assert (await handle.record()).attempts == (await slow.record()).attempts == 1
        assert executor.statistics().blocked == 1


async def test_a_frozen_worker_loses_its_task_and_has_nothing_to_say_any_more(postgres_url, workers, tmp_path):
    """When it wakes up, what it brings is not taken: another one has the task."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    async with executor_at(postgres_url, lease=LEASE) as executor:
        frozen = workers.start(postgres_url, lease=LEASE)
        handle = await executor.submit(fleet.hold, trail, "one", str(gate))
        await until(lambda: traces(trail) == ["one begins"])
        frozen.send_signal(signal.SIGSTOP)
        workers.start(postgres_url, lease=LEASE)
        await until(lambda: traces(trail) == ["one begins"] * 2)
        frozen.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.2)
        assert await handle.status() is TaskStatus.RUNNING
        gate.touch()
        assert await handle.result(30) == "one"
        await until(lambda: traces(trail).count("one ends") == 2)
        after = await executor.submit(fleet.add, 1)  # both are well
        assert await after.result(30) == 2
        assert (await handle.record()).attempts == 2


async def test_a_task_that_kills_its_workers_is_lost(postgres_url, workers, tmp_path):
    """Not before it has had its chances; then it is a dead letter, and the workers live."""
    trail = str(tmp_path / "trail")
    async with executor_at(postgres_url, lease=0.5, max_rescues=1) as executor:
        handle = await executor.submit(fleet.die, trail)
        for number in (1, 2):
            worker = workers.start(postgres_url, lease=0.5)
            await until(lambda: traces(trail) == ["dies"] * number)  # noqa: B023
            worker.wait()
        async with working(executor):
            with pytest.raises(WorkerCrashedError):
                await handle.result(30)
        assert await handle.status() is TaskStatus.LOST
        assert [letter.id for letter in await executor.engine.dead_letters()] == [handle.id]
        assert traces(trail) == ["dies"] * 2


async def test_a_worker_that_is_stopped_gives_its_tasks_back(postgres_url, workers, tmp_path):
    """At once, and it costs them no attempt."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    async with executor_at(postgres_url, lease=30.0) as executor:
        worker = workers.start(postgres_url, lease=30.0)
        handle = await executor.submit(fleet.hold, trail, "one", str(gate))
        await until(lambda: traces(trail) == ["one begins"])
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
        record = await handle.record()
        assert (record.status, record.attempts) == (TaskStatus.QUEUED, 0)
        assert not (await executor.engine.queue_statistics()).workers
        gate.touch()
        async with working(executor):
            assert await handle.result(30) == "one"
        assert (await handle.record()).attempts == 1


async def test_a_thread_that_does_not_stop_is_left_to_the_lease(postgres_url, tmp_path):
    """Others must not run it while it still runs here."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    async with executor_at(postgres_url) as executor:
        handle = await executor.submit(fleet.hold_thread, trail, "one", str(gate))
        async with working(executor, grace=0.1) as engine:
            await until(lambda: traces(trail) == ["one begins"])
            report = await executor.shutdown(drain=0.0, grace=0.1)
            assert [record.id for record in report.left] == [handle.id]
        gate.touch()
    async with executor_at(postgres_url) as executor:
        assert (await executor.get(handle.id)).status is TaskStatus.RUNNING
        async with working(executor):
            assert await executor.result(handle.id, 30) == "one"
        assert engine.phase == "closed"


async def test_a_thread_that_was_cancelled_and_does_not_stop_holds_up_no_shutdown(postgres_url, tmp_path):
    """It was waited for without a bound; at the worker's end there is one."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    async with executor_at(postgres_url) as executor:
        handle = await executor.submit(fleet.hold_thread, trail, "one", str(gate))
        async with working(executor, grace=0.1):
            await until(lambda: traces(trail) == ["one begins"])
            assert await handle.cancel() is True
            assert await handle.status() is TaskStatus.CANCELLED
            await asyncio.sleep(0.3)  # the worker has heard of it
            report = await executor.shutdown(drain=0.1, grace=0.1)
            assert [record.status for record in report.left] == [TaskStatus.CANCELLED]
        gate.touch()


async def test_a_submission_whose_answer_was_lost_is_taken_once(postgres_url, monkeypatch):
    """It is sent again, under the same ids."""
    async with executor_at(postgres_url) as executor:
        connector = executor.engine._database.connector
        ask, lost = connector.execute_query_all_async, []

        async def ask_and_lose(query, **arguments):
            rows = await ask(query, **arguments)
            if "creatormate_submit" in query and not lost:
                lost.append(rows)
                raise ConnectorException from OperationalError("server closed the connection unexpectedly")
            return rows

        monkeypatch.setattr(connector, "execute_query_all_async", ask_and_lose)
        handles = await executor.submit_many(fleet.add, [(1,), (2,)])
        assert len(lost) == 1
        assert {record.id for record in await executor.list()} == {handle.id for handle in handles}


async def test_a_database_that_stays_away_is_told_in_bounded_time(own_postgres_server):
    """To who submits and who looks; who waits goes on waiting."""
    async with executor_at(own_postgres_server.url, connect_timeout=0.5) as executor:
        handle = await executor.submit(fleet.add, 1)
        waiting = asyncio.create_task(handle.result(30))
        await until(lambda: executor.engine._ends._waiters)
        await asyncio.to_thread(own_postgres_server.kill)
        with pytest.raises(DatabaseUnavailableError):
            await executor.submit(fleet.add, 2)
        with pytest.raises(DatabaseUnavailableError):
            await handle.status()
        assert not waiting.done()
        await asyncio.to_thread(own_postgres_server.start)
        async with working(executor):
            assert await waiting == 2


async def test_what_is_cancelled_before_its_first_step_holds_nothing(postgres_url, postgres_server, monkeypatch):
    """Procrastinate's task for it ends without ever having run."""
    from procrastinate.worker import Worker

    process, cancelled = Worker._process_job, []

    def process_or_cancel(self, context):
        if not cancelled:
            cancelled.append(context.job.id)
            asyncio.get_running_loop().call_soon(lambda: next(iter(self._running_jobs)).cancel())
            return asyncio.sleep(60)
        return process(self, context)

    monkeypatch.setattr(Worker, "_process_job", process_or_cancel)
    async with executor_at(postgres_url, lease=0.4) as executor:
        handle = await executor.submit(fleet.add, 1)
        async with working(executor):
            assert await handle.result(30) == 2
        assert len(cancelled) == 1


async def test_an_answer_that_was_lost_loses_no_task(postgres_url, tmp_path):
    """A task that was handed out, but whose worker never heard of it, is queued again by that worker."""
    async with executor_at(postgres_url) as executor:
        store = executor.engine._store
        fetch, lost = store.fetch, []

        async def fetch_and_lose(queues, worker):
            row = await fetch(queues, worker)
            if row is not None and not lost:
                lost.append(row["id"])
                raise DatabaseUnavailableError("the answer was lost")
            return row

        store.fetch = fetch_and_lose
        handle = await executor.submit(fleet.add, 1)
        async with working(executor):
            assert await handle.result(30) == 2
        assert lost == [handle.id]


async def test_workers_and_submitters_outlive_a_restart_of_postgresql(own_postgres_server, tmp_path):
    """What runs ends, what waits is waited for, what is submitted meanwhile is taken; nothing runs twice."""
    trail, server = str(tmp_path / "trail"), own_postgres_server
    async with executor_at(server.url, lease=2.0) as executor, working(executor):
        handles = [await executor.submit(fleet.sleep, trail, str(number), 0.5) for number in range(3)]
        await until(lambda: len(traces(trail)) == 3)
        waiting = [asyncio.create_task(handle.result(30)) for handle in handles]
        await asyncio.to_thread(server.kill)
        meanwhile = asyncio.create_task(executor.submit(fleet.add, 1))
        await asyncio.sleep(0.7)  # they end while there is nobody to tell
        await asyncio.to_thread(server.start)
        assert await asyncio.gather(*waiting) == ["0", "1", "2"]
        assert await (await meanwhile).result(30) == 2
        assert len(traces(trail)) == 6
        later = await executor.submit(fleet.add, 2)
        assert await later.result(30) == 3


@pytest.mark.timeout(600)
async def test_a_fleet_under_fire_loses_nothing(own_postgres_server, workers, tmp_path, record_property, capsys):
    """Four workers, one killed each second and replaced, one restart of PostgreSQL: every task ends, few run twice."""
    tasks, slots, seconds = int(os.environ.get("FLEET_SOAK", "120")), 5, 0.3
    trail, server, dice = str(tmp_path / "trail"), own_postgres_server, random.Random(7)
    async with executor_at(server.url, lease=LEASE, pool_size=3) as executor:
        submitter = executor.options(name="soak")
        handles = await submitter.submit_many(fleet.sleep, [(trail, str(number), seconds) for number in range(tasks)])
        for _ in range(4):
            workers.start(server.url, lease=LEASE, concurrency=slots)
        began, in_flight, kills, restarted = time.monotonic(), 0, 0, False
        while len(set(ended := [line for line in traces(trail) if line.endswith("ends")])) < tasks:
            await asyncio.sleep(1.0)
            lines = Counter(line.split()[1] for line in traces(trail))
            if lines["begins"]:  # they have begun to work
                workers.kill(dice.choice(workers.workers))
                kills += 1
                in_flight += slots
                workers.start(server.url, lease=LEASE, concurrency=slots)
            if not restarted and len(ended) > tasks * 0.4:
                restarted = True
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(server.start)
                in_flight += slots * len(workers.workers)  # for longer than this lease nobody could give a sign of life
        statuses = Counter([await end_of(handle, executor, workers) for handle in handles])
        begins = Counter(line.split()[0] for line in traces(trail) if line.endswith("begins"))
        twice = sum(begins.values()) - tasks
        report = (
            f"{tasks} tasks in {time.monotonic() - began:.0f} s, {kills} kills, restarted: {restarted}; {statuses}, "
            f"{twice} runs more than tasks, of at most {in_flight} in flight"
        )
        record_property("soak", report)
        if "FLEET_SOAK" in os.environ:
            with capsys.disabled():
                sys.stdout.write(f"\n{report}\n")
        assert statuses == {"SUCCEEDED": tasks}
        assert len(begins) == tasks
        assert twice <= in_flight
        assert restarted


async def end_of(handle, executor, fleet_of_test) -> str:
    try:
        await handle.result(45)
    except TaskResultTimeoutError:
        seen = await executor.engine.queue_statistics()
        codes = [worker.poll() for worker in fleet_of_test.workers]
        pytest.fail(f"it does not end: {await handle.record()}\n{seen}\nexit codes of the workers: {codes}")
    return (await handle.status()).name
