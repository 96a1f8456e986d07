"""Reading from replicas of a real PostgreSQL: who reads where, and what happens to a replica happens to nobody else."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections import Counter
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import create_async_engine

from creatormate_resilience import Resilience
from creatormate_resilience.db import Database, DatabaseState, ReplicaLeftOut, ReplicaReturned, ReplicaState
from creatormate_resilience.exceptions import (
    CommitOutcomeUnknownError,
    DatabaseError,
    DatabaseUnavailableError,
    PoolExhaustedError,
)
from creatormate_resilience.health import HealthStatus
from creatormate_resilience.integrations.fastapi import setup_error_handlers
from creatormate_resilience.request_context import RequestContext, get_request_context, request_scope
from creatormate_resilience.testing import FakeClock, FaultProxy, Recorder
from servers.replication import ReplicatedPostgres

pytestmark = [pytest.mark.anyio, pytest.mark.server]

PAGE = Path(__file__).parents[2] / "docs" / "database" / "replicas.md"
SNIPPET = re.compile(r"^```python\n(.*?)^```|^<!-- hidden\n(.*?)^-->", re.MULTILINE | re.DOTALL)
PORT = text("SELECT current_setting('port')::int")
INSERT = text("INSERT INTO note (body) VALUES ('x')")
COUNT = text("SELECT count(*) FROM note")
CONNECTIONS = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'under test'")
APPLICATION = {"server_settings": {"application_name": "under test"}}


@pytest.fixture(scope="module")
def servers():
    """A primary and two replicas, with a table."""
    with ReplicatedPostgres() as servers:
        servers.primary.execute("CREATE TABLE note (body text)", database="test")
        servers.catch_up()
        yield servers


@pytest.fixture(autouse=True)
def _serve_again(servers):
    yield
    servers.restore()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def told():
    return Recorder()


def make_database(servers, **options) -> Database:
    replicas = [replica.url_of("test") for replica in servers.replicas]
    return Database(servers.primary.url_of("test"), replicas=replicas, connect_args=APPLICATION, **options)


@pytest.fixture
async def database(servers, clock, told):
    async with make_database(servers, clock=clock, listeners=[told]) as database:
        assert [replica.state for replica in database.replicas] == [ReplicaState.SERVING] * 2
        yield database


async def read(database: Database, **options) -> int:
    """The port of the server that answered."""
    async with database.connect(**options) as connection:
        return (await connection.execute(PORT)).scalar_one()


async def write(database: Database) -> None:
    async with database.begin() as session:
        await session.execute(INSERT)


def ports(servers) -> set[int]:
    return {replica.port for replica in servers.replicas}


async def wait_for(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


# Where a read goes --------------------------------------------------------------------------------------------------
async def test_reads_go_to_replicas_in_turn_and_everything_else_to_the_primary(database, servers):
    """By all three verbs of reading; and statements on replicas are counted like all others."""
    seen: Counter[int] = Counter()
    for _ in range(4):
        seen[await read(database)] += 1
        for opened in (database.begin(read_only=True), database.session(read_only=True)):
            async with opened as session:
                seen[(await session.execute(PORT)).scalar_one()] += 1
    assert seen == dict.fromkeys(ports(servers), 6)
    for opened in (database.begin(), database.session()):
        async with opened as session:
            assert (await session.execute(PORT)).scalar_one() == servers.primary.port
    assert await database.run_transaction(lambda tx: tx.session.scalar(PORT)) == servers.primary.port
    assert [row.count for row in database.query_statistics() if "current_setting" in row.fingerprint] == [15]


async def test_whoever_must_can_read_from_the_primary(database, servers):
    """For one block; and SERIALIZABLE, which a replica refuses, goes there by itself."""
    assert await read(database, primary=True) == servers.primary.port
    blocks = (
        database.begin(read_only=True, primary=True),
        database.session(read_only=True, primary=True),
        database.begin(read_only=True, isolation_level="SERIALIZABLE"),
    )
    for opened in blocks:
        async with opened as session:
            assert (await session.execute(PORT)).scalar_one() == servers.primary.port


async def test_the_least_used_replica_is_read_from(database, servers):
    """One on which reads pile up gets no more of them."""
    async with database.connect() as connection:
        busy = (await connection.execute(PORT)).scalar_one()
        assert {await read(database) for _ in range(5)} == ports(servers) - {busy}


@pytest.mark.parametrize("verb", ["connect", "begin", "session"])
async def test_writing_where_only_reading_is_allowed_is_said_so(database, verb):
    """A replica refuses as the primary would, under the same name."""
    opened = database.connect() if verb == "connect" else getattr(database, verb)(read_only=True)
    with pytest.raises(DatabaseError, match=r"db\.begin\(\)"):
        async with opened as reader:
            await reader.execute(INSERT)


async def test_all_connections_to_a_replica_refuse_to_write(database, servers):
    """From the beginning, so that sessions and connections need not change that back and forth."""
    async with database.session(read_only=True) as session:
        assert await session.scalar(text("SHOW default_transaction_read_only")) == "on"
    async with database.begin(read_only=True) as session:
        assert await session.scalar(text("SHOW default_transaction_read_only")) == "on"


async def test_a_full_replica_does_not_send_its_readers_to_the_primary(servers):
    """It is busy, not away: they are refused, and the writers keep their connections."""
    async with make_database(servers, pool_size=1, max_overflow=0, pool_timeout=0.05) as database:
        async with database.connect(), database.connect():
            with pytest.raises(PoolExhaustedError):
                await asyncio.create_task(read(database))
        assert [replica.state for replica in database.replicas] == [ReplicaState.SERVING] * 2
        assert database.pool_statistics().timeouts == 0
        assert sum(replica.pool_statistics().timeouts for replica in database.replicas) == 1


# Sticky primary -----------------------------------------------------------------------------------------------------
async def commit_by_begin(database):
    await write(database)


async def commit_by_session(database):
    async with database.session() as session:
        await session.execute(INSERT)
        await session.commit()


async def commit_by_run_transaction(database):
    await database.run_transaction(lambda tx: tx.session.execute(INSERT))


@pytest.mark.parametrize("commit", [commit_by_begin, commit_by_session, commit_by_run_transaction])
async def test_after_a_commit_one_reads_what_one_wrote(database, servers, clock, commit):
    """From the primary while the replicas may not have it; and from them again after that."""
    for replica in servers.replicas:
        replica.pause()
    async with database.connect(primary=True) as connection:
        before = (await connection.execute(COUNT)).scalar_one()
    await commit(database)
    async with database.begin(read_only=True) as session:
        assert (await session.execute(COUNT)).scalar_one() == before + 1
    assert await asyncio.create_task(read(database)) == servers.primary.port
    clock.advance(database.config.sticky_primary)
    assert await read(database) in ports(servers)


async def test_a_commit_counts_from_its_answer(database, servers, clock):
    """It may have been under way for long."""
    async with database.session() as session:
        event.listen(session.sync_session, "before_commit", lambda _: clock.advance(4))
        await session.execute(INSERT)
        await session.commit()
    clock.advance(4.5)
    assert await read(database) == servers.primary.port


async def test_a_commit_whose_answer_was_lost_counts_too(servers):
    """It may have been applied, and who looks whether it was must not look where it is not yet."""
    with FaultProxy("127.0.0.1", servers.primary.port) as proxy:
        url, replicas = servers.primary.url_of("test"), [servers.replicas[0].url_of("test")]
        async with Database(proxy.url_for(url), replicas=replicas) as database:
            with pytest.raises(CommitOutcomeUnknownError):
                async with database.begin() as session:
                    await session.execute(INSERT)
                    proxy.lose_reply()
            assert await read(database) == servers.primary.port


async def test_what_was_rolled_back_sticks_to_nothing(database, servers):
    """Nor does a transaction that only reads."""
    with pytest.raises(ZeroDivisionError):
        async with database.begin() as session:
            await session.execute(INSERT)
            raise ZeroDivisionError
    async with database.session() as session:
        await session.execute(INSERT)
        await session.rollback()
    async with database.begin(read_only=True):
        pass
    assert await read(database) in ports(servers)


async def test_a_reading_session_chooses_for_each_transaction(database, servers):
    """One that was open before the commit sees it in its next transaction, and stays on one server during each."""
    async with database.session(read_only=True) as session:
        first = {(await session.execute(PORT)).scalar_one() for _ in range(3)}
        await session.commit()
        await write(database)
        second = {(await session.execute(PORT)).scalar_one() for _ in range(3)}
    assert len(first) == 1
    assert first < ports(servers)
    assert second == {servers.primary.port}


@pytest.mark.parametrize("middleware", [True, False])
async def test_a_request_reads_its_own_writes_and_no_others_do(database, servers, middleware):
    """Tasks that it spawns too; with the library's middleware also what a task of it has committed."""
    app = FastAPI()
    if middleware:
        setup_error_handlers(app)

    async def commit() -> None:
        await write(database)

    @app.post("/in-task")
    async def in_task() -> list[int]:
        await asyncio.create_task(commit())
        return [await read(database)]

    @app.post("/")
    async def here() -> list[int]:
        await commit()
        return [await read(database), *await asyncio.gather(read(database), read(database))]

    @app.get("/")
    async def reads() -> list[int]:
        return [await read(database)]

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        post, get = asyncio.create_task(client.post("/")), asyncio.create_task(client.get("/"))
        assert (await post).json() == [servers.primary.port] * 3
        assert (await get).json()[0] in ports(servers)
        told_by_task = (await client.post("/in-task")).json()[0]
        assert (told_by_task == servers.primary.port) is middleware


