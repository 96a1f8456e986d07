"""A user's journey over real HTTP: asking, an upstream failing in the middle, load, and data after a restart.

The guide's end-to-end tests: `pytest tests/e2e/ -v --tb=short`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest
from examples.creator_service.processes import running

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

Start = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def start(upstreams, settings) -> Start:
    """Start the service as a process; may be used again after it ended, with the same stores."""

    @asynccontextmanager
    async def run() -> AsyncIterator[httpx.AsyncClient]:
        arguments = ("--upstream-url", upstreams.url)
        async with (
            running("examples.creator_service", *arguments, settings=settings) as url,
            httpx.AsyncClient(base_url=url, timeout=10) as http,
        ):
            yield http

    return run


async def ask(http: httpx.AsyncClient, user: str = "u1", channel: str = "c1", question: str = "Why?") -> httpx.Response:
    return await http.post("/ask", json={"user_id": user, "channel_id": channel, "question": question})


async def until(holds: Callable[[], object], seconds: float = 15.0) -> None:
    """Poll over HTTP until something holds; another process's time cannot be faked."""
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.05)


class TestJourney:
    """One user, from the first question to the history."""

    async def test_asks_orders_an_analysis_and_looks_back(self, start):
        """Two questions and an analysis; the history has the questions, newest first."""
        async with start() as http:
            assert (await http.get("/readyz")).status_code == 200
            first = await ask(http, question="What works best?")
            second = await ask(http, question="What should come next?")
            assert (first.status_code, second.status_code) == (200, 200)
            assert not first.json()["degraded"]
            order = await http.post("/analyses", json={"user_id": "u1", "channel_id": "c1"})
            task = order.json()["task_id"]

            async def done() -> bool:
                return (await http.get(f"/analyses/{task}")).json()["status"] == "succeeded"

            await until(done)
            history = (await http.get("/history/u1")).json()
            assert [record["question"] for record in history] == ["What should come next?", "What works best?"]

    async def test_users_see_their_own_history_only(self, start):
        """What one user asked is not shown to another."""
        async with start() as http:
            await ask(http, user="u1")
            assert (await http.get("/history/u2")).json() == []


class TestErrorHandling:
    """What a user sees when things go wrong."""

    async def test_an_upstream_fails_in_the_middle_and_comes_back(self, start, upstreams):
        """Fresh answers, then old ones marked as such while YouTube fails or hangs, then fresh ones again."""
        async with start() as http:
            assert not (await ask(http)).json()["degraded"]
            for fault in ("errors", "hang"):
                await upstreams.set("youtube", kind=fault)

                async def degraded() -> bool:
                    reply = await ask(http)
                    assert reply.status_code == 200
                    return reply.json()["degraded"] and reply.json()["age"] is not None

                await until(degraded)
            await upstreams.set("youtube", kind="ok")

            async def fresh() -> bool:
                return not (await ask(http)).json()["degraded"]

            await until(fresh)

    async def test_a_question_never_asked_before_is_answered_during_an_outage(self, start, upstreams):
        """There is nothing to fall back to, and still an answer that says so."""
        async with start() as http:
            await upstreams.set("youtube", kind="errors")
            reply = await ask(http, channel="never-seen")
            assert reply.status_code == 200
            assert reply.json()["degraded"]

    async def test_errors_are_problem_documents_without_internals(self, start, upstreams):
        """A wrong request, an unknown task, a wrong route: one shape, nothing internal."""
        async with start() as http:
            answers = [
                await http.post("/ask", json={"user_id": "u1"}),
                await http.get("/analyses/unknown"),
                await http.get("/nowhere"),
                await http.delete("/ask"),
            ]
            assert [answer.status_code for answer in answers] == [422, 404, 404, 405]
            for answer in answers:
                assert answer.headers["content-type"] == "application/problem+json"
                assert "Traceback" not in answer.text
                assert "sqlite" not in answer.text


class TestLoad:
    """Many users at once."""

    async def test_concurrent_users_are_all_served(self, start, settings):
        """Two hundred questions of fifty users, twenty at a time: all served, most of them from the cache."""
        settings["CACHE_TTLS"] = '{"agent_response": 600, "youtube_api": 600}'
        async with start() as http:
            gate = asyncio.Semaphore(20)

            async def one(number: int) -> int:
                async with gate:
                    return (await ask(http, user=f"u{number % 50}", channel=f"c{number % 10}")).status_code

            codes = await asyncio.gather(*(one(number) for number in range(200)))
            assert set(codes) == {200}
            cache = (await http.get("/statistics")).json()["cache"]
            assert cache["loads"] <= 40  # ten channels, two agents: facts and an answer each


class TestPersistence:
    """What outlives the process."""

    async def test_history_is_there_after_a_restart(self, start):
        """The service ends and another begins on the same stores; the user's history is whole."""
        async with start() as http:
            for number in range(3):
                assert (await ask(http, question=f"question {number}")).json()["recorded"]
        async with start() as http:
            history = (await http.get("/history/u1")).json()
            assert [record["question"] for record in history] == ["question 2", "question 1", "question 0"]
            assert all(record["answers"] for record in history)
