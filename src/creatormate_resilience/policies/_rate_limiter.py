"""A bound on how often something is called, for all or for each key."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, Unpack

from creatormate_resilience.deadline import remaining_time
from creatormate_resilience.events import Event, notify
from creatormate_resilience.exceptions import RateLimitExceededError
from creatormate_resilience.options import clock_of, config_of
from creatormate_resilience.policies._gcra import Reservation, Schedule, nanoseconds
from creatormate_resilience.policies._rate_limiter_config import RateLimiterConfig, RateLimiterOptions
from creatormate_resilience.policy import decorate, explain_miscall, refuse_awaitables

__all__ = ("RateLimited", "RateLimiter", "RateLimiterGuard", "RateLimiterStatistics")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RateLimited(Event):
    """A call was refused. Whose it was is not told: a key may be a secret.

    Attributes:
        retry_after: Seconds until there is a free place.
    """

    retry_after: float


@dataclass(frozen=True, slots=True)
class RateLimiterStatistics:
    """A snapshot since the start, and how many keys are remembered now.

    Attributes:
        allowed: Calls that were let through, those that waited among them.
        waited: Calls that had to wait first.
        rejected: Calls that were refused.
        keys: Keys remembered.
    """

    allowed: int
    waited: int
    rejected: int
    keys: int


class RateLimiter:
    """Lets through so many calls in a time, lets some wait for their turn, and refuses the rest.

    Args:
        rate: Calls in `per` seconds, in the long run.
        per: Seconds; left out, 1.
        config: All settings in one, instead of the others.
        **options: The other fields of `RateLimiterConfig`: `burst`, `key`, `max_wait` and so on.

    Each call takes the next place in an even schedule when it comes, so who waits is served first come first served,
    and who gives up while it waits leaves its place to the next, where it was the last in line. Threads,
    tasks and several event loops may share one.
    """

    def __init__(
        self,
        rate: float | None = None,
        per: float | None = None,
        *,
        config: RateLimiterConfig | None = None,
        **options: Unpack[RateLimiterOptions],
    ) -> None:
        given: dict[str, Any] = {"rate": rate, "per": per}
        chosen = {name: value for name, value in given.items() if value is not None} | options
        self.config = config = config_of(RateLimiterConfig, config, chosen)
        burst = max(1, int(config.rate)) if config.burst is None else config.burst
        interval = max(1, nanoseconds(config.per / config.rate))
        self._schedule = Schedule(interval, burst, config.max_keys, OrderedDict())
        self._longest_wait = nanoseconds(config.max_wait)
        self._clock = clock_of(config.clock)
        self._listeners = tuple(config.listeners)
        self._lock = threading.Lock()
        self._allowed = self._waited = self._rejected = 0
        self._plain: type = type(None)

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Limit a function: `@RateLimiter(10)`; keeps its kind and signature."""
        return decorate(self, fn)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a sync function when it is its turn.

        Raises:
            RateLimitExceededError: That would take too long; `retry_after` says when it would not.
            TypeError: The function returned an awaitable; use `acall`.
        """
        self.wait_turn(self._key(*args, **kwargs))
        result = fn(*args, **kwargs)
        if type(result) is not self._plain:  # looked at once for each type that comes along
            self._plain = refuse_awaitables(result, fn)
        return result

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function when it is its turn; see `call`."""
        await self.await_turn(self._key(*args, **kwargs))
        try:
            return await fn(*args, **kwargs)
        except TypeError as error:
            explain_miscall(error, fn)
            raise

    def guard(self, key: Hashable = None) -> RateLimiterGuard:
        """A turn for a block: `with limiter.guard():` or `async with limiter.guard():`.

        Args:
            key: Whose limit counts; None is one of its own.

        Returns:
            A context manager. Entering it waits, or raises `RateLimitExceededError`.
        """
        return RateLimiterGuard(self, key)

    def statistics(self) -> RateLimiterStatistics:
        """One consistent snapshot."""
        with self._lock:
            return RateLimiterStatistics(self._allowed, self._waited, self._rejected, len(self._schedule.due))

    def wait_turn(self, key: Hashable = None) -> None:
        """Take the next place and wait for it; for where `guard` does not fit.

        Raises:
            RateLimitExceededError: That would take too long.
        """
        reservation = self._reserve(key)
        if reservation.wait:
            try:
                self._clock.sleep(reservation.wait / 1e9)
            except BaseException:
                self._give_back(reservation)
                raise

    async def await_turn(self, key: Hashable = None) -> None:
        """Like `wait_turn`, in async code."""
        reservation = self._reserve(key)
        if reservation.wait:
            try:
                await self._clock.asleep(reservation.wait / 1e9)
            except BaseException:
                self._give_back(reservation)
                raise

    def _key(self, /, *args: Any, **kwargs: Any) -> Hashable:
        return None if self.config.key is None else self.config.key(*args, **kwargs)

    def _reserve(self, key: Hashable) -> Reservation:
        left = remaining_time()
        longest = self._longest_wait if left is None else max(0, min(self._longest_wait, nanoseconds(left)))
        try:
            hash(key)
        except TypeError as error:
            raise TypeError(f"key is a {type(key).__name__}; accepted is what can be hashed") from error
        with self._lock:
            reservation = self._schedule.reserve(key, nanoseconds(self._clock.monotonic()), longest)
            if reservation.wait <= longest:
                self._allowed += 1
                self._waited += reservation.wait > 0
                return reservation
            self._rejected += 1
        retry_after = reservation.wait / 1e9
        if self._listeners:
            notify(self._listeners, RateLimited(self.config.name, retry_after))
        raise RateLimitExceededError(f"{self!r} is used up, try again in {retry_after:.3g} s", retry_after=retry_after)

    def _give_back(self, reservation: Reservation) -> None:
        with self._lock:
            self._allowed -= 1
            self._waited -= 1
            self._schedule.give_back(reservation)

    def __repr__(self) -> str:
        config, keys = self.config, "" if self.config.key is None else f", {len(self._schedule.due)} keys"
        return f"<RateLimiter {config.name!r} {config.rate:g} per {config.per:g} s{keys}>"


class RateLimiterGuard:
    """A turn for a block, sync or async. Made by `RateLimiter.guard()`."""

    __slots__ = ("_key", "_limiter")

    def __init__(self, limiter: RateLimiter, key: Hashable) -> None:
        self._limiter = limiter
        self._key = key

    def __enter__(self) -> None:
        self._limiter.wait_turn(self._key)

    async def __aenter__(self) -> None:
        await self._limiter.await_turn(self._key)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        pass

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        pass
