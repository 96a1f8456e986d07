"""An executor on an event loop whose time passes when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from creatormate_resilience.events import Event
from creatormate_resilience.tasks import TaskExecutor, TaskHandle, TaskStatus
from creatormate_resilience.testing import FakeClock


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a fake clock's."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        super().__init__()

    def time(self) -> float:
        return self.clock.monotonic()

    def settle(self) -> None:
        """Let everything happen that needs no more time."""
        self.do(asyncio.sleep(0))

    def do(self, what: Coroutine[Any, Any, Any]) -> Any:
        """Run something, and then all that follows from it."""

        async def then_settle() -> Any:
            try:
                return await what
            finally:
                for _ in range(20):
                    await asyncio.sleep(0)

        return self.run_until_complete(then_settle())

    def later(self, what: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin something that may wait."""
        task = self.create_task(what)
        self.settle()
        return task

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and all happen that is then due."""
        self.clock.advance(seconds)
        self.settle()


class World:
    """An executor in fake time, and what it has told."""

    def __init__(self, loop: FakeTimeLoop, **limits: Any) -> None:
        self.loop = loop
        self.heard: list[Event] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.starts: list[tuple[float, str]] = []
        self.running: list[str] = []
        limits = {"max_loop_lag": None, "clock": loop.clock, "listeners": (self.heard.append,)} | limits
        self.executor = TaskExecutor(**limits)
        loop.do(self.executor.start())

    async def work(self, name: str) -> str:
        """Run until `let_end`."""
        self.starts.append((self.loop.time(), name))
        gate = self.gates.setdefault(name, asyncio.Event())
        self.running.append(name)
        try:
            await gate.wait()
        finally:
            self.running.remove(name)
        return name

    def submit(self, name: str, **options: Any) -> TaskHandle[str]:
        """Submit a task that runs until `let_end`."""
        return self.loop.do(self.executor.options(name=name, **options).submit(self.work, name))

    def submitter(self, name: str, **options: Any) -> asyncio.Task[TaskHandle[str]]:
        """Begin to submit such a task; the submission may have to wait."""
        return self.loop.later(self.executor.options(name=name, **options).submit(self.work, name))

    def let_end(self, *names: str) -> None:
        for name in names:
            self.gates.setdefault(name, asyncio.Event()).set()
        self.loop.settle()

    @property
    def waiting(self) -> int:
        now = self.executor.statistics()
        return now.scheduled + now.queued + now.retrying

    def status(self, handle: TaskHandle[Any]) -> TaskStatus:
        return self.loop.do(handle.status())


@contextmanager
def world(**limits: Any) -> Iterator[World]:
    """An executor in fake time, closed at the end."""
    loop = FakeTimeLoop()
    try:
        one = World(loop, **limits)
        try:
            yield one
        finally:
            loop.do(one.executor.aclose(grace=0.0))
            loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
