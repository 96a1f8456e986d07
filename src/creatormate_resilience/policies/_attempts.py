"""Attempts as an iterator: a loop around a block that may be run again."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.policies._planner import Planner

__all__ = ("Attempt", "Attempts")


class Attempts:
    """Iterates over attempts. A class and not a generator, because leaving the loop early is the normal way out."""

    __slots__ = ("_last", "_planner", "_until")

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._last: Attempt | None = None
        self._until = None if planner.config.deadline is None else planner.clock.monotonic() + planner.config.deadline

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Attempt:
        if self._last is not None:
            if self._last.delay is None:
                raise StopIteration
            self._planner.clock.sleep(self._last.delay)
        return self._begin(sync=True)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._last is not None:
            if self._last.delay is None:
                raise StopAsyncIteration
            await self._planner.clock.asleep(self._last.delay)
        return self._begin(sync=False)

    def _begin(self, *, sync: bool) -> Attempt:
        if self._last is None:
            self._planner.begin()
        number = 1 if self._last is None else self._last.number + 1
        self._last = Attempt(self._planner, number, self._until, sync=sync)
        return self._last


class Attempt:
    """One attempt of a block; leaving it with an error that may be retried suppresses the error and goes on."""

    __slots__ = ("_planner", "_scope", "_sync", "_until", "delay", "number")

    def __init__(self, planner: Planner, number: int, until: float | None = None, *, sync: bool = False) -> None:
        self._planner = planner
        self._sync = sync
        self._until = until
        self._scope: AbstractContextManager[object] | None = None
        self.number = number
        self.delay: float | None = None

    def __enter__(self) -> Self:
        if self._until is not None:
            clock = self._planner.clock
            self._scope = deadline_scope(self._until - clock.monotonic(), clock=clock)
            self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool:
        try:
            if isinstance(error, Exception):
                self.delay = self._planner.plan(self.number, error)
            elif error is None and self.number > 1:
                self._planner.recovered()
        finally:
            if self._scope is not None:
                self._scope.__exit__(None, None, None)
        return self.delay is not None

    async def __aenter__(self) -> Self:
        if self._sync:
            raise TypeError("an attempt of `for` waits without await; write `async for attempt in retry:`")
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool:
        return self.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<Attempt {self.number} of {self._planner.config.max_attempts}>"
