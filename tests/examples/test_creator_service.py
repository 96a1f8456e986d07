"""The example service in this process, against its upstreams over real HTTP."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from examples.creator_service.tokens import TokenSigner
from sqlalchemy import text

from .conftest import Service, StartService, Upstreams

pytestmark = pytest.mark.anyio

_SHORT = {"ttl": 0.05, "grace": 600, "throttle": 0.01}
SHORT = {"agent_response": _SHORT, "youtube_api": _SHORT}
SECRET = "a-secret-of-the-agents-in-this-test"
INTERNALS = ("shard-7", "Traceback", "httpx", "127.0.0.1", "sqlite", "select", "site-packages")


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["code"] == code
    assert [internal for internal in INTERNALS if internal.lower() in response.text.lower()] == []
    return document


# Answers --------------------------------------------------------------------------------------------------------------
async def test_both_agents_answer_from_what_youtube_knows(start_service: StartService, upstreams: Upstreams):
    """A healthy answer is made of the channel's facts and not degraded."""
    async with start_service() as service:
        reply = await service.ask()
    assert [answer["agent"] for answer in reply["answers"]] == ["content_analysis", "audience_insight"]
    assert "views" in reply["answers"][0]["text"]
    assert "likes" in reply["answers"][1]["text"]
    assert (reply["degraded"], reply["age"], reply["recorded"]) == (False, None, True)
    assert await upstreams.calls() == {"youtube": 2, "openai": 2}


async def test_a_question_is_answered_from_the_cache_the_second_time(start_service: StartService, upstreams: Upstreams):
    """The same question costs no further upstream call, a new one about the same channel only one per agent."""
    async with start_service() as service:
        first, again = await service.ask(), await service.ask(user_id="bob")
        assert again["answers"] == first["answers"]
        assert await upstreams.calls() == {"youtube": 2, "openai": 2}
        await service.ask(question="And what does not?")
        assert await upstreams.calls() == {"youtube": 2, "openai": 4}


async def test_crowds_cost_one_call(start_service: StartService, upstreams: Upstreams):
    """Twenty users who ask the same at once are answered by one load per agent."""
    async with start_service() as service, anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(service.ask, "c1", "What works?", f"user-{number}")
    assert await upstreams.calls() == {"youtube": 2, "openai": 2}


async def old_answer(service: Service, channel_id: str = "c1", question: str = "What works?") -> Any:
    """Ask until the time to live of what both agents keep is over, and they answer with something old."""
    while True:
        reply = await service.ask(channel_id, question)
        if all(answer["age"] is not None for answer in reply["answers"]):
            return reply
        await anyio.sleep(0.01)


@pytest.mark.parametrize(
    ("kind", "more"), [("errors", {}), ("hang", {}), ("rate_limit", {"seconds": 60}), ("malformed", {})]
)
async def test_an_old_answer_stands_in_marked_as_such(
    start_service: StartService, upstreams: Upstreams, kind: str, more: dict[str, float]
):
    """Whatever is wrong with the upstreams, the known answer is served, with its age."""
    async with start_service(cache_ttls=SHORT) as service:
        fresh = await service.ask()
        await upstreams.switch(kind, **more)
        reply = await old_answer(service)
    assert [answer["text"] for answer in reply["answers"]] == [answer["text"] for answer in fresh["answers"]]
    assert reply["degraded"] is True
    assert all(answer["degraded"] and answer["age"] > 0 for answer in reply["answers"])


async def test_an_old_answer_stands_in_when_all_attempts_are_used_up(start_service: StartService, upstreams: Upstreams):
    """Also where the service retries: that the retries are exhausted does not make the old answer worse."""
    thorough = {"timeout": 2.0, "max_attempts": 2}
    async with start_service(
        cache_ttls=SHORT, services={"youtube_api": thorough, "openai_api": thorough}, answer_budget=5.0
    ) as service:
        fresh = await service.ask()
        await upstreams.switch("errors")
        reply = await old_answer(service)
    assert [answer["text"] for answer in reply["answers"]] == [answer["text"] for answer in fresh["answers"]]


