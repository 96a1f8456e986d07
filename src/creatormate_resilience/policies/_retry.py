"""Trying again what may succeed the next time, and nothing else."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from creatormate_resilience.clock import Clock, SystemClock
from creatormate_resilience.deadline import remaining_time
from creatormate_resilience.events import Event, Listener, notify
from creatormate_resilience.exceptions import ConfigurationError, RetriesExhaustedError, map_exception
from creatormate_resilience.outcome import Classifier, On, Outcome, OutcomeKind, classify, predicate
from creatormate_resilience.policies._wait import Wait, exponential
from creatormate_resilience.policy import decorate, refuse_awaitable

__all__ = ("Attempt", "Retry", "RetryScheduled")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryScheduled(Event):
    """An attempt failed and another will follow.

    Attributes:
        attempt: Number of attempts made, from 1.
        wait: Seconds until the next.
        error: Name of the exception's type.
    """

    attempt: int
    wait: float
    error: str


class Retry:
    """Runs a function again after a failure that says it may help.

    Args:
        max_attempts: Attempts in all, the first included.
        wait: Seconds between attempts; see `exponential` and `constant`. A wait that the error was given, such as an
            upstream's Retry-After, lengthens it; what its class would tell a client does not.
        retry_on: Exception types, or a predicate. None: what the classifier calls a failure and the error itself (see
            `map_exception`) calls retryable. Refusals of ours, such as an open circuit, only where a deadline is
            known and their wait fits into it.
        retry_refusals: False never retries our own refusals, so that an open circuit fails at once.
        max_retry_after: Longest `retry_after` obeyed, in seconds; an error that asks for more is not retried.
        classify: Replaces the default classifier.
        name: In events.
        clock: Where waiting is done.
        listeners: Told of `RetryScheduled`.

    Only retry what is safe to do twice. Around a client that retries by itself, attempts multiply: switch its own off
    (`max_retries=0` for OpenAI's). Nothing starts that the current deadline (`policies.Timeout`) leaves no time for.
    """

    def __init__(
        self,
        max_attempts: int = 3,
        wait: Wait | None = None,
        retry_on: On | None = None,
        *,
        retry_refusals: bool = True,
        max_retry_after: float = 60.0,
        classify: Classifier = classify,
        name: str = "retry",
        clock: Clock | None = None,
        listeners: Iterable[Listener] = (),
    ) -> None:
        if isinstance(max_attempts, bool) or not isinstance(max_attempts, int) or not 1 <= max_attempts <= 1000:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"max_attempts is {max_attempts!r}; accepted are whole numbers from 1 to 1000")
        number = isinstance(max_retry_after, int | float) and not isinstance(max_retry_after, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not number or not 0 <= max_retry_after < math.inf:
            raise ConfigurationError(f"max_retry_after is {max_retry_after!r}; accepted are finite seconds from 0")
        if wait is not None and not callable(wait):
            raise ConfigurationError(
                f"wait is {wait!r}; accepted is a function of attempts and a random number, such as constant(0.5)"
            )
        if not callable(classify):
            raise ConfigurationError(f"classify is {classify!r}; accepted is a function of an Outcome")
        self.max_attempts = max_attempts
        self.name = name
        self._retry_refusals = retry_refusals
        self._wait = wait or exponential()
        self._retry_on = None if retry_on is None else predicate("retry_on", retry_on)
        self._max_retry_after = max_retry_after
        self._classify = classify
        self._clock = clock or SystemClock()
        self._listeners = tuple(listeners)

    def delay_before(self, attempt: int, error: BaseException) -> float | None:
        """The decision after a failed attempt.

        Args:
            attempt: Number of attempts made, from 1.
            error: What the last one raised.

        Returns:
            Seconds to wait before the next, or None to give up.
        """
        if attempt >= self.max_attempts or not isinstance(error, Exception):
            return None
        if not self._is_retryable(error):
            return None
        stated = map_exception(error).stated_retry_after or 0.0
        if stated > self._max_retry_after:
            return None
        wait = self._wait(attempt, random.random())  # noqa: S311 - jitter needs no secrecy
        delay = max(stated, wait if wait > 0 else 0.0)
        left = remaining_time()
        return None if left is not None and delay >= left else delay

    def _is_retryable(self, error: Exception) -> bool:
        if self._retry_on is not None:
            return bool(self._retry_on(error))
        kind = self._classify(Outcome(exception=error))
        if kind is OutcomeKind.SUCCESS or not map_exception(error).retryable:
            return False
        return kind is not OutcomeKind.IGNORED or (self._retry_refusals and remaining_time() is not None)

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Retry a function: `@Retry(3)`; keeps its kind and signature."""
        return decorate(self, fn)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a sync function, again where that may help.

        Raises:
            RetriesExhaustedError: All attempts failed; the cause is the last failure. A failure that is not worth a
                retry, or has no time for one, is raised as it is.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                result = fn(*args, **kwargs)
            except Exception as error:
                delay = self._next(attempt, error)
                if delay is None:
                    raise
            else:
                if inspect.isawaitable(result):
                    refuse_awaitable(result, fn)
                return result
            self._clock.sleep(delay)

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function, again where that may help; see `call`."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await fn(*args, **kwargs)
            except Exception as error:
                delay = self._next(attempt, error)
                if delay is None:
                    raise
            await self._clock.asleep(delay)

    def __iter__(self) -> Iterator[Attempt]:
        """Attempts for a block: `for attempt in retry:` with `with attempt:` around what may fail."""
        return _Attempts(self, self._clock)

    def __aiter__(self) -> AsyncIterator[Attempt]:
        """Attempts for a block: `async for attempt in retry:` with `async with attempt:` around what may fail."""
        return _Attempts(self, self._clock)

    def _next(self, attempt: int, error: Exception) -> float | None:
        delay = self.delay_before(attempt, error)
        if delay is None:
            if attempt >= self.max_attempts > 1 and self._is_retryable(error):
                wait = map_exception(error).retry_after
                raise RetriesExhaustedError(f"gave up after {attempt} attempts", retry_after=wait) from error
            return None
        if self._listeners:
            notify(self._listeners, RetryScheduled(self.name, attempt, delay, type(error).__name__))
        return delay

    def __repr__(self) -> str:
        return f"Retry(max_attempts={self.max_attempts}, wait={self._wait!r})"


class _Attempts:
    """Iterates over attempts. A class and not a generator, because leaving the loop early is the normal way out."""

    __slots__ = ("_clock", "_last", "_retry")

    def __init__(self, retry: Retry, clock: Clock) -> None:
        self._retry = retry
        self._clock = clock
        self._last: Attempt | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Attempt:
        if self._last is not None:
            if self._last.delay is None:
                raise StopIteration
            self._clock.sleep(self._last.delay)
        return self._begin()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._last is not None:
            if self._last.delay is None:
                raise StopAsyncIteration
            await self._clock.asleep(self._last.delay)
        return self._begin()

    def _begin(self) -> Attempt:
        self._last = Attempt(self._retry, 1 if self._last is None else self._last.number + 1)
        return self._last


class Attempt:
    """One attempt of a block; leaving it with an error that may be retried suppresses the error and goes on."""

    __slots__ = ("_retry", "delay", "number")

    def __init__(self, retry: Retry, number: int) -> None:
        self._retry = retry
        self.number = number
        self.delay: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.delay = self._retry._next(self.number, error)  # pyright: ignore[reportPrivateUsage]
        return self.delay is not None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool:
        return self.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<Attempt {self.number} of {self._retry.max_attempts}>"
