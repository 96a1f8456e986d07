"""The guide's module-level functions over whatever `Resilience` is current."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from creatormate_resilience.breaker import BreakerState, CircuitBreakerConfig
from creatormate_resilience.exceptions import ConfigurationError, TaskNotFoundError, TaskResultTimeoutError
from creatormate_resilience.settings import Settings
from creatormate_resilience.shortcuts import (
    cache_get,
    cache_set,
    circuit_breaker,
    get_async_processor,
    get_circuit_breaker_manager,
    get_database,
    get_distributed_cache,
    get_task_result,
    initialize_database,
    shutdown,
    submit_background_task,
)
from creatormate_resilience.tasks import TaskPriority
from creatormate_resilience.toolkit import Resilience, current_resilience

pytestmark = pytest.mark.anyio


@pytest.fixture
async def resilience():
    """A started `Resilience` on embedded defaults."""
    async with Resilience(Settings(database_url="sqlite:///app.db")) as started:
        yield started


async def test_the_first_shortcut_builds_and_starts_one_and_shutdown_closes_it():
    """Nothing has to be set up for the guide's functions to work."""
    await cache_set("key", [1, 2], ttl=60)
    assert await cache_get("key") == [1, 2]
    built = current_resilience()
    assert built.started
    await shutdown()
    assert not built.started


async def test_a_decorated_function_binds_to_the_current_one_at_each_change(resilience):
    """A decorator made at import serves every `Resilience` that comes, with that one's breaker."""

    @circuit_breaker("api")
    async def call() -> str:
        return "answer"

    assert await call() == "answer"
    assert get_circuit_breaker_manager().get("api").statistics().successes == 1
    async with Resilience() as other:
        assert await call() == "answer"
        assert other.breakers.get("api").statistics().successes == 1
    assert resilience.breakers.get("api").statistics().successes == 1


async def test_settings_win_over_the_decorator(resilience):
    """Operators decide."""
    settings = Settings(circuit_breaker_configs={"api": {"failure_threshold": 1}})

    @circuit_breaker("api", CircuitBreakerConfig(failure_threshold=50))
    async def call() -> None:
        raise ConnectionError

    async with Resilience(settings) as configured:
        with pytest.raises(ConnectionError):
            await call()
        assert configured.breakers.get("api").state is BreakerState.OPEN


async def test_two_decorators_that_disagree_are_an_error(resilience):
    """One name, one meaning; equal declarations are fine."""

    @circuit_breaker("api", CircuitBreakerConfig(failure_threshold=3))
    def one() -> int:
        return 1

    @circuit_breaker("api", CircuitBreakerConfig(failure_threshold=3))
    def same() -> int:
        return 2

    @circuit_breaker("api", CircuitBreakerConfig(failure_threshold=4))
    def other() -> int:
        return 3

    assert (one(), same()) == (1, 2)
    with pytest.raises(ConfigurationError, match="declared twice"):
        other()


async def test_every_kind_of_function_keeps_its_kind(resilience):
    """`def`, `async def`, generators, async generators and methods."""

    class Client:
        @circuit_breaker("api")
        def plain(self, x: int) -> int:
            return x + 1

        @circuit_breaker("api")
        def stream(self, n: int):
            yield from range(n)

        @circuit_breaker("api")
        async def astream(self, n: int):
            for i in range(n):
                yield i

    client = Client()
    assert client.plain(1) == 2
    assert list(client.stream(3)) == [0, 1, 2]
    assert [i async for i in client.astream(3)] == [0, 1, 2]
    assert await asyncio.to_thread(client.plain, 2) == 3
    assert resilience.breakers.get("api").statistics().successes == 4


def test_a_timeout_that_cannot_be_kept_is_refused_at_decoration():
    """Not at the first call in production."""
    with pytest.raises(ConfigurationError, match="not async"):

        @circuit_breaker("api", CircuitBreakerConfig(timeout=1))
        def call() -> None: ...


async def test_initialize_database_replaces_the_database(resilience, tmp_path):
    """The guide's call sets url and pool; what was there is closed."""
    old = resilience.database
    database = await initialize_database(url=f"sqlite:///{tmp_path}/other.db", pool_size=10, max_overflow=20)
    assert resilience.database is database is not old
    assert await get_database() is database
    assert (database.config.pool_size, database.config.max_overflow) == (10, 20)
    async with database.begin() as session:
        await session.execute(text("SELECT 1"))
    assert (tmp_path / "other.db").exists()


async def test_keywords_that_the_function_does_not_take_become_tags(resilience):
    """The guide passes user_id and agent_type beside the function's own arguments."""

    async def analyse(query: str, context: dict[str, str], *, depth: int = 1) -> str:
        return f"{query} {context['channel']} {depth}"

    task_id = await submit_background_task(
        analyse,
        "why",
        {"channel": "c1"},
        priority=TaskPriority.HIGH,
        timeout=300,
        depth=2,
        user_id=7,
        agent_type="content",
    )
    assert await get_task_result(task_id, wait=True, timeout=30) == "why c1 2"
    record = await (await get_async_processor()).get(task_id)
    assert dict(record.tags) == {"user_id": "7", "agent_type": "content"}
    assert record.priority is TaskPriority.HIGH


async def test_a_function_that_takes_any_keyword_gets_them_all(resilience):
    """With `**kwargs` nothing is left over for tags."""

    async def takes_all(**kwargs: int) -> dict[str, int]:
        return kwargs

    assert await get_task_result(await submit_background_task(takes_all, user_id=1)) == {"user_id": 1}


async def test_a_result_that_is_not_there_yet_is_an_error_and_cancels_nothing(resilience):
    """Polling with wait=False is told apart from a result of None."""
    gate = asyncio.Event()
    task_id = await submit_background_task(gate.wait)
    with pytest.raises(TaskResultTimeoutError):
        await get_task_result(task_id, wait=False)
    gate.set()
    assert await get_task_result(task_id) is True
    with pytest.raises(TaskNotFoundError):
        await get_task_result("nobody-knows-this")


async def test_cache_shortcuts_work_on_a_real_server(redis_url):
    """What one `Resilience` wrote, another reads from Redis."""
    settings = Settings(redis_url=redis_url)
    async with Resilience(settings):
        await cache_set("agent_response:1", {"answer": 42}, ttl=1800, category="agent_response")
    async with Resilience(settings):
        assert await cache_get("agent_response:1") == {"answer": 42}
        assert await (await get_distributed_cache()).exists("agent_response:1")