# A replica that is not well -----------------------------------------------------------------------------------------
async def test_a_killed_replica_costs_no_read_and_comes_back(database, servers, told):
    """Reads go to the other one; health and events say so; once it is back it is read from again."""
    down, other = servers.replicas
    for _ in range(4):
        await read(database)
    down.kill()
    await asyncio.sleep(0.05)  # as long as it takes to notice that connections were closed
    assert {await read(database) for _ in range(10)} == {other.port}
    health = await database.health()
    assert (health.state, [each.state for each in health.replicas]) == (
        DatabaseState.DEGRADED,
        [ReplicaState.AWAY, ReplicaState.SERVING],
    )
    assert f"127.0.0.1:{down.port}/test is away" in health.detail
    assert [(event.replica, event.state) for event in told.of(ReplicaLeftOut)] == [
        (f"127.0.0.1:{down.port}/test", ReplicaState.AWAY)
    ]
    await asyncio.to_thread(down.start)
    await wait_for(lambda: told.of(ReplicaReturned))
    assert {await read(database) for _ in range(10)} == ports(servers)
    assert (await database.health()).state is DatabaseState.UP


async def test_without_any_replica_the_primary_is_read_from(database, servers):
    """And a session that reads goes there too."""
    for replica in servers.replicas:
        replica.kill()
    await asyncio.sleep(0.05)
    assert await read(database) == servers.primary.port
    async with database.session(read_only=True) as session:
        assert (await session.execute(PORT)).scalar_one() == servers.primary.port
    assert (await database.health()).state is DatabaseState.DEGRADED


