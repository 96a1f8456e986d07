"""`Resilience`: constructed cold, started warm, one end for everything, and which one is current."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from creatormate_resilience.breaker import BreakerState
from creatormate_resilience.cache import CacheState
from creatormate_resilience.db import SlowQuery
from creatormate_resilience.exceptions import (
    CircuitOpenError,
    ConfigurationError,
    ExternalAPITimeoutError,
    FeatureDisabledError,
    RetriesExhaustedError,
)
from creatormate_resilience.settings import ServiceSettings, Settings
from creatormate_resilience.testing import Recorder
from creatormate_resilience.toolkit import Resilience, close_default, current_resilience

pytestmark = pytest.mark.anyio


async def test_constructing_does_no_io(tmp_path):
    """A `Resilience` may be made at import: no file, no connection, no event loop."""
    resilience = Resilience(Settings(database_url=f"sqlite:///{tmp_path}/data.db"))
    assert not resilience.started
    assert list(tmp_path.iterdir()) == []


async def test_one_block_starts_and_closes_everything():
    """Inside the block all parts work; after it none does."""
    async with Resilience(Settings(database_url="sqlite:///app.db")) as resilience:
        await resilience.cache.set("key", "value")
        assert await resilience.cache.get("key") == "value"
        async with resilience.database.begin() as session:
            assert (await session.execute(text("SELECT 1"))).scalar() == 1
        handle = await resilience.tasks.submit(sum, [1, 2])
        assert await handle == 3
        assert (await resilience.health.ready()).status == "pass"
    assert not resilience.started
    assert (await resilience.health.ready()).status == "fail"


async def test_its_listeners_hear_its_database(tmp_path):
    """What the database has to say comes where the rest of the toolkit's events do."""
    recorder = Recorder()
    settings = Settings(database_url=f"sqlite:///{tmp_path}/app.db", database_config={"slow_query_threshold": 1e-9})
    async with (
        Resilience(settings, listeners=[recorder]) as resilience,
        resilience.database.connect() as connection,
    ):
        await connection.execute(text("SELECT 1"))
    assert recorder.of(SlowQuery)


async def test_the_default_database_is_not_made_for_who_asks_for_none():
    """An application without a database gets no stray `app.db`."""
    async with Resilience():
        pass
    assert not Path("app.db").exists()


async def test_the_default_database_opens_at_first_use_and_is_closed_with_the_rest():
    """Who does ask for a database gets it without a setting, and leaves nothing open."""
    async with Resilience() as resilience:
        async with resilience.database.begin() as session:
            await session.execute(text("SELECT 1"))
        assert resilience.database.opened
        assert (await resilience.health.ready()).checks["database"].details["state"] == "up"
    assert not resilience.database.opened
    assert Path("app.db").exists()


async def test_the_one_started_last_on_this_loop_is_current_until_it_is_closed():
    """Handlers and shortcuts find what the lifespan started."""
    async with Resilience() as outer:
        assert current_resilience() is outer
        async with Resilience() as inner:
            assert current_resilience() is inner
        assert current_resilience() is outer


async def test_another_task_sees_the_current_one_though_no_contextvar_was_set_for_it():
    """A request handler's context is not the lifespan's; it must see the same `Resilience`."""
    seen: list[Resilience] = []
    started, ended = asyncio.Event(), asyncio.Event()

    async def lifespan() -> None:
        async with Resilience():
            started.set()
            await ended.wait()

    async def handler() -> None:
        await started.wait()
        seen.append(current_resilience())

    async with asyncio.TaskGroup() as group:
        group.create_task(lifespan())
        await group.create_task(handler())
        assert seen[0].started
        ended.set()


async def test_a_contextvar_overrides_it_for_one_context_only():
    """Tests can swap it without touching anybody else."""
    other = Resilience()
    async with Resilience() as started:
        with other.as_current():
            assert current_resilience() is other
            assert await asyncio.create_task(_current()) is other
        assert current_resilience() is started


async def _current() -> Resilience:
    return current_resilience()


