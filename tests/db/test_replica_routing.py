"""Where a read goes, how far a replica is behind, who has written, and what may be given as replicas."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import create_async_engine

from creatormate_resilience import Resilience
from creatormate_resilience.db import Database
from creatormate_resilience.db._replication import PrimaryLog
from creatormate_resilience.db._routing import PRIMARY, Candidate, route
from creatormate_resilience.db._sticky import RecentWrites
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.request_context import RequestContext, request_scope
from creatormate_resilience.testing import FakeClock

URL = "postgresql://ada:hunter2@db/shop"
REPLICA = "postgresql://ada:hunter2@db-2/shop"
candidates = st.lists(st.builds(Candidate, serving=st.booleans(), load=st.integers(0, 20)), max_size=6)


# Routing ------------------------------------------------------------------------------------------------------------
@given(candidates, st.integers(0, 10_000))
def test_a_read_asks_every_server_once_in_an_order_that_holds(replicas, turn):
    """Those that serve, the least used first; then the primary; then the others, the least used first."""
    order = route(replicas, turn, pinned=False)
    assert sorted(order) == [PRIMARY, *range(len(replicas))]
    before, after = order[: order.index(PRIMARY)], order[order.index(PRIMARY) + 1 :]
    assert all(replicas[index].serving for index in before)
    assert not any(replicas[index].serving for index in after)
    for part in (before, after):
        assert [replicas[index].load for index in part] == sorted(replicas[index].load for index in part)


@given(candidates, st.integers(0, 10_000))
def test_who_has_just_written_reads_from_the_primary_or_not_at_all(replicas, turn):
    """A replica would not have it yet, so none is second choice either."""
    assert route(replicas, turn, pinned=True) == (PRIMARY,)


@given(st.integers(1, 6), st.integers(0, 50), st.integers(0, 10_000))
def test_equally_used_replicas_take_turns(count, load, first):
    """So many reads in a row, and each had one."""
    replicas = [Candidate(True, load)] * count
    assert {route(replicas, first + turn, pinned=False)[0] for turn in range(count)} == set(range(count))


# Lag ----------------------------------------------------------------------------------------------------------------
@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 1000)), min_size=1, max_size=60), st.data())
def test_lag_is_never_more_than_the_truth_and_less_by_a_second_at_most(steps, data):
    """Compared with a complete history of what the primary had written when."""
    log, now, position, history = PrimaryLog(2.0), 0.0, 0, []
    for pause, written in steps:
        now, position = now + pause, position + written
        history.append((now, position))
        log.saw(position, now)
    applied = data.draw(st.integers(0, position))
    missing = [time for time, reached in history if reached > applied]
    truth = now - missing[0] if missing else 0.0
    assert truth - 1.0 <= log.lag(applied, now) <= truth


def test_an_idle_primary_makes_nobody_late():
    """Who has applied everything is not behind, however long ago that was."""
    log = PrimaryLog(2.0)
    for now in range(1000):
        log.saw(7, now)
    assert log.lag(7, 1000.0) == 0.0
    assert log.lag(6, 1000.0) == 1000.0  # and who has not, since the beginning


def test_a_log_that_begins_anew_is_another_one():
    """After a failover or a restore the old positions mean nothing."""
    log = PrimaryLog(2.0)
    log.saw(1000, 0.0)
    log.saw(900, 10.0)
    assert log.lag(900, 20.0) == 0.0


def test_what_is_remembered_is_bounded():
    """Ten minutes at a look a second, or as long as matters; what is older is not told from that."""
    log = PrimaryLog(2.0)
    for now in range(100_000):
        log.saw(now, now)
    assert 600 <= log.lag(-1, 100_000.0) <= 2000


# Sticky primary -----------------------------------------------------------------------------------------------------
def request():
    return RequestContext({"type": "http", "headers": []}, lambda peer, headers: None)


@pytest.mark.anyio
async def test_a_commit_counts_for_its_time_and_no_longer():
    """On the clock that was given; each commit anew; 0 is never."""
    clock = FakeClock()
    writes, never = RecentWrites(5.0, clock), RecentWrites(0.0, clock)
    assert not writes.made_here()
    writes.note()
    never.note()
    clock.advance(4.9)
    assert (writes.made_here(), never.made_here()) == (True, False)
    writes.note()
    clock.advance(4.9)
    assert writes.made_here()
    clock.advance(0.1)
    assert not writes.made_here()


@pytest.mark.anyio
async def test_a_commit_counts_for_tasks_started_later_and_for_no_others():
    """Neither for those that run already, nor for who started the one that committed; nor for another database."""
    writes, other = RecentWrites(5.0, FakeClock()), RecentWrites(5.0, FakeClock())
    go = asyncio.Event()

    async def look_later():
        await go.wait()
        return writes.made_here()

    async def commit():
        writes.note()
        return await asyncio.create_task(look())

    async def look():
        return (writes.made_here(), other.made_here())

    earlier = asyncio.create_task(look_later())
    await asyncio.sleep(0)
    assert await asyncio.create_task(commit()) == (True, False)
    go.set()
    assert not await earlier
    assert not writes.made_here()


@pytest.mark.anyio
async def test_within_a_request_all_tasks_count_as_one():
    """Whichever of them committed; the next request is another one, also where it is served by the same task."""
    writes = RecentWrites(5.0, FakeClock())

    async def commit():
        writes.note()

    with request_scope(request()):
        await asyncio.create_task(commit())
        assert writes.made_here()
    with request_scope(request()):
        assert not writes.made_here()


@pytest.mark.anyio
async def test_requests_are_forgotten():
    """A service that runs for months remembers the requests of the last seconds."""
    clock = FakeClock()
    writes = RecentWrites(5.0, clock)

    async def commit():
        with request_scope(request()):
            writes.note()

    for _ in range(100):
        clock.advance(1.0)
        await asyncio.create_task(commit())
    assert len(writes._by_request) == 5


# Configuration ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("replicas", "says"),
    [
        (REPLICA, r"replicas is not a list"),
        (5, r"replicas is not a list"),
        ([5], r"replicas has a int; accepted are URLs and engines"),
        ([URL], r"db:5432/shop is given twice"),
        (["postgres://bob@db:5432/shop"], r"db:5432/shop is given twice"),
        ([REPLICA, REPLICA], r"db-2:5432/shop is given twice"),
        (["sqlite:///app.db"], r"sqlite cannot follow a primary of postgresql"),
        (["mysql://ada:hunter2@db-2/shop"], r"unknown scheme"),
        (["postgresql://ada:hunter2@db-2:port/shop"], r"malformed"),
    ],
)
def test_what_is_no_replica_is_refused_at_once(replicas, says):
    """It is said which one and why, without the password."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        Database(URL, replicas=replicas)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("replicas", [["sqlite:///copy.db"], [REPLICA]])
