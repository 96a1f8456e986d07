"""Trying again what may succeed the next time, and nothing else."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar, Unpack, cast

from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.options import config_of
from creatormate_resilience.outcome import On
from creatormate_resilience.policies._attempts import Attempt, Attempts
from creatormate_resilience.policies._budget import SAMPLED, RetryBudget
from creatormate_resilience.policies._planner import Planner, RetryStatistics
from creatormate_resilience.policies._retry_config import RetryConfig, RetryOptions
from creatormate_resilience.policies._streams import retried_async_stream, retried_stream
from creatormate_resilience.policies._wait import Wait
from creatormate_resilience.policy import check_decorated, decorate, explain_miscall, is_async, refuse_awaitables

__all__ = ("Retry",)

P = ParamSpec("P")
T = TypeVar("T")


class Retry:
    """Runs a function again after a failure that says it may help.

    Args:
        max_attempts: Attempts in all, the first included; left out, 3.
        wait: Seconds between attempts; see `exponential` and `constant`. Left out, `exponential()`.
        retry_on: Exception types, or a predicate. Left out, the error itself decides; see `RetryConfig`.
        config: All settings in one, instead of the others.
        **options: The other fields of `RetryConfig`.

    Only retry what is safe to do twice. Around a client that retries by itself, attempts multiply: switch its own off
    (`max_retries=0` for OpenAI's). No further attempt starts that the current deadline (`policies.Timeout`) leaves no
    time for. A generator is begun again only where it failed before its first item.
    """

    def __init__(
        self,
        max_attempts: int | None = None,
        wait: Wait | None = None,
        retry_on: On | None = None,
        *,
        config: RetryConfig | None = None,
        **options: Unpack[RetryOptions],
    ) -> None:
        given = {"max_attempts": max_attempts, "wait": wait, "retry_on": retry_on}
        chosen = {name: value for name, value in given.items() if value is not None} | options
        self.config = config_of(RetryConfig, config, chosen)
        self._planner = Planner(self.config)
        self._plain: type = type(None)

    @property
    def max_attempts(self) -> int:
        """Attempts in all, the first included."""
        return self.config.max_attempts

    def delay_before(self, attempt: int, error: BaseException) -> float | None:
        """The decision after a failed attempt, without asking the budget.

        Args:
            attempt: Number of attempts made, from 1.
            error: What the last one raised.

        Returns:
            Seconds to wait before the next, or None to give up.

        Raises:
            ConfigurationError: `wait` gave what is no time.
        """
        return self._planner.delay_before(attempt, error)

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Retry a function: `@Retry(3)`; keeps its kind and signature.

        Args:
            fn: A `def`, `async def`, generator or async generator function, or a method.

        Returns:
            A function of the same kind and signature.
        """
        check_decorated(self, fn)
        function: Any = fn
        if isinstance(fn, staticmethod):  # stays one, else it would be given the instance
            return cast("Callable[P, T]", staticmethod(self(function.__func__)))
        if inspect.isasyncgenfunction(fn):
            return cast("Callable[P, T]", retried_async_stream(self, function))
        if inspect.isgeneratorfunction(fn):
            return cast("Callable[P, T]", retried_stream(self, function))
        if self.config.deadline is not None:
            return decorate(self, fn)
        return cast("Callable[P, T]", self._async(function)) if is_async(fn) else self._sync(fn)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a sync function, again where that may help.

        Raises:
            RetriesExhaustedError: All attempts failed; the cause is the last failure. A failure that is not worth a
                retry, or has no time or budget for one, is raised as it is.
            TypeError: The function returned an awaitable; use `acall`.
        """
        self._planner.begin()
        if self.config.deadline is None:
            return self._run(0, 0.0, fn, args, kwargs)
        with deadline_scope(self.config.deadline, clock=self._planner.clock):
            return self._run(0, 0.0, fn, args, kwargs)

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function, again where that may help; see `call`."""
        self._planner.begin()
        if self.config.deadline is None:
            return await self._arun(0, 0.0, fn, args, kwargs)
        with deadline_scope(self.config.deadline, clock=self._planner.clock):
            return await self._arun(0, 0.0, fn, args, kwargs)

    def __iter__(self) -> Iterator[Attempt]:
        """Attempts for a block: `for attempt in retry:` with `with attempt:` around what may fail."""
        return Attempts(self._planner)

    def __aiter__(self) -> AsyncIterator[Attempt]:
        """Attempts for a block: `async for attempt in retry:` with `async with attempt:` around what may fail."""
        return Attempts(self._planner)

    def statistics(self) -> RetryStatistics:
        """One consistent snapshot."""
        return self._planner.statistics()

    # One wrapper for each kind of function, in which a call that succeeds at once pays for nothing else.
    def _sync(self, fn: Callable[P, T]) -> Callable[P, T]:
        plan, resume = self._planner.plan, self._run
        tick, date, sampled = _told_of_calls(self.config.budget)
        plain: type = type(None)

        @functools.wraps(fn)
        def protected(*args: P.args, **kwargs: P.kwargs) -> T:
            nonlocal plain
            if tick is not None:
                number = tick()
                if not number & sampled:
                    date(number)
            try:
                result = fn(*args, **kwargs)
            except Exception as error:
                delay = plan(1, error)
                if delay is None:
                    raise
            else:
                if type(result) is not plain:  # looked at once for each type that comes along
                    plain = refuse_awaitables(result, fn)
                return result
            return resume(1, delay, fn, args, kwargs)

        return protected

    def _async(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        plan, resume = self._planner.plan, self._arun
        tick, date, sampled = _told_of_calls(self.config.budget)

        @functools.wraps(fn)
        async def protected(*args: P.args, **kwargs: P.kwargs) -> T:
            if tick is not None:
                number = tick()
                if not number & sampled:
                    date(number)
            try:
                return await fn(*args, **kwargs)
            except Exception as error:
                delay = plan(1, error)
                if delay is None:
                    raise
            return await resume(1, delay, fn, args, kwargs)

        return protected

    def _run(
        self, attempt: int, delay: float, fn: Callable[..., T], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> T:
        """The attempts after the first `attempt`, of which the next comes after `delay` seconds."""
        while True:
            if attempt:
                self._planner.clock.sleep(delay)
            attempt += 1
            try:
                result = fn(*args, **kwargs)
            except Exception as error:
                wait = self._planner.plan(attempt, error)
                if wait is None:
                    raise
                delay = wait
                continue
            if type(result) is not self._plain:
                self._plain = refuse_awaitables(result, fn)
            if attempt > 1:
                self._planner.recovered()
            return result

    async def _arun(
        self,
        attempt: int,
        delay: float,
        fn: Callable[..., Awaitable[T]],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> T:
        while True:
            if attempt:
                await self._planner.clock.asleep(delay)
            attempt += 1
            try:
                result = await fn(*args, **kwargs)
            except Exception as error:
                explain_miscall(error, fn)
                wait = self._planner.plan(attempt, error)
                if wait is None:
                    raise
                delay = wait
                continue
            if attempt > 1:
                self._planner.recovered()
            return result

    def __repr__(self) -> str:
        seen = self.statistics()
        made = f", {seen.retries} retries made" if seen.retries else ""
        return f"Retry(max_attempts={self.max_attempts}, wait={self.config.wait!r}{made})"


def _told_of_calls(budget: RetryBudget | None) -> tuple[Callable[[], int] | None, Callable[[int], None], int]:
    """What `RetryBudget.deposit` is made of, so that a call that succeeds at once can do it without calling that."""
    return (None, _nothing, SAMPLED) if budget is None else (budget.tick, budget.date, SAMPLED)


def _nothing(_: int) -> None:
    pass
