"""Trying again what may succeed the next time, and nothing else."""

from __future__ import annotations

import inspect
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
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
        wait: Seconds between attempts; see `exponential` and `constant`. An error's own `retry_after` may lengthen it.
        retry_on: Exception types, or a predicate. None: what the classifier calls a failure and the error itself (see
            `map_exception`) calls retryable. Refusals of ours, such as an open circuit, only where a deadline is
            known and their wait fits into it.
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
        max_retry_after: float = 60.0,
        classify: Classifier = classify,
        name: str = "retry",
        clock: Clock | None = None,
        listeners: Iterable[Listener] = (),
    ) -> None:
        if isinstance(max_attempts, bool) or not isinstance(max_attempts, int) or not 1 <= max_attempts <= 1000:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"max_attempts is {max_attempts!r}; accepted are whole numbers from 1 to 1000")
        if not 0 <= max_retry_after < float("inf"):
            raise ConfigurationError(f"max_retry_after is {max_retry_after!r}; accepted are finite seconds from 0")
        self.max_attempts = max_attempts
        self.name = name
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
        advised = map_exception(error).retry_after or 0.0
        left = remaining_time()
        if advised > self._max_retry_after or not self._is_retryable(error, has_deadline=left is not None):
            return None
        delay = max(advised, self._wait(attempt, random.random()))  # noqa: S311 - jitter needs no secrecy
        return None if left is not None and delay >= left else delay

    def _is_retryable(self, error: Exception, *, has_deadline: bool) -> bool:
        if self._retry_on is not None:
            return bool(self._retry_on(error))
        kind = self._classify(Outcome(exception=error))
        refused = kind is OutcomeKind.IGNORED
        return kind is not OutcomeKind.SUCCESS and map_exception(error).retryable and (has_deadline or not refused)

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Retry a function: `@Retry(3)`; keeps its kind and signature."""
        return decorate(self, fn)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a sync function, again where that may help.

        Raises:
            RetriesExhaustedError: All attempts failed; the cause is the last failure. A failure that is not retried
                is raised as it is.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                result = fn(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - raised again, or retried
                self._clock.sleep(self._next(attempt, error))
            else:
                if inspect.isawaitable(result):
                    refuse_awaitable(result, fn)
                return result

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function, again where that may help; see `call`."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await fn(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - raised again, or retried
                delay = self._next(attempt, error)
            await self._clock.asleep(delay)

    def __iter__(self) -> Generator[Attempt]:
        """Attempts for a block: `for attempt in retry:` with `with attempt:` around what may fail."""
        attempt = Attempt(self, 1)
        while True:
            yield attempt
            if attempt.delay is None:
                return
            self._clock.sleep(attempt.delay)
            attempt = Attempt(self, attempt.number + 1)

    async def __aiter__(self) -> AsyncGenerator[Attempt]:
        """Attempts for a block: `async for attempt in retry:` with `async with attempt:` around what may fail."""
        attempt = Attempt(self, 1)
        while True:
            yield attempt
            if attempt.delay is None:
                return
            await self._clock.asleep(attempt.delay)
            attempt = Attempt(self, attempt.number + 1)

    def _next(self, attempt: int, error: Exception) -> float:
        delay = self.delay_before(attempt, error)
        if delay is None:
            if attempt >= self.max_attempts > 1:
                wait = map_exception(error).retry_after
                raise RetriesExhaustedError(f"gave up after {attempt} attempts", retry_after=wait) from error
            raise error
        if self._listeners:
            notify(self._listeners, RetryScheduled(self.name, attempt, delay, type(error).__name__))
        return delay

    def __repr__(self) -> str:
        return f"Retry(max_attempts={self.max_attempts}, wait={self._wait!r})"


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
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool:
        return self.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<Attempt {self.number} of {self._retry.max_attempts}>"