def test_sqlite_has_no_replicas(tmp_path, replicas):
    """It is a file; and no replicas at all is the same as none given."""
    with pytest.raises(ConfigurationError, match="do not go with SQLite"):
        Database(f"sqlite:///{tmp_path}/app.db", replicas=replicas)
    assert Database(f"sqlite:///{tmp_path}/app.db", replicas=[]).replicas == ()


@pytest.mark.parametrize(
    "wrong", [{"sticky_primary": -1}, {"sticky_primary": "5"}, {"max_replica_lag": 0}, {"max_replica_lag": True}]
)
def test_options_of_replicas_are_checked(wrong):
    """By name, with what is accepted."""
    with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))} is .*accepted"):
        Database(URL, replicas=[REPLICA], **wrong)


def test_an_engine_of_ones_own_may_have_replicas():
    """With the two options that are about them, and no others."""
    one, two = (create_async_engine(f"postgresql+asyncpg://db-{number}/shop") for number in (1, 2))
    assert Database(engine=one, replicas=[two], sticky_primary=1.0, max_replica_lag=None).replicas[0].engine is two
    with pytest.raises(ConfigurationError, match="engine= brings its own"):
        Database(engine=one, replicas=[two], pool_size=1)


def test_no_representation_has_a_password():
    """Neither the database's nor the replica's."""
    database = Database(URL, replicas=[REPLICA])
    assert repr(database.replicas[0]) == "<Replica db-2:5432/shop unknown>"
    assert "0 of 1 replicas serve" in repr(database)
    assert "hunter2" not in f"{database!r} {database.replicas!r} {database.config!r}"


def test_replicas_come_from_settings_too(monkeypatch):
    """In `DATABASE_CONFIG`, which is JSON."""
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv(
        "DATABASE_CONFIG", f'{{"replicas": ["{REPLICA}", "postgres://db-3:5433/shop"], "sticky_primary": 1}}'
    )
    resilience = Resilience()
    assert [replica.name for replica in resilience.database.replicas] == ["db-2:5432/shop", "db-3:5433/shop"]
    assert "hunter2" not in repr(resilience)
