"""The agents: plain ones, the same ones made resilient, and the orchestrator that asks them for the user."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import httpx
from pydantic import BaseModel

from creatormate_resilience.cache import DistributedCache
from creatormate_resilience.exceptions import ExternalAPIError, ExternalAPIUnavailableError, ResilienceError
from creatormate_resilience.policies import Fallback
from creatormate_resilience.policy import Policy
from examples.creator_service.clients import OpenAI
from examples.creator_service.tokens import TokenSigner

__all__ = ("DOMAIN", "ORCHESTRATOR", "Agent", "Answer", "Answering", "Orchestrator", "ResilientAgent", "unavailable")

DOMAIN = "creator-service"
ORCHESTRATOR = "orchestrator"


class Answer(BaseModel):
    """What an agent says.

    Attributes:
        agent: Who.
        text: What.
        degraded: It is old, or made without all that it should be made of.
        age: Where it is old: seconds since it, or the facts in it, were new.
    """

    agent: str
    text: str
    degraded: bool = False
    age: float | None = None


class Answering(Protocol):
    """What the service needs of an agent."""

    @property
    def name(self) -> str: ...

    async def answer(self, channel_id: str, question: str) -> Answer: ...


class Agent:
    """Answers a question about a channel from facts, in a model's words. Written the plain way.

    Args:
        name: Of the agent.
        instruction: Tells the model what it is.
        facts: Gets the facts about a channel.
        model: Puts them into words.
    """

    def __init__(
        self, name: str, instruction: str, facts: Callable[[str], Awaitable[list[str]]], model: OpenAI
    ) -> None:
        self.name = name
        self.facts = facts
        self._instruction = instruction
        self._model = model

    async def answer(self, channel_id: str, question: str) -> Answer:
        """Answer, or fail with whatever failed."""
        return Answer(agent=self.name, text=await self.think(await self.facts(channel_id), question))

    async def think(self, facts: list[str], question: str) -> str:
        """Answer from these facts."""
        return await self._model.complete(self._instruction, "\n".join([question, *(f"- {fact}" for fact in facts)]))


class ResilientAgent:
    """The same agent with a memory: it asks its upstreams once per question, and has an answer while they are away.

    The best there is: a kept answer, a new one, an old one, the old facts alone, an apology; all but the first two are
    marked degraded.

    Args:
        agent: Whose answers.
        cache: Keeps answers and facts; categories `agent_response` and `youtube_api`, with a grace.
    """

    def __init__(self, agent: Agent, cache: DistributedCache) -> None:
        self._agent = agent
        self._cache = cache

    @property
    def name(self) -> str:
        """Of the agent."""
        return self._agent.name

    async def answer(self, channel_id: str, question: str) -> Answer:
        """Answer, whatever happens to the upstreams."""
        old = Fallback[Answer](lambda _error: self._from_memory(channel_id, question))
        return await old.acall(self._answer, channel_id, question)

    async def _answer(self, channel_id: str, question: str) -> Answer:
        key = self._answer_key(channel_id, question)
        text = await self._cache.get_or_set(key, lambda: self._think(channel_id, question), category="agent_response")
        kept = await self._cache.lookup(key)
        return Answer(agent=self.name, text=text, degraded=kept.stale, age=kept.age if kept.stale else None)

    async def _think(self, channel_id: str, question: str) -> str:
        key = self._facts_key(channel_id)
        facts = await self._cache.get_or_set(key, lambda: self._agent.facts(channel_id), category="youtube_api")
        if (await self._cache.lookup(key)).stale:  # what is made of old facts must not be kept as a new answer
            raise ExternalAPIUnavailableError("YouTube", "only old facts are at hand")
        return await self._agent.think(facts, question)

    async def _from_memory(self, channel_id: str, question: str) -> Answer:
        answer = await self._cache.lookup(self._answer_key(channel_id, question))
        if answer.found:
            return Answer(agent=self.name, text=answer.value, degraded=True, age=answer.age)
        facts = await self._cache.lookup(self._facts_key(channel_id))
        if facts.found:
            text = f"I cannot think about it right now. What is known: {'; '.join(facts.value)}."
            return Answer(agent=self.name, text=text, degraded=True, age=facts.age)
        return unavailable(self.name)

    def _answer_key(self, channel_id: str, question: str) -> str:
        # A hash: questions are private and long, and keys are shown to operators.
        return f"answer:{self.name}:{channel_id}:{hashlib.sha256(question.encode()).hexdigest()[:32]}"

    def _facts_key(self, channel_id: str) -> str:
        return f"facts:{self.name}:{channel_id}"


def unavailable(agent: str) -> Answer:
    """What an agent says that has nothing to say."""
    return Answer(agent=agent, text="I cannot look at this channel right now; ask me again in a minute.", degraded=True)


class Orchestrator:
    """Asks all agents for a user, each over HTTP and with a token made for it.

    Args:
        http: Reaches the agents at `/agents/{name}`.
        signer: Makes the tokens.
        policies: Agent to the policy around asking it.
    """

    def __init__(self, http: httpx.AsyncClient, signer: TokenSigner, policies: Mapping[str, Policy]) -> None:
        self._http = http
        self._signer = signer
        self._policies = policies

    async def ask(self, channel_id: str, question: str) -> Sequence[Answer]:
        """The agents' answers to one question."""
        asked = (policy.acall(self._ask, agent, channel_id, question) for agent, policy in self._policies.items())
        return await asyncio.gather(*asked)

    async def _ask(self, agent: str, channel_id: str, question: str) -> Answer:
        token = self._signer.issue(ORCHESTRATOR, agent)
        response = await self._http.post(
            f"/agents/{agent}",
            json={"channel_id": channel_id, "question": question},
            headers={"authorization": f"Bearer {token}"},
        )
        if response.is_error:
            cause = ResilienceError.from_problem(response.json(), trusted_domain=DOMAIN)
            raise ExternalAPIError(agent, f"answered {response.status_code}") from cause
        return Answer.model_validate_json(response.content)
