"""Locks that processes share through Redis: a lease that is renewed while its holder lives."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from creatormate_resilience.cache._keys import RESERVED, identity
from creatormate_resilience.cache._parts import Parts
from creatormate_resilience.exceptions import CacheUnavailableError, LockNotAcquiredError
from creatormate_resilience.redaction import redact_text

__all__ = ("FIRST_PAUSE", "CacheLock", "Lease", "Locks", "rest")

T = TypeVar("T")

FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.2


class _LocksHere:
    """The locks of a cache without Redis: the same verbs, for one process. Only held ones are remembered."""

    __slots__ = ("_held", "_parts")

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._held: dict[str, tuple[bytes, float]] = {}

    async def acquire_lock(self, key: str, token: bytes, lease: float) -> bool:
        holder, until = self._held.get(key, (token, 0.0))
        if holder != token and self._parts.now() < until:
            return False
        self._held[key] = token, self._parts.now() + lease
        return True

    async def renew_lock(self, key: str, token: bytes, lease: float) -> bool:
        return self._held.get(key, (b"", 0.0))[0] == token and await self.acquire_lock(key, token, lease)

    async def release_lock(self, key: str, token: bytes) -> bool:
        if self._held.get(key, (b"", 0.0))[0] != token:
            return False
        del self._held[key]
        return True


class Lease:
    """A lock that may be taken and is renewed by a task until it is released. Made by `Locks`; for one use.

    Attributes:
        lost: Somebody else may hold the lock: it could not be renewed in time.
    """

    __slots__ = ("_key", "_owner", "_parts", "_renewing", "_seconds", "_token", "lost")

    def __init__(self, parts: Parts, owner: Locks, key: str, seconds: float) -> None:
        self._parts = parts
        self._owner = owner
        self._key = key
        self._seconds = seconds
        self._token = os.urandom(16)
        self._renewing: asyncio.Task[None] | None = None
        self.lost = False

    async def acquire(self) -> bool:
        """Take the lock where it is free. Who is cancelled meanwhile has not taken it.

        Raises:
            CacheUnavailableError: Redis did not answer.
            ShuttingDownError: The cache is closed.
        """
        self._parts.home.check()
        asking = self._owner.own(self._ask("acquire_lock", self._seconds))
        try:
            mine = await asyncio.shield(asking)
        except asyncio.CancelledError:
            _ = self._owner.own(self._undo(asking))
            raise
        if mine:
            self._renewing = asyncio.create_task(self._renew())
        return mine

    async def wait(self, longest: float | None) -> bool:
        """Take the lock when it gets free, or give up after `longest` seconds; None waits for ever."""
        until = None if longest is None else self._parts.now() + longest
        pause = FIRST_PAUSE
        while not await self.acquire():
            left = None if until is None else until - self._parts.now()
            if left is not None and left <= 0:
                return False
            pause = await rest(pause, left)
        return True

    async def release(self) -> None:
        """Give the lock back, also where this is cancelled. Where Redis is away it ends with its lease."""
        if self._renewing is None:
            return
        self._renewing.cancel()
        self._renewing = None
        await asyncio.shield(self._owner.own(self._give_back()))

    async def _give_back(self) -> None:
        with suppress(CacheUnavailableError):
            held = await self._ask("release_lock")
            self.lost = self.lost or not held

    async def _undo(self, asking: asyncio.Task[bool]) -> None:
        with suppress(CacheUnavailableError):
            if await asking:
                await self._ask("release_lock")

    async def _renew(self) -> None:
        renewed_at = self._parts.now()
        while not self.lost:
            await asyncio.sleep(self._seconds / 3)
            asked_at = self._parts.now()
            try:
                self.lost = not await self._ask("renew_lock", self._seconds)
                renewed_at = asked_at
            except CacheUnavailableError:
                self.lost = self._parts.now() - renewed_at >= self._seconds

    async def _ask(self, verb: str, *lease: float) -> bool:
        if self._parts.store is None:
            ask: Callable[..., Awaitable[bool]] = getattr(self._owner.here, verb)
            return await ask(self._key, self._token, *lease)
        return await self._parts.link.reach(getattr(self._parts.store, verb), self._key, self._token, *lease)


class CacheLock:
    """A lock around a block: `async with cache.lock("report"):`. For one use."""

    __slots__ = ("_entered", "_lease", "_name", "_wait")

    def __init__(self, name: str, lease: Lease, wait: float | None) -> None:
        self._name = name
        self._lease = lease
        self._wait = wait
        self._entered = False

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold it by now. A block that lasts should look before it does what matters."""
        return self._lease.lost

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a CacheLock is for one block; call cache.lock() for another")
        self._entered = True
        if not await self._lease.wait(self._wait):
            raise LockNotAcquiredError(f"lock {redact_text(self._name, 200)!r} is held by somebody else")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self._lease.release()
        if self._lease.lost and error is None:
            raise LockNotAcquiredError(f"lock {redact_text(self._name, 200)!r} was lost before the block had ended")

    def __repr__(self) -> str:
        return f"<CacheLock {redact_text(self._name, 200)!r}{' lost' if self.lost else ''}>"


class Locks:
    """The locks of one cache.

    Args:
        parts: Of the cache.
    """

    __slots__ = ("_parts", "_tasks", "here")

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tasks: set[asyncio.Task[Any]] = set()
        self.here = _LocksHere(parts)

    def own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do something in a task that nobody's cancellation ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: who asked may have been cancelled

    async def aclose(self) -> None:
        """Wait until what is under way has ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def lock(self, name: str, lease: float, wait: float | None) -> CacheLock:
        """A lock for who asks for one by name."""
        return CacheLock(name, self._lease(f"{RESERVED}lock:{identity(name)}", lease), wait)

    def of_load(self, key: str) -> Lease:
        """The lock of a load, by the name of its key inside."""
        return self._lease(f"{RESERVED}load:{key}", self._parts.config.lock_lease)

    def _lease(self, name: str, seconds: float) -> Lease:
        return Lease(self._parts, self, self._parts.keys.wire(name), seconds)


async def rest(pause: float, longest: float | None = None) -> float:
    """Sleep about `pause` seconds, `longest` at most; gives the next pause, which is longer.

    Who waits for a lock asks again and again; a random share keeps many from asking at the same time.
    """
    seconds = pause * random.uniform(0.5, 1.0)  # noqa: S311 - guards nothing
    await asyncio.sleep(seconds if longest is None else min(seconds, longest))
    return min(pause * 2, _LONGEST_PAUSE)