@pytest.mark.parametrize("kind", ["errors", "hang", "rate_limit", "malformed"])
async def test_a_channel_never_asked_about_gets_a_degraded_answer(
    start_service: StartService, upstreams: Upstreams, kind: str
):
    """There is nothing to say and the service says that, instead of failing."""
    await upstreams.switch(kind)
    async with start_service() as service:
        reply = await service.ask("newcomer")
    assert reply["degraded"] is True
    assert reply["age"] is None
    assert all("cannot look at this channel" in answer["text"] for answer in reply["answers"])


async def test_known_facts_are_told_where_nobody_can_put_them_into_words(
    start_service: StartService, upstreams: Upstreams
):
    """With OpenAI away a new question about a known channel is answered by the facts themselves."""
    async with start_service() as service:
        await service.ask()
        await upstreams.switch("errors", "openai")
        reply = await service.ask(question="Something new?")
    content = reply["answers"][0]
    assert content["degraded"] is True
    assert content["text"].count("views") == 5
    assert content["age"] is not None


async def test_nothing_made_of_old_facts_is_kept_as_a_new_answer(start_service: StartService, upstreams: Upstreams):
    """With YouTube away and its facts old, a new question is degraded however often it is asked."""
    async with start_service(cache_ttls={"agent_response": 600.0, "youtube_api": SHORT["youtube_api"]}) as service:
        await service.ask()
        await upstreams.switch("errors", "youtube")
        question = await unanswerable_question(service)
        assert (await service.ask(question=question))["degraded"] is True
        await upstreams.switch("ok")
        service.resilience.breakers.get("youtube_api").reset()
        assert (await service.ask(question=question))["degraded"] is False


async def unanswerable_question(service: Service) -> str:
    """The first new question that comes after the facts have become old."""
    for number in itertools.count():
        reply = await service.ask(question=f"New question {number}?")
        if all(answer["degraded"] for answer in reply["answers"]):
            return f"New question {number}?"
    raise AssertionError


async def test_a_slow_agent_costs_no_more_than_the_budget(start_service: StartService, upstreams: Upstreams):
    """Where upstreams may take long and the user's budget is short, the budget decides."""
    slow = {"timeout": 30.0}
    await upstreams.switch("hang")
    async with start_service(answer_budget=0.1, services={"youtube_api": slow, "openai_api": slow}) as service:
        with anyio.fail_after(5):
            reply = await service.ask()
    assert reply["degraded"] is True


async def test_an_open_circuit_spares_the_upstream(start_service: StartService, upstreams: Upstreams):
    """After five failures YouTube is left alone, OpenAI is not even asked, and operators can see why."""
    await upstreams.switch("errors")
    async with start_service() as service:
        for number in range(20):
            await service.ask(f"channel-{number}")
        statistics = (await service.http.get("/statistics")).json()
    assert statistics["breakers"]["youtube_api"]["state"] == "open"
    assert statistics["transitions"] == ["youtube_api: closed > open"]
    calls = await upstreams.calls()
    assert 5 <= calls["youtube"] <= 6  # two agents ask at once
    assert calls["openai"] == 0


async def test_without_the_library_an_outage_is_the_users(start_service: StartService, upstreams: Upstreams):
    """The switched-off service answers while all is well and fails with its upstreams, calling each time."""
    async with start_service(library_on=False) as service:
        assert (await service.ask())["degraded"] is False
        await service.ask()
        assert await upstreams.calls() == {"youtube": 4, "openai": 4}
        await upstreams.switch("errors")
        response = await service.http.post("/ask", json={"user_id": "a", "channel_id": "c", "question": "q"})
    assert_problem(response, 502, "UPSTREAM_ERROR")


# Errors ---------------------------------------------------------------------------------------------------------------
async def test_a_wrong_request_is_explained_without_being_repeated(start_service: StartService):
    """The field is named, what was sent is not shown."""
    async with start_service() as service:
        response = await service.http.post("/ask", json={"user_id": "<script>", "channel_id": "c"})
    document = assert_problem(response, 422, "VALIDATION_FAILED")
    assert {error["pointer"] for error in document["errors"]} == {"#/user_id", "#/question"}
    assert "script" not in response.text


async def ask_agent(service: Service, token: str | None, agent: str = "content_analysis") -> httpx.Response:
    headers = {} if token is None else {"authorization": token}
    return await service.http.post(
        f"/agents/{agent}", json={"channel_id": "c1", "question": "What works?"}, headers=headers
    )