async def test_replicas_that_were_never_there_are_no_error(servers):
    """A closed port, and a database that does not exist: from the start on."""
    replicas = ["postgresql://postgres@127.0.0.1:1/test", servers.replicas[0].url_of("nowhere")]
    async with Database(servers.primary.url_of("test"), replicas=replicas) as database:
        assert await read(database) == servers.primary.port
        assert {replica.state for replica in database.replicas} == {ReplicaState.AWAY}
        assert "nowhere" in database.replicas[1].detail


async def test_a_frozen_replica_fails_nobody_who_asks_for_a_connection(servers):
    """Connections that went silent, tasks that wait for one: they go on elsewhere as soon as it is noticed."""
    clock = FakeClock()
    frozen, other = servers.replicas
    patient = {"pool_timeout": 600, "connect_timeout": 600}  # nobody waits that long
    async with make_database(servers, clock=clock, pool_size=2, max_overflow=0, **patient) as database:
        await asyncio.gather(*(read(database) for _ in range(4)))
        clock.advance(5)  # else they count as just used, and are not tested
        frozen.freeze()
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*(read(database) for _ in range(12)))
        assert set(answers) <= {other.port, servers.primary.port}
        assert database.replicas[0].state is ReplicaState.AWAY
        frozen.resume()
        await wait_for(lambda: database.replicas[0].serving)


async def test_an_error_in_a_block_is_the_blocks_own(database, servers):
    """What is under way on a replica that dies is not run again behind anyone's back."""
    runs = []
    with pytest.raises(DatabaseUnavailableError):
        async with database.connect() as connection:
            port = (await connection.execute(PORT)).scalar_one()
            runs.append(port)
            next(replica for replica in servers.replicas if replica.port == port).kill()
            await connection.execute(text("SELECT 1"))
    assert len(runs) == 1
    assert await read(database) in ports(servers) - set(runs)


