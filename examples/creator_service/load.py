"""Users, and how they ask: at their own pace, whether or not they are answered."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import httpx

__all__ = ("Crowd", "Question", "Sent", "drive", "percentile")

_QUESTIONS = ("What works best?", "What do people like?", "What should come next?", "Why do people leave?")
_CHANNELS = 40
_USERS = 200
_SHARE_OF_NEW = 0.1


@dataclass(frozen=True, slots=True)
class Question:
    """One question of one user; `new` says that nobody asked about this channel before."""

    user_id: str
    channel_id: str
    question: str
    new: bool


@dataclass(frozen=True, slots=True)
class Sent:
    """How a question went.

    Attributes:
        question: What was asked.
        seconds: From the moment the user wanted to ask to the end of the answer.
        status: Of HTTP; 0 where none came.
        degraded: Whether the answer says so of itself.
        without_data: Whether it is degraded and there was nothing old to make it of.
    """

    question: Question
    seconds: float
    status: int
    degraded: bool = False
    without_data: bool = False

    @property
    def served(self) -> bool:
        """Whether there was an answer, degraded or not."""
        return self.status == 200


class Crowd:
    """Many users who mostly ask about a few popular channels, and now and then about one nobody asked about before."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - the same crowd each time
        self._new = itertools.count(1)

    def ask(self, number: int) -> list[Question]:
        """The next questions."""
        return [self._one() for _ in range(number)]

    def _one(self) -> Question:
        new = self._dice.random() < _SHARE_OF_NEW
        rank = min(int(self._dice.paretovariate(0.8)), _CHANNELS)
        channel = f"newcomer-{next(self._new)}" if new else f"channel-{rank}"
        return Question(f"user-{self._dice.randrange(_USERS)}", channel, self._dice.choice(_QUESTIONS), new)


async def drive(
    http: httpx.AsyncClient, questions: Iterable[Question], *, rate: float, tell: Callable[[Sent], None]
) -> Sequence[Sent]:
    """Send questions at a steady pace and wait for all answers. A hanging service delays nobody's question.

    Args:
        http: Reaches the service.
        questions: What to ask.
        rate: Questions per second.
        tell: Told of each as it ends.

    Returns:
        How they went.
    """
    sent: list[Sent] = []

    async def ask(question: Question, due: float) -> None:
        reply = await _reply(http, question)
        marks = {} if reply is None else _marks(reply)
        status = 0 if reply is None else reply.status_code
        sent.append(Sent(question, time.monotonic() - due, status, **marks))
        tell(sent[-1])

    started = time.monotonic()
    async with asyncio.TaskGroup() as users:
        for number, question in enumerate(questions):
            due = started + number / rate
            await asyncio.sleep(due - time.monotonic())
            users.create_task(ask(question, due))
    return sent


async def _reply(http: httpx.AsyncClient, question: Question) -> httpx.Response | None:
    asked = {"user_id": question.user_id, "channel_id": question.channel_id, "question": question.question}
    try:
        return await http.post("/ask", json=asked)
    except httpx.TransportError:  # counted as failed
        return None


def _marks(response: httpx.Response) -> dict[str, bool]:
    if response.status_code != 200:
        return {}
    reply = response.json()
    return {"degraded": reply["degraded"], "without_data": reply["degraded"] and reply["age"] is None}


def percentile(seconds: Iterable[float], share: float) -> float:
    """The least value that this share of all values does not exceed (nearest rank)."""
    ordered = sorted(seconds)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
