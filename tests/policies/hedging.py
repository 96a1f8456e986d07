"""Hedged calls whose attempts and delays a test lets end one by one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel

from creatormate_resilience.policies import Hedge
from creatormate_resilience.testing import FakeClock


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(30):
        await anyio.lowlevel.checkpoint()


class Upstream:
    """Attempts that wait for the test to answer each."""

    def __init__(self) -> None:
        self.answers: list[tuple[anyio.Event, list[Any]]] = []
        self.cancelled: list[int] = []
        self.running = 0

    async def ask(self) -> Any:
        number = len(self.answers)
        come, answer = anyio.Event(), []
        self.answers.append((come, answer))
        self.running += 1
        try:
            await come.wait()
        except BaseException:
            self.cancelled.append(number)
            raise
        finally:
            self.running -= 1
        if isinstance(answer[0], BaseException):
            raise answer[0]
        return answer[0]

    async def answer(self, number: int, value: Any) -> None:
        come, answer = self.answers[number]
        answer.append(value)
        come.set()
        await settle()


class StepClock(FakeClock):
    """Time that tasks wait for until the test lets it pass."""

    def __init__(self) -> None:
        super().__init__()
        self.sleepers: list[tuple[float, anyio.Event]] = []
        self.slept = 0

    async def asleep(self, seconds: float, /) -> None:
        self.slept += 1
        entry = (self.monotonic() + seconds, anyio.Event())
        self.sleepers.append(entry)
        try:
            await entry[1].wait()
        finally:
            self.sleepers.remove(entry)

    async def let_pass(self, seconds: float) -> None:
        self.advance(seconds)
        for at, event in list(self.sleepers):
            if at <= self.monotonic():
                event.set()
        await settle()


class Call:
    """A hedged call in the background, and how it ended."""

    def __init__(self, call: Callable[[], Awaitable[Any]]) -> None:
        self.call = call
        self.ended: list[Any] = []
        self.scope = anyio.CancelScope()

    async def __call__(self) -> None:
        with self.scope:
            try:
                self.ended.append(await self.call())
            except Exception as error:
                self.ended.append(error)


async def started(tasks: Any, hedge: Hedge, upstream: Upstream) -> Call:
    call = Call(lambda: hedge.acall(upstream.ask))
    tasks.start_soon(call)
    await settle()
    return call
