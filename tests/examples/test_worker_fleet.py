"""The worker fleet example: orders over HTTP, two workers, one of them killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from examples.worker_fleet.analyses import analyse_channel
from examples.worker_fleet.app import create_app
from examples.worker_fleet.fleet import create_executor

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LEASE = 1.0
TARGET = "examples.worker_fleet.fleet:executor"


def command(url: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"DATABASE_URL": url, "TASK_LEASE": str(LEASE)}
    return subprocess.Popen([sys.executable, "-m", "creatormate_resilience.cli", *arguments], env=environment)


async def test_orders_are_analysed_although_a_worker_is_killed(postgres_url, postgres_server, monkeypatch):
    """The service answers 202, the same order twice is one analysis, and every one ends."""
    monkeypatch.chdir(Path(__file__).parents[2])
    assert command(postgres_url, "tasks", "migrate", TARGET).wait(30) == 0
    workers = [command(postgres_url, "worker", TARGET, "--queues", "analyses", "--concurrency", "2") for _ in range(2)]
    executor = create_executor(postgres_url, LEASE)
    app = create_app(postgres_url, executor)
    try:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as http,
        ):
            answers = [await http.post(f"/channels/c{number % 4}/analyses", params={"days": 50}) for number in range(5)]
            assert {answer.status_code for answer in answers} == {202}
            places = [answer.headers["location"] for answer in answers]
            assert places[0] == places[4]
            assert (await http.post("/channels/c1/analyses", params={"days": 0})).status_code == 422

            end = time.monotonic() + 40
            while (await http.get(places[0])).json()["progress"] is None:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
            workers[0].kill()
            results = []
            for place in places[:4]:
                while (answer := (await http.get(place)).json())["status"] not in {"succeeded", "failed", "dead"}:
                    assert time.monotonic() < end
                    await asyncio.sleep(0.1)
                results.append(answer["result"])
            hours = [sum(f"c{number}".encode()) % 24 for number in range(4)]
            assert [result["best_hour"] for result in results] == hours
            assert (await http.get("/analyses/01a21867-b145-7c9c-a05a-50022efdca4d")).status_code == 404
        assert postgres_server.execute("SELECT count(*) FROM orders", "test") == 5
    finally:
        for worker in workers:
            worker.terminate()
        assert workers[1].wait(30) == 0


def test_an_analysis_is_declared_for_other_machines():
    """Under its own name, with retries that the worker knows."""
    from creatormate_resilience.tasks._declaration import declared_options

    assert declared_options(analyse_channel)["name"] == "analyse_channel"
    assert declared_options(analyse_channel)["retry"] is not None
