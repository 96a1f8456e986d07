"""What operators and other processes see and do: dead letters, requeueing, statistics, periodic tasks."""

from __future__ import annotations

import asyncio

import pytest

import fleet_tasks as fleet
from creatormate_resilience.exceptions import (
    ConfigurationError,
    ShuttingDownError,
    TaskCancelledError,
    TaskError,
    TaskNotFoundError,
    TaskResultTimeoutError,
    UnsupportedOptionError,
)
from creatormate_resilience.tasks import TaskStatus, task
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine
from fleet_tasks import traces

from .conftest import executor_at, reaches, until, working

pytestmark = pytest.mark.anyio


async def test_another_process_sees_and_cancels(postgres_url, workers, tmp_path):
    """Status, progress, result and cancellation, of tasks that it did not submit and does not run."""
    trail, gate = str(tmp_path / "trail"), str(tmp_path / "gate")
    workers.start(postgres_url)
    async with executor_at(postgres_url) as submitter, executor_at(postgres_url) as other:
        handle = await submitter.submit(fleet.hold, trail, "one", gate)
        await until(lambda: traces(trail) == ["one begins"])
        assert (await other.get(handle.id)).status is TaskStatus.RUNNING
        assert await other.cancel(handle.id) is True
        with pytest.raises(TaskCancelledError):
            await submitter.result(handle.id, 30)
        await until(lambda: traces(trail) == ["one begins", "one ends"])
        assert await other.cancel(handle.id) is False


async def test_a_dead_letter_is_queued_again(postgres_url, tmp_path):
    """With all its attempts before it; what succeeded or has not ended is not."""
    trail = str(tmp_path / "trail")
    async with executor_at(postgres_url) as executor:
        engine = executor.engine
        async with working(executor):
            bad = await executor.submit(fleet.fail_until, trail, 5)
            with pytest.raises(TaskError):
                await bad.result(30)
            good = await executor.submit(fleet.add, 1)
            await good.result(30)
        (letter,) = await engine.dead_letters()
        assert (letter.id, letter.status, letter.attempts) == (bad.id, TaskStatus.DEAD, 3)
        await engine.requeue(bad.id)
        assert (await bad.record()).status is TaskStatus.QUEUED
        assert await engine.dead_letters() == []
        for wrong in (bad, good):
            with pytest.raises(TaskError, match="not queued"):
                await engine.requeue(wrong.id)
        with pytest.raises(TaskNotFoundError):
            await engine.requeue("01a21867-b145-7c9c-a05a-50022efdca4d")
        async with working(executor):
            with pytest.raises(TaskError):
                await bad.result(30)
        assert traces(trail) == ["attempt"] * 6


async def test_a_dead_letter_whose_key_is_taken_stays(postgres_url):
    """There is an unfinished one for the same thing."""
    async with executor_at(postgres_url) as executor:
        unique = executor.options(unique_key="report")
        old = await unique.submit(fleet.add, 1)
        await old.cancel()
        await unique.submit(fleet.add, 2)
        with pytest.raises(TaskError, match="unique key"):
            await executor.engine.requeue(old.id)


async def test_a_key_of_what_has_expired_is_free(postgres_url):
    """Also while no worker is there to end it."""
    async with executor_at(postgres_url) as executor:
        late = await executor.options(unique_key="report", expires=0.05).submit(fleet.add, 1)
        await reaches(late, TaskStatus.EXPIRED)
        new = await executor.options(unique_key="report").submit(fleet.add, 2)
        assert new.id != late.id
        assert await new.status() is TaskStatus.QUEUED
        assert [letter.id for letter in await executor.engine.dead_letters()] == [late.id]


async def test_the_queues_are_counted(postgres_url):
    """By status, with the workers and the age of what waits."""
    async with executor_at(postgres_url, routes={"double": "heavy"}) as executor:
        await executor.submit_many(fleet.add, [(1,), (2,)])
        await executor.submit(fleet.double, 2)
        await executor.options(delay=60.0).submit(fleet.add, 1)
        seen = await executor.engine.queue_statistics()
        assert seen.queues == {
            "creatormate": {TaskStatus.QUEUED: 2, TaskStatus.SCHEDULED: 1},
            "heavy": {TaskStatus.QUEUED: 1},
        }
        assert seen.oldest_wait >= 0.0
        async with working(executor, queues=["heavy"]):

            async def heavy_done() -> bool:
                now = await executor.engine.queue_statistics()
                return now.queues["heavy"] == {TaskStatus.SUCCEEDED: 1} and now.workers[0].alive

            await until(heavy_done)
            await until(lambda: executor.engine.vitals().silent is not None)
        assert executor.engine.vitals() is None
        assert (await executor.engine.queue_statistics()).queues["creatormate"][TaskStatus.QUEUED] == 2