# Lag ----------------------------------------------------------------------------------------------------------------
async def test_a_replica_that_lags_is_left_out_until_it_has_caught_up(database, servers, clock, told):
    """It is there, but behind by more than `max_replica_lag`; how much is said."""
    late, other = servers.replicas
    late.pause()
    await asyncio.create_task(write(database))
    await asyncio.to_thread(other.catch_up)
    assert (await database.health()).state is DatabaseState.UP
    clock.advance(3)
    health = await database.health()
    assert health.state is DatabaseState.DEGRADED
    assert (health.replicas[0].state, health.replicas[0].lag) == (ReplicaState.LAGGING, 3.0)
    assert (health.replicas[1].state, health.replicas[1].lag) == (ReplicaState.SERVING, 0.0)
    assert {await read(database) for _ in range(4)} == {other.port}
    late.unpause()
    await asyncio.to_thread(late.catch_up)
    assert (await database.health()).state is DatabaseState.UP
    assert [type(event) for event in told.events] == [ReplicaLeftOut, ReplicaReturned]


async def test_a_replica_that_hears_nothing_of_its_primary_lags(database, servers, clock):
    """It has applied all that it received, and yet is behind."""
    deaf = servers.replicas[0]
    deaf.mute()
    await asyncio.create_task(write(database))
    await database.health()
    clock.advance(3)
    health = await database.health()
    assert (health.replicas[0].state, health.replicas[0].lag) == (ReplicaState.LAGGING, 3.0)


async def test_nobody_lags_while_nobody_writes(database, servers, clock):
    """A quiet hour is not an hour behind."""
    await write(database)
    servers.catch_up()
    clock.advance(3600)
    health = await database.health()
    assert (health.state, [replica.lag for replica in health.replicas]) == (DatabaseState.UP, [0.0, 0.0])


async def test_lag_may_be_of_no_interest(servers, clock):
    """`max_replica_lag=None` leaves out only who does not answer."""
    async with make_database(servers, clock=clock, max_replica_lag=None) as database:
        servers.replicas[0].pause()
        await asyncio.create_task(write(database))
        clock.advance(3600)
        health = await database.health()
        assert [(each.state, each.lag) for each in health.replicas] == [(ReplicaState.SERVING, None)] * 2


# The primary --------------------------------------------------------------------------------------------------------
async def test_reading_goes_on_without_the_primary(servers, clock):
    """Also for who starts only now. Writing does not, and reading from the primary."""
    async with make_database(servers, clock=clock) as database:
        servers.primary.kill()
        assert {await read(database) for _ in range(4)} == ports(servers)
        with pytest.raises(DatabaseUnavailableError):
            await write(database)
        health = await database.health()
        assert (health.state, {each.state for each in health.replicas}) == (DatabaseState.DOWN, {ReplicaState.SERVING})
        with pytest.raises(DatabaseUnavailableError):
            await read(database, primary=True)
    async with make_database(servers) as late:
        assert await read(late) in ports(servers)


async def test_without_the_primary_a_replica_that_lags_is_better_than_none(database, servers, clock):
    """There is nothing newer then. As long as there is, it is left out."""
    for replica in servers.replicas:
        replica.pause()
    await asyncio.create_task(write(database))
    await database.health()
    clock.advance(3)
    health = await database.health()
    assert {each.state for each in health.replicas} == {ReplicaState.LAGGING}
    assert await read(database) == servers.primary.port
    servers.primary.kill()
    await asyncio.sleep(0.05)  # as long as it takes to notice that connections were closed
    assert await read(database) in ports(servers)


async def test_without_any_server_there_is_one_clear_error(servers):
    """The primary's."""
    database = make_database(servers)
    for server in (servers.primary, *servers.replicas):
        server.kill()
    with pytest.raises(DatabaseUnavailableError, match="cannot connect"):
        await database.start()
    with pytest.raises(DatabaseUnavailableError, match="cannot connect"):
        await read(database)
    await database.aclose()


async def test_a_replica_that_was_promoted_is_none_any_more(clock):
    """It follows nobody, so what it has is its own; and nobody can write there by mistake."""
    with ReplicatedPostgres(replicas=1) as servers:
        async with make_database(servers, clock=clock) as database:
            assert await read(database) in ports(servers)
            servers.replicas[0].promote()
            assert (await database.health()).replicas[0].state is ReplicaState.PROMOTED
            assert await read(database) == servers.primary.port
            servers.primary.kill()
            await asyncio.sleep(0.05)  # as long as it takes to notice that connections were closed
            with pytest.raises(DatabaseError, match=r"db\.begin\(\)"):
                async with database.connect() as connection:
                    await connection.execute(text("CREATE TABLE mistake (id int)"))