async def test_agents_answer_those_who_have_a_token(start_service: StartService):
    """The orchestrator's token for this agent opens it."""
    async with start_service(agent_token_secret=SECRET) as service:
        token = TokenSigner(SECRET).issue("orchestrator", "content_analysis")
        response = await ask_agent(service, f"Bearer {token}")
    assert response.status_code == 200
    assert response.json()["agent"] == "content_analysis"


def bearer(signer: TokenSigner, issuer: str, audience: str) -> str:
    return f"Bearer {signer.issue(issuer, audience)}"


@pytest.mark.parametrize(
    ("header", "status", "code"),  # made when the test runs: tokens live half a minute
    [
        (lambda: None, 401, "UNAUTHENTICATED"),
        (lambda: "Basic YWxhZGRpbjpvcGVu", 401, "UNAUTHENTICATED"),
        (lambda: "Bearer nonsense", 401, "INVALID_TOKEN"),
        (lambda: bearer(TokenSigner("x" * 40), "orchestrator", "content_analysis"), 401, "INVALID_TOKEN"),
        (lambda: bearer(TokenSigner(SECRET), "orchestrator", "audience_insight"), 401, "INVALID_TOKEN"),
        (
            lambda: bearer(TokenSigner(SECRET, now=lambda: 0.0), "orchestrator", "content_analysis"),
            401,
            "TOKEN_EXPIRED",
        ),
        (lambda: bearer(TokenSigner(SECRET), "audience_insight", "content_analysis"), 403, "PERMISSION_DENIED"),
    ],
    ids=["none", "basic", "nonsense", "foreign", "for another agent", "expired", "from an agent that may not"],
)
async def test_agents_refuse_everybody_else(
    start_service: StartService, upstreams: Upstreams, header: Callable[[], str | None], status: int, code: str
):
    """Each refusal has its code, and no upstream is called."""
    async with start_service(agent_token_secret=SECRET) as service:
        response = await ask_agent(service, header())
    assert_problem(response, status, code)
    assert ("www-authenticate" in response.headers) is (status == 401)
    assert await upstreams.calls() == {"youtube": 0, "openai": 0}


async def test_an_agent_that_does_not_exist_is_not_found(start_service: StartService):
    """Even with a token for it."""
    async with start_service(agent_token_secret=SECRET) as service:
        response = await ask_agent(service, "Bearer " + TokenSigner(SECRET).issue("orchestrator", "nobody"), "nobody")
    assert_problem(response, 404, "RESOURCE_NOT_FOUND")


async def test_no_secret_and_no_token_is_logged(start_service: StartService, caplog: pytest.LogCaptureFixture):
    """Not even at the lowest level, and not where a token is refused."""
    token = TokenSigner("y" * 40).issue("orchestrator", "content_analysis")
    with caplog.at_level(logging.DEBUG):
        async with start_service(agent_token_secret=SECRET) as service:
            await service.ask()
            await ask_agent(service, f"Bearer {token}")
    assert caplog.records
    assert SECRET not in caplog.text
    assert token not in caplog.text


# History --------------------------------------------------------------------------------------------------------------
async def test_each_user_has_a_history(start_service: StartService):
    """Newest first, as many as wanted, and nobody else's."""
    async with start_service() as service:
        for question in ("one?", "two?", "three?"):
            await service.ask(question=question)
        await service.ask(question="mine?", user_id="bob")
        records = (await service.http.get("/history/ann", params={"limit": 2})).json()
    assert [record["question"] for record in records] == ["three?", "two?"]
    assert records[0]["answers"][0]["agent"] == "content_analysis"
    assert records[0]["asked_at"].endswith("Z")


async def test_the_history_is_there_after_a_restart(start_service: StartService):
    """Another service on the same database knows what the first was asked."""
    async with start_service() as service:
        await service.ask(question="remember?")
    async with start_service() as service:
        records = (await service.http.get("/history/ann")).json()
    assert [record["question"] for record in records] == ["remember?"]


