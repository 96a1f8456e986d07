"""What counting and timing statements costs for a `SELECT 1`, beside a bare SQLAlchemy engine, with an A/A control.

Run with `nox -s benchmarks -- -s` to see the tables. Figures are ratios within one run; nothing here asserts a time.
One operation is a connection from the pool, one statement, and the connection's return: where an event on each
connection would show.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from tests.benchmarks.interleaved import measure, table

from creatormate_resilience.db._execution import Execution
from creatormate_resilience.db._fingerprint import fingerprint, syntax_of
from creatormate_resilience.db._query_recorder import QueryRecorder, Reporting
from creatormate_resilience.db._query_statistics import QueryRow
from creatormate_resilience.db._statement_tap import tap_of
from servers import PostgresServer

STATEMENT = text("SELECT 1")
JOIN = (
    "SELECT users.id, users.name, users.email FROM users JOIN posts ON posts.user_id = users.id "
    "WHERE users.id = $1::INTEGER AND posts.created > $2 ORDER BY posts.id LIMIT $3"
)
Loop = Callable[[int], object]


def recorded(engine: AsyncEngine, reporting: Reporting) -> AsyncEngine:
    """With statistics, as `Database` sets them up."""
    tap_of(engine.sync_engine).attach(QueryRecorder(engine.dialect.name, reporting))
    return engine


def hooked(engine: AsyncEngine) -> AsyncEngine:
    """With the events that would come to mind first, doing nothing."""
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *_: None)
    event.listen(engine.sync_engine, "after_cursor_execute", lambda *_: None)
    return engine


def engines(url: str) -> Mapping[str, AsyncEngine]:
    """The variants, each with a pool of one connection."""

    def make() -> AsyncEngine:
        return create_async_engine(url, poolclass=AsyncAdaptedQueuePool, pool_size=1, max_overflow=0)

    listeners = (lambda _event: None,)
    slow = Reporting(listeners=listeners, slow_after=0.5)
    repeated = Reporting(listeners=listeners, slow_after=0.5, repeats_after=50)
    return {
        "bare engine": make(),
        "bare engine again (A/A)": make(),
        "statistics": recorded(make(), Reporting()),
        "statistics, slow queries": recorded(make(), slow),
        "statistics, slow and repeated queries": recorded(make(), repeated),
        "empty before/after_cursor_execute": hooked(make()),
    }


def looped(runner: asyncio.Runner, engine: AsyncEngine) -> Loop:
    async def run(calls: int) -> None:
        for _ in range(calls):
            async with engine.connect() as connection:
                await connection.execute(STATEMENT)

    return lambda calls: runner.run(run(calls))


async def dispose(made: Mapping[str, AsyncEngine]) -> None:
    for engine in made.values():
        await engine.dispose()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(params=["CPU", "wall"])
def measured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which time the tables show; that of the CPU counts all threads of this process."""
    if request.param == "CPU":
        monkeypatch.setattr(time, "perf_counter_ns", time.process_time_ns)
    return request.param


def paired(variants: Mapping[str, Loop], *, to: str, rounds: int) -> str:
    """The median of the ratios within each round: a few percent show on a machine whose speed doubles and halves."""
    seen: dict[str, list[float]] = {name: [] for name in variants}
    least = dict.fromkeys(variants, math.inf)
    for _ in range(rounds):
        costs = measure(variants, rounds=1, calls=25)
        for name, cost in costs.items():
            seen[name].append(cost.least / costs[to].least)
            least[name] = min(least[name], cost.least)
    lines = [f"{'':44}{'min us':>10}{'median ratio':>15}{'middle half':>20}"]
    for name, ratios in seen.items():
        low, middle, high = (f"{each - 1:+.1%}" for each in statistics.quantiles(ratios, n=4))
        lines.append(f"{name:44}{least[name] / 1000:>10.0f}{middle:>15}{f'{low} to {high}':>20}")
    return "\n".join(lines)


def compare(runner: asyncio.Runner, url: str, title: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = engines(url)
    variants = {name: looped(runner, engine) for name, engine in made.items()}
    for variant in variants.values():
        variant(100)
    ratios = paired(variants, to="bare engine", rounds=300)
    runner.run(dispose(made))
    with capsys.disabled():
        print(f"\n{title}\n{ratios}")


def test_select_one_on_sqlite(runner: asyncio.Runner, measured: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In memory: the least that a statement can cost."""
    compare(runner, "sqlite+aiosqlite://", f"SELECT 1 on SQLite in memory, {measured} time", capsys)


@pytest.mark.server
def test_select_one_on_postgresql(runner: asyncio.Runner, measured: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Over a socket of this machine."""
    with PostgresServer() as server:
        server.create_database("bench")
        url = server.url_of("bench").replace("postgresql://", "postgresql+asyncpg://")
        compare(runner, url, f"SELECT 1 on PostgreSQL, {measured} time", capsys)


def test_reading_and_fingerprints(capsys: pytest.CaptureFixture[str]) -> None:
    """What is paid when statistics are read, and once for each new text."""
    chance = [(number % 997) / 9970 + 1e-5 for number in range(5000)]
    row = QueryRow("Q", 0.0)
    filled = QueryRecorder("postgresql", Reporting())
    for number in range(500):
        filled.record(_run(f"SELECT c{number} FROM t", chance[number]), (), None)
    for seconds in chance:
        row.add(_run("Q", seconds))
    rows = ", ".join("($1, $2)" for _ in range(1000))
    syntax = syntax_of("postgresql")
    variants: dict[str, Loop] = {
        "one quantile": lambda calls: [row.quantile(0.99) for _ in range(calls)],
        "the ten longest of 500": lambda calls: [filled.top(10, "total_time") for _ in range(calls)],
        "the ten with the highest p99 of 500": lambda calls: [filled.top(10, "p99") for _ in range(calls)],
        f"fingerprint of {len(JOIN)} characters": lambda calls: [fingerprint(JOIN, syntax) for _ in range(calls)],
        "fingerprint of 1000 rows": lambda calls: [
            fingerprint(f"INSERT INTO t VALUES {rows}", syntax) for _ in range(calls)
        ],
    }
    with capsys.disabled():
        print(f"\nreading, and what is new\n{table(measure(variants, rounds=7, calls=20), to='one quantile')}")


def _run(statement: str, seconds: float) -> Execution:
    return Execution(statement, seconds, 0.0)
