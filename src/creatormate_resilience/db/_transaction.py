"""A transaction that is run again where that is safe."""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from creatormate_resilience.clock import Clock
from creatormate_resilience.db._sqlstate import sqlstate_of
from creatormate_resilience.deadline import remaining_time
from creatormate_resilience.exceptions import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    TransactionConflictError,
)
from creatormate_resilience.log import get_logger
from creatormate_resilience.policies import exponential

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ("Transaction", "TransactionRunner")

T = TypeVar("T")
OnCommit = Callable[[], Awaitable[object] | None]

_log = get_logger("db")
_AFTER_CONFLICT = exponential(0.01, max=0.5)
_AFTER_LOSS = exponential(0.1, max=2.0)


@dataclass(slots=True)
class Transaction:
    """One attempt of `Database.run_transaction`.

    Attributes:
        session: A fresh session in a transaction. Do not commit it yourself.
        attempt: Number of the attempt, from 1.
    """

    session: AsyncSession
    attempt: int
    _callbacks: list[OnCommit] = field(default_factory=list[OnCommit], repr=False)
    _begun: object = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._begun = self.session.sync_session.get_transaction()

    @property
    def ended_by_hand(self) -> bool:
        """Whether the function committed or rolled back by itself: then running it again could write twice."""
        return self.session.sync_session.get_transaction() is not self._begun

    def on_commit(self, callback: OnCommit) -> None:
        """Do something once the transaction is committed: invalidate a cache, submit a task, send a message.

        Args:
            callback: A function or coroutine function without arguments. Those of an attempt that failed are
                forgotten. One that raises is logged: the transaction stays committed, and it is not run again.
        """
        if not callable(callback):
            raise TypeError(f"callback is {type(callback).__name__}; accepted is a function without arguments")
        self._callbacks.append(callback)

    async def announce(self) -> None:
        """Run the callbacks, in order. Called by `run_transaction`."""
        for callback in self._callbacks:
            try:
                answer = callback()
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:  # noqa: BLE001 - raising would look like a failed transaction, and it is committed
                _log.error("an on_commit callback raised", callback=_name(callback), exc_info=error)


@dataclass(frozen=True, slots=True)
class TransactionRunner:
    """Runs a function in a transaction, again where the database asks for it or was lost before COMMIT.

    Attributes:
        begin: Opens a transaction.
        max_attempts: How often to try.
        clock: To wait on between attempts.
    """

    begin: Callable[[], AbstractAsyncContextManager[AsyncSession]]
    max_attempts: int
    clock: Clock

    async def run(self, fn: Callable[[Transaction], Awaitable[T]]) -> T:
        """Call `fn` until one of its transactions is committed."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(fn, attempt)
            except (TransactionConflictError, DatabaseUnavailableError) as error:
                await self._wait(error, attempt)

    async def _attempt(self, fn: Callable[[Transaction], Awaitable[T]], attempt: int) -> T:
        if (remaining := remaining_time()) is not None and remaining <= 0:
            raise DeadlineExceededError(f"no time is left for attempt {attempt} of the transaction")
        async with self.begin() as session:
            transaction = Transaction(session, attempt)
            try:
                result = await fn(transaction)
            except Exception as error:
                _check_whole(transaction, error)
                raise
            _check_whole(transaction, None)
        await transaction.announce()
        return result

    async def _wait(self, error: DatabaseError, attempt: int) -> None:
        """Raise the error where trying again is of no use, else wait."""
        waits = _AFTER_CONFLICT if isinstance(error, TransactionConflictError) else _AFTER_LOSS
        delay = waits(attempt, random.random())  # noqa: S311 - spreads load, guards nothing
        remaining = remaining_time()
        # 55P03: a lock that the application asked not to wait for (NOWAIT, lock_timeout).
        if attempt >= self.max_attempts or sqlstate_of(error.__cause__) == "55P03":
            raise error
        if remaining is not None and remaining <= delay:
            raise error
        _log.info("transaction runs again", attempt=attempt, error=error.code, wait=round(delay, 3))
        await self.clock.asleep(delay)


def _check_whole(transaction: Transaction, error: Exception | None) -> None:
    if transaction.ended_by_hand:
        raise ConfigurationError(
            "the function ended its transaction itself, so it is not run again; leave commit and rollback to "
            "run_transaction, and raise to have it rolled back"
        ) from error


def _name(callback: OnCommit) -> str:
    return getattr(callback, "__qualname__", type(callback).__qualname__)