async def test_a_broken_database_does_not_keep_the_user_from_an_answer(start_service: StartService):
    """The answer comes, and says that it was not recorded; looking back is a problem without internals."""
    async with start_service() as service:
        async with service.resilience.database.begin() as session:
            await session.execute(text("DROP TABLE exchanges"))
        reply = await service.ask()
        response = await service.http.get("/history/ann")
    assert (reply["degraded"], reply["recorded"]) == (False, False)
    assert_problem(response, 500, "DATABASE_ERROR")


async def test_the_service_runs_on_redis_and_postgresql(
    start_service: StartService, upstreams: Upstreams, redis_url: str, postgres_url: str
):
    """Two processes' worth of it share answers through Redis and the history through PostgreSQL."""
    servers = {"redis_url": redis_url, "database_url": postgres_url}
    async with start_service(**servers) as first, start_service(**servers) as second:
        answers = (await first.ask(user_id="ann"))["answers"]
        assert (await second.ask(user_id="ann"))["answers"] == answers
        assert await upstreams.calls() == {"youtube": 2, "openai": 2}
        assert len((await second.http.get("/history/ann")).json()) == 2
        assert (await first.http.get("/readyz")).status_code == 200


# Analyses -------------------------------------------------------------------------------------------------------------
async def analysis(service: Service, task_id: str, until: Callable[[Any], bool]) -> Any:
    """Poll until what is seen is what is waited for."""
    while True:
        seen = (await service.http.get(f"/analyses/{task_id}")).json()
        if until(seen):
            return seen
        await anyio.sleep(0.01)


@pytest.mark.parametrize("urgent", [False, True])
async def test_an_analysis_is_made_in_the_background(start_service: StartService, *, urgent: bool):
    """It is accepted at once, polled, and has a chapter for each question when it is done."""
    async with start_service() as service:
        ordered = await service.http.post("/analyses", json={"user_id": "ann", "channel_id": "c1", "urgent": urgent})
        assert ordered.status_code == 202
        task_id = ordered.json()["task_id"]
        done = await analysis(service, task_id, lambda seen: seen["status"] == "succeeded")
        record = await service.resilience.tasks.get(task_id)
    assert [chapter["title"] for chapter in done["chapters"]] == ["Strengths", "Weaknesses", "Next"]
    assert all(len(chapter["answers"]) == 2 for chapter in done["chapters"])
    assert done["progress"] == 1.0
    assert (record.priority.name, record.tags) == ("HIGH" if urgent else "NORMAL", {"user_id": "ann"})


async def test_an_analysis_under_way_tells_how_far_it_is(start_service: StartService, upstreams: Upstreams):
    """While the upstreams are slow it names the chapter it is at, and has no chapters to show yet."""
    await upstreams.switch("hang")
    slow = {"timeout": 30.0}
    async with start_service(answer_budget=30.0, services={"youtube_api": slow, "openai_api": slow}) as service:
        ordered = await service.http.post("/analyses", json={"user_id": "ann", "channel_id": "c1"})
        seen = await analysis(service, ordered.json()["task_id"], lambda seen: seen["message"] is not None)
    assert (seen["status"], seen["message"], seen["chapters"]) == ("running", "Strengths", None)


async def test_an_unknown_analysis_is_not_found(start_service: StartService):
    """With the task's own code."""
    async with start_service() as service:
        assert_problem(await service.http.get("/analyses/nope"), 404, "TASK_NOT_FOUND")


# Operators ------------------------------------------------------------------------------------------------------------
async def test_operators_see_what_is_going_on(start_service: StartService):
    """Health and statistics of all parts."""
    async with start_service() as service:
        await service.ask()
        statistics = (await service.http.get("/statistics")).json()
        health = {path: (await service.http.get(path)).status_code for path in ("/livez", "/readyz", "/startupz")}
    assert set(statistics) == {"breakers", "transitions", "cache", "pool", "tasks"}
    assert statistics["breakers"]["openai_api"]["successes"] == 2
    assert statistics["cache"]["loads"] == 4
    assert set(health.values()) == {200}


async def test_making_the_application_opens_nothing(tmp_path: Path):
    """Without being started it leaves no file and no connection behind."""
    from examples.creator_service.app import create_app
    from examples.creator_service.settings import CreatorSettings

    create_app(CreatorSettings(), "http://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []
