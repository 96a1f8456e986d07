"""Calls of one tick of the event loop as one trip to a server; who asks meanwhile goes with the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from creatormate_resilience.cache._deadlines import Deadlines, Watched

__all__ = ("Batcher",)

T = TypeVar("T")
R = TypeVar("R")


class _Ask(Watched, Generic[T, R]):
    """What one caller wants, and where its outcomes go."""

    __slots__ = ("answer", "items")

    def __init__(self, items: Sequence[T], answer: asyncio.Future[Sequence[R | Exception]]) -> None:
        self.items = items
        self.answer = answer
        self.over = False

    def give(self, outcomes: Sequence[R | Exception]) -> None:
        """Answer, unless its caller has given up."""
        self.over = True
        if not self.answer.done():
            self.answer.set_result(outcomes)

    def fail(self, error: Exception) -> None:
        """Give the same error for every item."""
        self.give([error] * len(self.items))

    def expire(self) -> None:
        """Answer that time has run out."""
        self.fail(TimeoutError())


class _Trip(Watched):
    """A trip under way; has a `Timeout` without a time, which is given one when the time has come."""

    __slots__ = ("_scope",)

    def __init__(self, scope: asyncio.Timeout) -> None:
        self._scope = scope
        self.over = False

    def expire(self) -> None:
        """Cut it off."""
        self._scope.reschedule(self.at)


class Batcher(Generic[T, R]):
    """Makes one trip of what many ask for.

    Whoever asks while nobody else does goes at once, in the own task and without a detour. Whoever asks while a trip is
    under way waits for the end of the tick and goes with all others of it; while all trips are taken, until one is
    back. The cancellation of a caller concerns nobody else.

    Args:
        send: Makes a trip: takes the items, returns for each its result or its error. What it raises is the error of
            every item of that trip.
        seconds: Longest wait of a caller from asking to answer, and longest duration of a trip.
        size: Most items in one trip; a caller with more goes with them alone.
        trips: Most trips at a time.
        cuts_off: Whether a trip that takes longer is interrupted; False where it ends in time by itself.
    """

    __slots__ = ("_cuts_off", "_deadlines", "_departure", "_most", "_send", "_size", "_tasks", "_trips", "_waiting")

    def __init__(
        self,
        send: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]],
        *,
        seconds: float,
        size: int = 100,
        trips: int = 4,
        cuts_off: bool = True,
    ) -> None:
        self._send = send
        self._cuts_off = cuts_off
        self._size = size
        self._most = trips
        self._trips = 0
        self._waiting: deque[_Ask[T, R]] = deque()
        self._deadlines = Deadlines(seconds)
        self._tasks: dict[asyncio.Task[None], Sequence[_Ask[T, R]]] = {}
        self._departure: asyncio.Handle | None = None

    @property
    def seconds(self) -> float:
        """Longest wait of a caller."""
        return self._deadlines.seconds

    def ask(self, items: Sequence[T]) -> Awaitable[Sequence[R | Exception]]:
        """The outcome of each item, in this order: a result or an error, a `TimeoutError` among them. Await it at once.

        Errors may be shared by callers and are for wrapping, not for raising. Only cancellation is raised.
        """
        return self._join(items) if self._trips or self._waiting else self._go(items)

    async def aclose(self) -> None:
        """End the trips under way; who still waits gets a `ConnectionAbortedError`."""
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
        tasks = dict(self._tasks)
        for ask in (*self._waiting, *(ask for asks in tasks.values() for ask in asks)):
            ask.fail(ConnectionAbortedError("closed"))
        self._waiting.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._deadlines.close()

    async def _go(self, items: Sequence[T]) -> Sequence[R | Exception]:
        self._trips += 1
        try:
            return await self._travel(items)
        finally:
            self._trips -= 1
            self._depart_soon()

    async def _travel(self, items: Sequence[T]) -> Sequence[R | Exception]:
        try:
            return await (self._cut_off(items) if self._cuts_off else self._send(items))
        except Exception as error:  # noqa: BLE001 - it is handed to every caller, who looks at it
            return [error] * len(items)

    async def _cut_off(self, items: Sequence[T]) -> Sequence[R | Exception]:
        scope = asyncio.timeout(None)
        trip = _Trip(scope)
        self._deadlines.watch(trip)
        try:
            async with scope:
                return await self._send(items)
        finally:
            trip.over = True
            self._deadlines.forget()

    def _join(self, items: Sequence[T]) -> asyncio.Future[Sequence[R | Exception]]:
        ask: _Ask[T, R] = _Ask(items, asyncio.get_running_loop().create_future())
        self._deadlines.watch(ask)
        self._waiting.append(ask)
        self._depart_soon()
        return ask.answer

    def _depart_soon(self) -> None:
        if self._departure is None and self._waiting and self._trips < self._most:
            self._departure = asyncio.get_running_loop().call_soon(self._depart)

    def _depart(self) -> None:
        self._departure = None
        while self._waiting and self._trips < self._most:
            asks = self._next()
            if asks:
                self._trips += 1
                # A context of its own: a shared trip must not end with the first caller's deadline.
                task = asyncio.get_running_loop().create_task(self._carry(asks), context=Context())
                self._tasks[task] = asks
                task.add_done_callback(self._tasks.pop)

    def _next(self) -> list[_Ask[T, R]]:
        asks: list[_Ask[T, R]] = []
        room = self._size
        while self._waiting and (not asks or len(self._waiting[0].items) <= room):
            ask = self._waiting.popleft()
            ask.over = ask.answer.done()  # its caller has given up, or its time has run out
            if not ask.over:
                asks.append(ask)
                room -= len(ask.items)
        return asks

    async def _carry(self, asks: Sequence[_Ask[T, R]]) -> None:
        try:
            outcomes = await self._travel([item for ask in asks for item in ask.items])
            start = 0
            for ask in asks:
                end = start + len(ask.items)
                ask.give(outcomes[start:end])
                start = end
        finally:
            self._trips -= 1
            self._deadlines.forget()
            self._depart_soon()
