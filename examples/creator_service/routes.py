"""What can be asked of the service over HTTP: by users, by agents of each other, by operators."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, StringConstraints

from creatormate_resilience import Resilience
from creatormate_resilience.exceptions import (
    AuthenticationError,
    AuthorizationError,
    DatabaseError,
    InvalidTokenError,
    NotFoundError,
    TaskNotFoundError,
    TokenExpiredError,
)
from creatormate_resilience.integrations.fastapi import problem_responses
from creatormate_resilience.tasks import TaskPriority, TaskStatus, current_task
from examples.creator_service.agents import ORCHESTRATOR, Answer, Answering, Orchestrator
from examples.creator_service.history import Exchange, History
from examples.creator_service.tokens import TokenSigner

__all__ = ("agent_routes", "operator_routes", "user_routes")

_log = logging.getLogger("creator_service")

Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.@-]+$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class ChannelQuestion(BaseModel):
    """A question about a channel."""

    model_config = ConfigDict(extra="forbid")
    channel_id: Name
    question: Text


class UserQuestion(ChannelQuestion):
    """And who asks it."""

    user_id: Name


class Reply(BaseModel):
    """What a user is told; `degraded` and `age` are those of the worst answer."""

    answers: Sequence[Answer]
    degraded: bool
    age: float | None
    recorded: bool


class Record(BaseModel):
    """A past question."""

    channel_id: str
    question: str
    answers: Sequence[Answer]
    asked_at: datetime


class AnalysisOrder(BaseModel):
    """Heavy work."""

    model_config = ConfigDict(extra="forbid")
    user_id: Name
    channel_id: Name
    urgent: bool = False


class Chapter(BaseModel):
    """One part of an analysis."""

    title: str
    answers: Sequence[Answer]


class Analysis(BaseModel):
    """How an analysis stands; `chapters` once it has succeeded."""

    task_id: str
    status: str
    progress: float = 0.0
    message: str | None = None
    chapters: Sequence[Chapter] | None = None


CHAPTERS = {
    "Strengths": "What works best on this channel, and why?",
    "Weaknesses": "What should this channel stop doing?",
    "Next": "What should this channel make next?",
}


def agent_routes(agents: Iterable[Answering], signer: TokenSigner) -> APIRouter:
    """Where agents are asked, by those who have a token for them."""
    router, named = APIRouter(), {agent.name: agent for agent in agents}

    @router.post(
        "/agents/{name}", responses=problem_responses(InvalidTokenError, TokenExpiredError, AuthorizationError)
    )
    async def ask_agent(
        name: str, asked: ChannelQuestion, authorization: Annotated[str | None, Header()] = None
    ) -> Answer:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationError("there is no bearer token")
        caller = signer.verify(token, audience=name)
        if caller != ORCHESTRATOR:
            raise AuthorizationError(f"{caller!r} may not ask {name!r}")
        if name not in named:
            raise NotFoundError(f"there is no agent {name!r}")
        return await named[name].answer(asked.channel_id, asked.question)

    return router


def user_routes(r: Resilience, orchestrator: Orchestrator, history: History) -> APIRouter:
    """Where users ask, look back and order analyses."""
    router = APIRouter()

    @router.post("/ask")
    async def ask(asked: UserQuestion) -> Reply:
        answers = await orchestrator.ask(asked.channel_id, asked.question)
        recorded = await _record(history, asked, answers)
        ages = [answer.age for answer in answers if answer.age is not None]
        degraded = any(answer.degraded for answer in answers)
        return Reply(answers=answers, degraded=degraded, age=max(ages, default=None), recorded=recorded)

    @router.get("/history/{user_id}")
    async def look_back(user_id: Name, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Sequence[Record]:
        return [
            Record(
                channel_id=exchange.channel_id,
                question=exchange.question,
                answers=[Answer.model_validate(answer) for answer in exchange.answers],
                asked_at=exchange.asked_at.replace(tzinfo=UTC),
            )
            for exchange in await history.latest(user_id, limit)
        ]

    @router.post("/analyses", status_code=202)
    async def order_analysis(order: AnalysisOrder) -> Analysis:
        priority = TaskPriority.HIGH if order.urgent else TaskPriority.NORMAL
        background = r.tasks.options(name="analysis", priority=priority, timeout=300.0, tags={"user_id": order.user_id})
        handle = await background.submit(_analyse, orchestrator, order.channel_id)
        return Analysis(task_id=handle.id, status=(await handle.status()).value)

    @router.get("/analyses/{task_id}", responses=problem_responses(TaskNotFoundError))
    async def look_at_analysis(task_id: str) -> Analysis:
        record = await r.tasks.get(task_id)
        done = record.status is TaskStatus.SUCCEEDED
        said = record.progress
        return Analysis(
            task_id=task_id,
            status=record.status.value,
            progress=1.0 if done else said.fraction if said else 0.0,
            message=said.message if said and not done else None,
            chapters=await r.tasks.result(task_id, timeout=0.0) if done else None,
        )

    return router


def operator_routes(r: Resilience, transitions: Iterable[str]) -> APIRouter:
    """Where operators look. Not for strangers: keep these routes behind your own doors."""
    router = APIRouter()

    @router.get("/statistics")
    async def statistics() -> dict[str, Any]:
        return {
            "breakers": {name: asdict(seen) for name, seen in r.breakers.statistics().items()},
            "transitions": list(transitions),
            "cache": asdict(r.cache.statistics()),
            "pool": asdict(r.database.pool_statistics()),
            "tasks": asdict(r.tasks.statistics()),
        }

    return router


async def _record(history: History, asked: UserQuestion, answers: Sequence[Answer]) -> bool:
    """Keep an exchange if that is possible: the answer is what the user came for."""
    exchange = Exchange(
        user_id=asked.user_id,
        channel_id=asked.channel_id,
        question=asked.question,
        answers=[answer.model_dump() for answer in answers],
    )
    try:
        await history.add(exchange)
    except DatabaseError as error:
        _log.warning("an exchange was not recorded: %s (%s)", error.code, error.error_id)
        return False
    return True


async def _analyse(orchestrator: Orchestrator, channel_id: str) -> list[Chapter]:
    chapters: list[Chapter] = []
    for title, question in CHAPTERS.items():
        current_task().set_progress(len(chapters) / len(CHAPTERS), title)
        chapters.append(Chapter(title=title, answers=await orchestrator.ask(channel_id, question)))
    return chapters