async def test_worker_threads_see_it_too():
    """Sync endpoints run in threads that have no event loop."""
    async with Resilience() as resilience:
        assert await asyncio.to_thread(current_resilience) is resilience
        found: list[Resilience] = []
        thread = threading.Thread(target=lambda: found.append(current_resilience()))
        thread.start()
        thread.join()
        assert found == [resilience]


async def test_two_loops_have_each_their_own():
    """What was started on one event loop is not handed to another."""

    def other_loop() -> bool:
        async def main() -> bool:
            async with Resilience() as own:
                return current_resilience() is own

        return asyncio.run(main())

    async with Resilience() as here:
        assert await asyncio.to_thread(other_loop)
        assert current_resilience() is here


async def test_without_any_one_is_built_from_the_environment_once(monkeypatch):
    """The first to ask builds it on embedded defaults, the next get the same, `close_default` ends it."""
    monkeypatch.setenv("CACHE_NAMESPACE", "from-environment")
    built = current_resilience()
    assert current_resilience() is built
    assert built.settings.cache_namespace == "from-environment"
    await built.start()
    await close_default()
    assert not built.started
    assert current_resilience() is not built
    await close_default()


async def test_closing_the_default_leaves_an_explicit_one_alone():
    """`shutdown()` closes what it built, never what somebody else started."""
    async with Resilience() as resilience:
        await close_default()
        assert resilience.started


async def test_starting_twice_at_once_starts_once():
    """Concurrent first callers share one start."""
    resilience = Resilience()
    await asyncio.gather(*(resilience.start() for _ in range(5)))
    assert resilience.started
    await resilience.aclose()
    await resilience.aclose()
    assert not resilience.started


async def test_a_dependency_that_is_away_does_not_keep_it_from_starting(free_tcp_port):
    """A service whose database and Redis are down starts, answers from memory, and says that it is not ready."""
    settings = Settings(
        redis_url=f"redis://127.0.0.1:{free_tcp_port}",
        database_url=f"postgresql://u@127.0.0.1:{free_tcp_port}/d",
        database_config={"connect_timeout": 0.5},
    )
    async with Resilience(settings) as resilience:
        await resilience.cache.set("key", 1)
        assert await resilience.cache.get("key") == 1
        assert resilience.cache.state is CacheState.DEGRADED
        report = await resilience.health.ready()
        assert report.status == "fail"
        assert report.checks["database"].status == "fail"
        assert report.checks["cache"].status == "warn"


async def test_breakers_switched_off_pass_everything_through_and_still_count():
    """ENABLE_CIRCUIT_BREAKERS=false: DISABLED, not gone."""
    async with Resilience(Settings(enable_circuit_breakers=False)) as resilience:
        breaker = resilience.breakers.get("openai_api")
        for _ in range(10):
            with pytest.raises(ConnectionError), breaker.guard():
                raise ConnectionError
        assert breaker.state is BreakerState.DISABLED
        assert breaker.statistics().failures == 10


async def test_cache_and_tasks_can_be_switched_off(redis_url):
    """ENABLE_DISTRIBUTED_CACHE=false keeps the cache in memory, ENABLE_ASYNC_PROCESSING=false refuses tasks."""
    settings = Settings(redis_url=redis_url, enable_distributed_cache=False, enable_async_processing=False)
    async with Resilience(settings) as resilience:
        assert resilience.cache.state is CacheState.MEMORY_ONLY
        with pytest.raises(FeatureDisabledError, match="ENABLE_ASYNC_PROCESSING"):
            _ = resilience.tasks


async def test_a_service_retries_within_its_time_and_opens_its_breaker():
    """`service(name)` is timeout, retry, breaker, bulkhead in that order, from settings."""
    settings = Settings(
        services={"api": ServiceSettings(timeout=5, max_attempts=2, max_concurrent=4, attempt_timeout=1)},
        circuit_breaker_configs={"api": {"failure_threshold": 4, "recovery_timeout": 60}},
    )
    calls = 0

    async def fails() -> None:
        nonlocal calls
        calls += 1
        raise ExternalAPITimeoutError("api")

    async with Resilience(settings) as resilience:
        service = resilience.service("api")
        assert resilience.service("api") is service
        for _ in range(2):
            with pytest.raises(RetriesExhaustedError):
                await service.acall(fails)
        with pytest.raises(CircuitOpenError) as caught:
            await service.acall(fails)
        assert calls == 4
        assert caught.value.breaker == "api"
        assert (await resilience.health.ready()).checks["breakers"].status == "warn"


