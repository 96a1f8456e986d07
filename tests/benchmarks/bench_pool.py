"""How long tasks wait for a connection of a pool that is too small, beside SQLAlchemy's own pool.

Run with `nox -s benchmarks -- -s` to see the table. Figures are ratios within one run; nothing here asserts a time.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from creatormate_resilience.db import Database
from servers import PostgresServer

TASKS, CONNECTIONS, CALLS, ROUNDS = 100, 10, 10, 9

pytestmark = pytest.mark.server


async def waits(engine: AsyncEngine) -> list[float]:
    """Seconds of each of many short uses, from asking for a connection to giving it back."""
    seen: list[float] = []

    async def work() -> None:
        for _ in range(CALLS):
            began = time.perf_counter()
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
            seen.append(time.perf_counter() - began)

    await asyncio.gather(*(work() for _ in range(TASKS)))
    return sorted(seen)


def test_the_tail_of_a_hand_over(capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred tasks on ten connections, each a `SELECT 1` in a transaction."""

    async def measure(url: str) -> dict[str, list[list[float]]]:
        ours = Database(url, pool_size=CONNECTIONS, max_overflow=0, pool_timeout=30)
        bare = create_async_engine(ours.engine.url, pool_size=CONNECTIONS, max_overflow=0)
        await ours.start()
        engines = {"SQLAlchemy": bare, "Database": ours.engine}
        rounds: dict[str, list[list[float]]] = {name: [] for name in engines}
        for number in range(ROUNDS):
            for name in random.sample(list(engines), len(engines)):
                seen = await waits(engines[name])
                if number:  # the first opens the connections
                    rounds[name].append(seen)
        await bare.dispose()
        await ours.aclose()
        return rounds

    with PostgresServer() as server:
        rounds = asyncio.run(measure(server.url))
    lines = [f"{'':14}{'p50 ms':>9}{'p99 ms':>9}{'longest':>9}{'p99/p50':>9}"]
    for name, runs in rounds.items():
        p50, p99, longest = (statistics.median(pick(run) for run in runs) * 1000 for pick in (half, nearly_all, max))
        lines.append(f"{name:14}{p50:>9.1f}{p99:>9.1f}{longest:>9.1f}{p99 / p50:>9.1f}")
    with capsys.disabled():
        print(f"\n{TASKS} tasks on {CONNECTIONS} connections, medians of {ROUNDS - 1} rounds\n" + "\n".join(lines))


def half(run: list[float]) -> float:
    return run[len(run) // 2]


def nearly_all(run: list[float]) -> float:
    return run[int(len(run) * 0.99)]