async def test_an_occurrence_is_claimed_by_one(postgres_url):
    """Whoever comes first, of all processes."""
    async with executor_at(postgres_url) as one, executor_at(postgres_url) as other:
        answers = await asyncio.gather(*(each.engine.claim("report", "7") for each in (one, other) * 5))
        assert sorted(answers) == [False] * 9 + [True]
        assert await other.engine.claim("report", "8")


async def test_a_function_that_the_worker_does_not_know_is_left_to_others(postgres_url, monkeypatch):
    """A newer worker may know it; when nobody did, the task has failed and says why."""
    async with executor_at(postgres_url, max_rescues=1) as executor:
        handle = await executor.submit(fleet.add, 1)
        monkeypatch.delattr(fleet, "add")
        async with working(executor):
            await reaches(handle, TaskStatus.RETRYING)
            record = await handle.record()
            assert "not known here" in record.error
            assert record.attempts == 0
            await executor.engine._store._queries.rows("UPDATE procrastinate_jobs SET scheduled_at = NULL RETURNING 1")
            with pytest.raises(ConfigurationError, match="not known here"):
                await handle.result(30)


async def test_what_is_returned_must_be_json(postgres_url):
    """Else the task has failed: its result could not be given to anybody."""
    async with executor_at(postgres_url) as executor, working(executor):
        handle = await executor.submit(fleet.return_object)
        with pytest.raises(TaskError, match="what the task returned"):
            await handle.result(30)


@task()
async def says(text: str) -> str:
    return text


async def test_texts_come_back_as_they_were(postgres_url):
    """Also those that PostgreSQL could not store as text; numbers and the order of keys too."""
    values = ["a\0b", "\ud800", "ü€😀", '"; DROP TABLE', "%s %(x)s {}"]
    async with executor_at(postgres_url) as executor, working(executor):
        for value in values:
            assert await (await executor.submit(says, value)).result(30) == value
        odd = {"b": [1.0, 1e300, -0.0], "a": {"": None}, "z" * 100: 10**30}
        back = await (await executor.submit(says, odd)).result(30)
        assert back == odd
        assert list(back) == list(odd)
        with pytest.raises(ValueError, match="PostgreSQL cannot store"):
            await executor.options(tags={"a": "b\0"}).submit(fleet.add, 1)


async def test_a_key_that_waits_would_block_its_others(postgres_url):
    """So a delay with a key is refused."""
    async with executor_at(postgres_url) as executor:
        with pytest.raises(UnsupportedOptionError, match="'key' and 'delay'"):
            await executor.options(key="t", delay=1.0).submit(fleet.add, 1)


async def test_one_engine_has_one_worker_and_one_life(postgres_url):
    """Wrong calls are refused."""
    engine = ProcrastinateEngine(postgres_url)
    with pytest.raises(ConfigurationError, match="not started"):
        await engine.work()
    async with executor_at(postgres_url) as executor:
        async with working(executor):
            await until(lambda: executor.engine.vitals() is not None)
            with pytest.raises(ConfigurationError, match="works already"):
                await executor.engine.work()
        with pytest.raises(ConfigurationError, match="queue"):
            await executor.engine.work(queues=["a b"])
        handle = await executor.submit(fleet.add, 1)
        waiting = asyncio.create_task(handle.result())
        await asyncio.sleep(0.05)
    with pytest.raises(ShuttingDownError):
        await waiting
    with pytest.raises(ShuttingDownError):
        await executor.submit(fleet.add, 1)
    with pytest.raises(ConfigurationError, match="not open"):
        await handle.status()


async def test_a_cancelled_waiter_leaves_nothing(postgres_url):
    """No question is asked any more for those who went away."""
    async with executor_at(postgres_url) as executor:
        handle = await executor.submit(fleet.add, 1)
        with pytest.raises(TaskResultTimeoutError):
            await handle.result(0.1)
        ends = executor.engine._ends
        assert ends._waiters == {}
        await until(ends._asking.done)