# Life ---------------------------------------------------------------------------------------------------------------
async def test_it_works_without_start(servers):
    """The first read is the primary's, because nobody knows yet how the replicas are."""
    database = make_database(servers)
    assert await read(database) == servers.primary.port
    await wait_for(lambda: all(replica.serving for replica in database.replicas))
    assert await read(database) in ports(servers)
    await database.aclose()


async def test_looking_at_replicas_is_nobodys_request(servers):
    """Whoever reads first starts it, but it goes on for all."""
    contexts = []
    database = make_database(servers, listeners=[lambda _: contexts.append(get_request_context())])
    with request_scope(RequestContext({"type": "http", "headers": []}, lambda peer, headers: None)):
        await read(database)
    await wait_for(lambda: all(replica.serving for replica in database.replicas))
    servers.replicas[0].kill()
    await wait_for(lambda: contexts)
    assert contexts == [None]
    await database.aclose()


async def test_closing_closes_all_connections(servers):
    """Of all pools, and those that look; and ends what goes on in the background."""
    before = asyncio.all_tasks()
    async with make_database(servers) as database:
        await database.warm_up(3)
        assert [replica.pool_statistics().idle for replica in database.replicas] == [3, 3]
        assert database.pool_statistics().idle == 3
    for server in (servers.primary, *servers.replicas):
        await wait_for(lambda server=server: server.execute(CONNECTIONS.text) == 0)
    assert asyncio.all_tasks() == before


async def test_closing_waits_for_no_server_that_went_silent(servers):
    """Neither for a replica nor for the primary, with several connections each, and a statement may take an hour."""
    database = make_database(servers, command_timeout=3600)
    await database.start()
    await database.warm_up(3)
    for server in (servers.primary, servers.replicas[0]):
        server.freeze()
    async with asyncio.timeout(30):
        await database.aclose()


async def test_each_pool_tells_of_itself(database):
    """Holders, numbers and metrics of a replica are its own, those of the database are the primary's."""
    await asyncio.gather(*(read(database) for _ in range(4)))
    async with database.connect() as connection:
        await connection.execute(PORT)
        assert (database.pool_statistics().in_use, database.holders()) == (0, ())
        [busy] = [replica for replica in database.replicas if replica.pool_statistics().in_use]
        assert [holder.task for holder in busy.holders()] == [asyncio.current_task().get_name()]
        assert busy.pool_statistics().as_metrics()["db.client.connection.count[used]"] == 1
        assert (await database.health()).replicas[database.replicas.index(busy)].pool.in_use == 1


async def test_engines_of_ones_own_are_read_from_and_left_open(servers):
    """The same routing, on what the application has made."""
    engines = [
        create_async_engine(server.url_of("test").replace("postgresql", "postgresql+asyncpg"))
        for server in (servers.primary, *servers.replicas)
    ]
    async with Database(engine=engines[0], replicas=engines[1:]) as database:
        assert {await read(database) for _ in range(4)} == ports(servers)
        async with database.begin(read_only=True) as session:
            assert (await session.execute(PORT)).scalar_one() in ports(servers)
        await write(database)
        assert await read(database) == servers.primary.port
    for engine in engines:
        assert engine.pool.checkedin() > 0
        await engine.dispose()


async def test_readiness_warns_of_a_replica_that_is_away(servers):
    """The service goes on, so it stays ready; which replica it is stands in the details."""
    resilience = Resilience(database=make_database(servers))
    async with resilience:
        servers.replicas[1].kill()
        report = await resilience.health.ready()
    details = report.checks["database"].details
    assert (report.status, details["state"]) == (HealthStatus.WARN, "degraded")
    assert [replica["state"] for replica in details["replicas"]] == ["serving", "away"]


async def test_the_page_tells_the_truth_on_real_replicas(servers, monkeypatch):
    """Its snippets run as they stand."""
    monkeypatch.setenv("DATABASE_URL", servers.primary.url_of("test"))
    monkeypatch.setenv("REPLICA_URLS", " ".join(replica.url_of("test") for replica in servers.replicas))
    names: dict[str, object] = {}
    for shown, hidden in SNIPPET.findall(PAGE.read_text(encoding="utf-8")):
        tree = ast.parse(shown or hidden, filename=PAGE.name)
        outcome = eval(compile(tree, PAGE.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if inspect.isawaitable(outcome):
            await outcome
    assert len(names["health"].replicas) == 2