async def test_an_unknown_name_in_a_mapping_is_refused_where_it_is_used():
    """A typo in CIRCUIT_BREAKER_CONFIGS, CACHE_TTLS or TASK_CONFIG is one clear line."""
    with pytest.raises(ConfigurationError, match=r"'api'.*unknown setting 'failure_treshold'"):
        Resilience(Settings(circuit_breaker_configs={"api": {"failure_treshold": 3}}))
    with pytest.raises(ConfigurationError, match=r"CACHE_TTLS\.videos"):
        Resilience(Settings(cache_ttls={"videos": {"tttl": 3}}))
    with pytest.raises(ConfigurationError, match="max_concurent"):
        Resilience(Settings(task_config={"max_concurent": 3}))
    with pytest.raises(ConfigurationError, match="pool_sise"):
        Resilience(Settings(database_config={"pool_sise": 3}))


async def test_a_service_refuses_at_once_while_its_circuit_is_open():
    """Nobody hangs until the circuit closes, however much time the service has."""
    settings = Settings(
        services={"api": ServiceSettings(timeout=3600, max_attempts=3, retry_wait=0)},
        circuit_breaker_configs={"api": {"failure_threshold": 3, "recovery_timeout": 50}},
    )

    async def fails() -> None:
        raise ConnectionError

    async with Resilience(settings) as resilience:
        with pytest.raises(RetriesExhaustedError):
            await resilience.service("api").acall(fails)
        async with asyncio.timeout(10):
            with pytest.raises(CircuitOpenError):
                await resilience.service("api").acall(fails)


async def test_redis_away_at_the_start_is_said_in_the_log(free_tcp_port, caplog):
    """A wrong port or password is not found out by looking at readiness only."""
    caplog.set_level("WARNING", logger="creatormate_resilience.toolkit")
    async with Resilience(Settings(redis_url=f"redis://:hunter2@127.0.0.1:{free_tcp_port}")):
        pass
    assert "Redis is away" in caplog.text
    assert "hunter2" not in caplog.text


async def test_a_closed_one_is_not_started_again():
    """Its parts are gone; the error says what to do."""
    resilience = Resilience()
    async with resilience:
        pass
    with pytest.raises(ConfigurationError, match="make a new one"):
        await resilience.start()


async def test_closing_gives_tasks_time_to_finish():
    """A deploy does not lose what would have been done in a moment; what takes longer than it may is cancelled."""
    done = []

    async def work(seconds):
        await asyncio.sleep(seconds)
        done.append(seconds)

    async with Resilience(Settings(shutdown_timeout=0.2)) as resilience:
        await resilience.tasks.submit(work, 0.02)
        slow = await resilience.tasks.submit(work, 60.0)
    assert done == [0.02]
    assert (await slow.status()).value == "cancelled"


def test_limits_of_keys_can_be_set_from_json():
    """TASK_CONFIG has plain data only; what is wrong in it is named."""
    Resilience(Settings(task_config={"key_limits": {"max_concurrent": 2, "rate": 5}}))
    with pytest.raises(ConfigurationError, match=r"TASK_CONFIG\.key_limits: rate is -5"):
        Resilience(Settings(task_config={"key_limits": {"rate": -5}}))


def test_a_history_of_tasks_can_be_set_from_json():
    """TASK_CONFIG has plain data only; what is wrong in it is named."""
    Resilience(Settings(task_config={"history": {"max_count": 5, "max_age": 60}}))
    with pytest.raises(ConfigurationError, match=r"TASK_CONFIG\.history"):
        Resilience(Settings(task_config={"history": {"max_cuont": 5}}))


async def test_closing_one_that_was_never_started_closes_what_was_used():
    """The database opens at first use; nothing of it stays open."""
    resilience = Resilience()
    async with resilience.database.begin() as session:
        await session.execute(text("SELECT 1"))
    await resilience.aclose()
    assert not resilience.database.opened
