"""The tables: made once however often and from how many processes, checked at the start, and kept small."""

from __future__ import annotations

import asyncio

import pytest

import fleet_tasks as fleet
from creatormate_resilience.exceptions import ConfigurationError, DatabaseUnavailableError, TaskError, TaskNotFoundError
from creatormate_resilience.tasks import TaskExecutor, TaskStatus
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine

from .conftest import executor_at, until, working

pytestmark = pytest.mark.anyio


async def test_tables_are_made_once_from_many_at_once(postgres_server, postgres_url):
    """Neither a second time nor a second process does harm."""
    await asyncio.gather(*(ProcrastinateEngine(postgres_url).migrate() for _ in range(4)))
    async with executor_at(postgres_url) as executor:
        handle = await executor.submit(fleet.add, 1)
        await executor.engine.migrate()
        assert await handle.status() is TaskStatus.QUEUED
    assert postgres_server.execute("SELECT count(*) FROM creatormate_tasks_schema", "test") == 1


async def test_tables_stand_beside_those_that_procrastinate_made(postgres_server, postgres_url):
    """Who uses Procrastinate already keeps what is there."""
    import procrastinate

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=postgres_url))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await app.configure_task("theirs").defer_async()
        async with executor_at(postgres_url) as executor, working(executor):
            assert await (await executor.submit(fleet.add, 1)).result(30) == 2
    assert postgres_server.execute("SELECT status FROM procrastinate_jobs WHERE task_name = 'theirs'", "test") == "todo"


async def test_a_schema_of_its_own(postgres_server, postgres_url):
    """Everything stands in there, and a transaction whose search path does not name it finds it."""
    from sqlalchemy.ext.asyncio import create_async_engine

    async with executor_at(postgres_url, schema="queue_of_ours") as executor, working(executor):
        assert await (await executor.submit(fleet.add, 1)).result(30) == 2
        engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
        async with engine.begin() as connection:
            handle = await executor.options(connection=connection).submit(fleet.add, 2)
        assert await handle.result(30) == 3
        await engine.dispose()
    assert postgres_server.execute("SELECT to_regclass('public.procrastinate_jobs')", "test") is None


async def refusal(url: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        await TaskExecutor(engine=ProcrastinateEngine(url)).start()
    return str(refused.value)


async def test_tables_that_do_not_fit_are_refused_at_the_start(postgres_server, postgres_url):
    """Missing, too old, too new, or those of an old Procrastinate; the error names what to run."""
    assert "tasks migrate" in await refusal(postgres_url)
    await ProcrastinateEngine(postgres_url).migrate()
    postgres_server.execute("UPDATE creatormate_tasks_schema SET version = 0", "test")
    assert "tasks migrate" in await refusal(postgres_url)
    postgres_server.execute("UPDATE creatormate_tasks_schema SET version = 3", "test")
    assert "update creatormate-resilience" in await refusal(postgres_url)
    postgres_server.execute("UPDATE creatormate_tasks_schema SET version = 2", "test")
    async with TaskExecutor(engine=ProcrastinateEngine(postgres_url)) as executor:  # a deploy that rolls
        assert await executor.submit(fleet.add, 1)
    postgres_server.execute("DROP FUNCTION procrastinate_retry_job_v2", "test")
    assert "migrations that come with it" in await refusal(postgres_url)


async def test_a_database_that_is_away_is_named(postgres_url):
    """Without its password, and without waiting for ever."""
    url = "postgresql://user:geheim@127.0.0.1:1/nowhere"
    with pytest.raises(DatabaseUnavailableError) as refused:
        await TaskExecutor(engine=ProcrastinateEngine(url, connect_timeout=0.3)).start()
    assert "geheim" not in f"{refused.value!r}{refused.value}{refused.value.cause_chain}"


async def test_ended_tasks_are_forgotten_in_time(postgres_server, postgres_url):
    """Those that ended badly later than the others; the queue's own table is empty at once."""
    async with executor_at(postgres_url, result_ttl=0.2, failure_ttl=3600.0) as executor:
        good, bad = await executor.submit(fleet.add, 1), await executor.submit(fleet.fail, "no")
        async with working(executor):
            assert await good.result(30) == 2
            with pytest.raises(TaskError):
                await bad.result(30)
            assert postgres_server.execute("SELECT count(*) FROM procrastinate_jobs", "test") == 0

            async def forgotten() -> bool:
                return len(await executor.list()) == 1

            await until(forgotten)
        with pytest.raises(TaskNotFoundError):
            await good.status()
        assert await bad.status() is TaskStatus.FAILED
