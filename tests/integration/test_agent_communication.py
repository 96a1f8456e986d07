"""Agents authenticate, refuse, talk; circuit breaker, cache and tasks work through the whole service.

The guide's integration tests: `pytest tests/integration/ -v`.
"""

from __future__ import annotations

import asyncio

import pytest
from examples.creator_service.agents import ORCHESTRATOR
from examples.creator_service.tokens import TokenSigner

from creatormate_resilience.breaker import BreakerState

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

AGENT = "content_analysis"
QUESTION = {"channel_id": "c1", "question": "What works best?"}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class TestAuthentication:
    """Who may ask an agent."""

    async def test_an_agent_answers_who_has_a_token_for_it(self, service):
        """A token of the orchestrator for this agent opens the door."""
        headers = bearer(service.signer.issue(ORCHESTRATOR, AGENT))
        answer = await service.http.post(f"/agents/{AGENT}", json=QUESTION, headers=headers)
        assert answer.status_code == 200
        assert answer.json()["agent"] == AGENT
        assert not answer.json()["degraded"]

    async def test_an_agent_refuses_who_has_none_or_a_bad_one(self, service):
        """No token, a foreign secret, another agent's token, an expired one: 401, with a code and a scheme."""
        expired = TokenSigner("a secret that all agents of the test share", lifetime=1, now=lambda: 0.0)
        tokens = {
            "foreign": TokenSigner("x" * 40).issue(ORCHESTRATOR, AGENT),
            "misaddressed": service.signer.issue(ORCHESTRATOR, "audience_insight"),
            "expired": expired.issue(ORCHESTRATOR, AGENT),
            "nonsense": "v1.e30.AAAA",
        }
        codes = {}
        for name, token in tokens.items():
            answer = await service.http.post(f"/agents/{AGENT}", json=QUESTION, headers=bearer(token))
            codes[name] = (answer.status_code, answer.json()["code"])
            assert answer.headers["www-authenticate"]
            assert token not in answer.text
        assert codes == {
            "foreign": (401, "INVALID_TOKEN"),
            "misaddressed": (401, "INVALID_TOKEN"),
            "expired": (401, "TOKEN_EXPIRED"),
            "nonsense": (401, "INVALID_TOKEN"),
        }
        assert (await service.http.post(f"/agents/{AGENT}", json=QUESTION)).json()["code"] == "UNAUTHENTICATED"
        assert await service.upstreams.calls() == 0

    async def test_a_known_agent_that_is_not_the_orchestrator_may_not_ask(self, service):
        """Knowing who calls is not letting them in: 403."""
        headers = bearer(service.signer.issue("audience_insight", AGENT))
        answer = await service.http.post(f"/agents/{AGENT}", json=QUESTION, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")


class TestCommunication:
    """The orchestrator asks all agents for a user."""

    async def test_a_question_is_answered_by_all_agents(self, service):
        """Both agents answer from both upstreams."""
        reply = (await service.ask()).json()
        assert {answer["agent"] for answer in reply["answers"]} == {"content_analysis", "audience_insight"}
        assert not reply["degraded"]
        assert reply["recorded"]
        assert await service.upstreams.calls() == 4

    async def test_bad_questions_are_refused_before_anyone_is_asked(self, service):
        """422 names the field, echoes nothing, calls nobody."""
        answer = await service.http.post(
            "/ask", json={"user_id": "hunter2 hunter2", "channel_id": "c1", "question": ""}
        )
        assert answer.status_code == 422
        assert {error["pointer"] for error in answer.json()["errors"]} == {"#/user_id", "#/question"}
        assert "hunter2" not in answer.text
        assert await service.upstreams.calls() == 0


class TestCircuitBreaker:
    """A failing upstream is left alone."""

    async def test_the_breaker_opens_and_the_upstream_gets_no_more_calls(self, service):
        """After three failures nothing reaches YouTube; users get answers marked degraded; OpenAI's breaker stays."""
        await service.upstreams.set("youtube", kind="errors")
        for number in range(5):
            reply = await service.ask(channel=f"c{number}")
            assert reply.status_code == 200
            assert reply.json()["degraded"]
        breakers = service.resilience.breakers
        assert breakers.get("youtube_api").state is BreakerState.OPEN
        assert breakers.get("openai_api").state is BreakerState.CLOSED
        reached = await service.upstreams.calls()
        await service.ask(channel="another")
        assert await service.upstreams.calls() == reached

    async def test_the_breaker_closes_when_the_upstream_is_well_again(self, service):
        """A reset (or the passing of the recovery time) lets calls through, and fresh answers come back."""
        await service.upstreams.set("openai", kind="errors")
        await asyncio.gather(*(service.ask(channel=f"c{number}") for number in range(3)))
        breaker = service.resilience.breakers.get("openai_api")
        assert breaker.state is BreakerState.OPEN
        await service.upstreams.set("openai", kind="ok")
        breaker.reset()
        assert not (await service.ask(channel="fresh")).json()["degraded"]
        assert breaker.state is BreakerState.CLOSED

    async def test_statistics_tell_what_happened(self, service):
        """Operators see states, counts and transitions."""
        await service.upstreams.set("youtube", kind="malformed")
        for number in range(3):
            await service.ask(channel=f"c{number}")
        seen = (await service.http.get("/statistics")).json()
        assert seen["breakers"]["youtube_api"]["state"] == "open"
        assert "youtube_api: closed > open" in seen["transitions"]
        assert seen["breakers"]["youtube_api"]["failures"] >= 3


class TestCache:
    """Answers are kept."""

    async def test_the_same_question_is_answered_from_the_cache(self, service):
        """The second asker, whoever it is, costs no upstream call."""
        first = (await service.ask(user="u1")).json()
        reached = await service.upstreams.calls()
        assert (await service.ask(user="u2")).json()["answers"] == first["answers"]
        assert await service.upstreams.calls() == reached

    async def test_many_askers_of_one_new_question_cost_one_load(self, service):
        """Twenty at once: as many upstream calls as one."""
        replies = await asyncio.gather(*(service.ask(user=f"u{number}") for number in range(20)))
        assert {reply.status_code for reply in replies} == {200}
        assert await service.upstreams.calls() == 4

    async def test_the_cache_knows_what_it_did(self, service):
        """Hits, misses and loads are counted."""
        await service.ask()
        await service.ask()
        statistics = service.resilience.cache.statistics()
        assert statistics.loads == 4
        assert statistics.memory_hits + statistics.redis_hits >= 2


class TestTasks:
    """Heavy analyses run in the background."""

    async def test_an_analysis_is_accepted_at_once_and_can_be_followed_to_its_end(self, service):
        """202 with an id; polling shows the status, then the chapters."""
        accepted = await service.http.post("/analyses", json={"user_id": "u1", "channel_id": "c1", "urgent": True})
        assert accepted.status_code == 202
        task_id = accepted.json()["task_id"]
        await service.resilience.tasks.result(task_id, timeout=20)
        analysis = (await service.http.get(f"/analyses/{task_id}")).json()
        assert analysis["status"] == "succeeded"
        assert [chapter["title"] for chapter in analysis["chapters"]] == ["Strengths", "Weaknesses", "Next"]

    async def test_an_unknown_task_is_not_found_and_never_pending(self, service):
        """404, not a status that never changes."""
        answer = await service.http.get("/analyses/nobody-knows-this")
        assert (answer.status_code, answer.json()["code"]) == (404, "TASK_NOT_FOUND")
