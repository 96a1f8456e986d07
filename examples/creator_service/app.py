"""The service put together: what is made, what it is made of, and how long it lives."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from creatormate_resilience import Resilience
from creatormate_resilience.breaker import BreakerStateChanged
from creatormate_resilience.events import Event
from creatormate_resilience.integrations.fastapi import health_router, resilience_lifespan, setup_error_handlers
from creatormate_resilience.policies import Fallback, Pipeline, Timeout
from creatormate_resilience.policy import compose
from examples.creator_service.agents import DOMAIN, Agent, Answer, Answering, Orchestrator, ResilientAgent, unavailable
from examples.creator_service.clients import OpenAI, YouTube
from examples.creator_service.history import History
from examples.creator_service.routes import agent_routes, operator_routes, user_routes
from examples.creator_service.settings import CreatorSettings
from examples.creator_service.tokens import TokenSigner

__all__ = ("create_app",)

_CONTENT = "You analyse the content of a channel. Answer from the facts given."
_AUDIENCE = "You know the audience of a channel. Answer from the facts given."


def create_app(settings: CreatorSettings, upstream_url: str, *, library_on: bool = True) -> FastAPI:
    """The service as an ASGI application; nothing is opened before it starts.

    Args:
        settings: Of the service and of the library.
        upstream_url: Where YouTube and OpenAI are.
        library_on: False answers questions the plain way, without breaker, cache, fallback and deadline, over a client
            with its usual timeout of five seconds. For comparison.
    """
    transitions: deque[str] = deque(maxlen=1000)
    r = Resilience(settings, listeners=(_Transitions(transitions),))
    upstreams = httpx.AsyncClient(base_url=upstream_url, headers={"user-agent": "on" if library_on else "off"})
    signer = TokenSigner(settings.agent_token_secret.get_secret_value())
    history = History(r.database)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        await history.create_tables()
        async with upstreams, inside:
            yield

    app = FastAPI(title="Creator service", lifespan=resilience_lifespan(r, inner=lifespan))
    setup_error_handlers(app, domain=DOMAIN)
    agents = _agents(r, upstreams, library_on=library_on)
    # The agents of this service live in this application, but are asked as if they lived elsewhere.
    inside = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agents")
    budget = settings.answer_budget
    orchestrator = Orchestrator(
        inside, signer, {agent.name: _asking(agent.name, budget) if library_on else compose() for agent in agents}
    )
    app.include_router(agent_routes(agents, signer))
    app.include_router(user_routes(r, orchestrator, history))
    app.include_router(operator_routes(r, transitions))
    app.include_router(health_router(r))
    return app


def _agents(r: Resilience, upstreams: httpx.AsyncClient, *, library_on: bool) -> list[Answering]:
    youtube = YouTube(upstreams, r.service("youtube_api") if library_on else compose())
    openai = OpenAI(upstreams, r.service("openai_api") if library_on else compose())
    content = Agent("content_analysis", _CONTENT, youtube.videos, openai)
    audience = Agent("audience_insight", _AUDIENCE, youtube.comments, openai)
    if not library_on:
        return [content, audience]
    return [ResilientAgent(content, r.cache), ResilientAgent(audience, r.cache)]


def _asking(agent: str, budget: float) -> Pipeline[Answer]:
    return Pipeline(agent, Fallback[Answer](lambda _error: unavailable(agent)), Timeout(budget))


class _Transitions:
    """Keeps what the breakers did, for operators."""

    def __init__(self, kept: deque[str]) -> None:
        self._kept = kept

    def __call__(self, event: Event) -> None:
        if isinstance(event, BreakerStateChanged):
            self._kept.append(f"{event.source}: {event.old} > {event.new}")
