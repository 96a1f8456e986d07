"""Another attempt where the first is slow, and the first success of all."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, ParamSpec, TypeVar, Unpack, cast

from creatormate_resilience.deadline import remaining_time
from creatormate_resilience.events import Event, notify
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.options import clock_of, config_of
from creatormate_resilience.policies._budget import RetryBudgetExhausted
from creatormate_resilience.policies._hedge_config import HedgeConfig, HedgeOptions
from creatormate_resilience.policies._race import Latencies, Race
from creatormate_resilience.policies._task_race import TaskRace
from creatormate_resilience.policy import Policy, decorate, explain_miscall

__all__ = ("Hedge", "HedgeStarted", "HedgeStatistics")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HedgeStarted(Event):
    """There was no answer in time, so another attempt was started.

    Attributes:
        number: Of the hedge in its call, from 1.
        delay: Seconds that were waited for it.
    """

    number: int
    delay: float


@dataclass(frozen=True, slots=True)
class HedgeStatistics:
    """A snapshot since the start, and the delay now.

    Attributes:
        calls: Calls in all.
        started: Hedges that were started.
        won: Hedges whose answer was taken.
        over_budget: Hedges that were not started because the budget was empty.
        delay: Seconds after which the next call would be hedged; None where too few calls are known.
    """

    calls: int = 0
    started: int = 0
    won: int = 0
    over_budget: int = 0
    delay: float | None = None


class Hedge:
    """Starts another attempt when there is no answer for a while; the first success is taken, the others are cancelled.

    It trims rare delays, such as a slow replica or a lost packet, at the price of some more calls. An error is an
    answer too: hedges start for slowness only, and errors are for `Retry`, which belongs around it.

    Args:
        delay: Seconds without an answer after which another attempt starts. See `HedgeConfig`.
        config: All settings in one, instead of the others.
        **options: The other fields of `HedgeConfig`.

    For async functions that are safe to call twice at the same time. The first attempt runs in the task and the context
    of the caller, the others in tasks of their own with copies of that context. All have ended when the call returns:
    on asyncio the slower ones are cancelled once and may await what cleans up.
    """

    async_only: ClassVar[bool] = True

    def __init__(
        self, delay: float | None = None, *, config: HedgeConfig | None = None, **options: Unpack[HedgeOptions]
    ) -> None:
        given: dict[str, Any] = {} if delay is None else {"delay": delay}
        self.config = config_of(HedgeConfig, config, given | options)
        self._clock = clock_of(self.config.clock)
        percentile = self.config.percentile
        self._latencies = None if percentile is None else Latencies(percentile)
        self._listeners = tuple(self.config.listeners)
        self._lock = threading.Lock()
        self._seen = HedgeStatistics()

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Hedge an async function: `@Hedge(0.2)`; keeps its signature.

        Raises:
            ConfigurationError: The function is not async; nothing could cancel the slower attempt.
        """
        return decorate(self, fn)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:  # noqa: ARG002 - the protocol's form
        """Refused: a sync call cannot be cancelled.

        Raises:
            ConfigurationError: Always.
        """
        name = getattr(fn, "__qualname__", repr(fn))
        raise ConfigurationError(f"{self!r} cannot interrupt {name}, which is called without async")

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function, more than once where it is slow.

        Raises:
            Exception: The first failure, when no attempt succeeded; its notes name the others.
        """
        if self.config.budget is not None:
            self.config.budget.deposit()
        return await self._acall(fn, *args, **kwargs)

    def inside_retry(self) -> Policy:
        """The same, for inside of a retry that shares its budget and has told it of the call. `Pipeline` does this."""
        return cast("Policy", _InsideRetry(self.call, self._acall))

    def statistics(self) -> HedgeStatistics:
        """One consistent snapshot."""
        return replace(self._seen, delay=self._delay())

    async def _acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._count(calls=1)
        delay, left, number = self._delay(), remaining_time(), 0
        began = self._clock.monotonic()
        if delay is None or (left is not None and delay >= left):
            result = await _attempt(fn, args, kwargs)
        else:
            after = functools.partial(self._next_due, delay)
            race = Race[T] if asyncio._get_running_loop() is None else TaskRace[T]
            result, number = await race(
                functools.partial(_attempt, fn, args, kwargs), after, self.config.max_hedges
            ).run()
        if number:
            self._count(won=1)
        # Where a hedge has won this is less than the first attempt would have taken; leaving it out would be worse.
        if self._latencies is not None:
            self._latencies.add(self._clock.monotonic() - began)
        return result

    def _delay(self) -> float | None:
        slow = None if self._latencies is None else self._latencies.slow()
        return self.config.delay if slow is None else slow

    async def _next_due(self, delay: float, number: int) -> bool:
        await self._clock.asleep(delay)
        left = remaining_time()
        if left is not None and left <= 0:
            return False
        if self.config.budget is not None and not self.config.budget.withdraw():
            self._count(over_budget=1)
            notify(self._listeners, RetryBudgetExhausted(self.config.name, None))
            return False
        self._count(started=1)
        notify(self._listeners, HedgeStarted(self.config.name, number, delay))
        return True

    def _count(self, **more: int) -> None:
        with self._lock:
            self._seen = replace(
                self._seen, **{name: getattr(self._seen, name) + number for name, number in more.items()}
            )

    def __repr__(self) -> str:
        seen = self.statistics()
        after = "not yet" if seen.delay is None else f"after {seen.delay:.3g} s"
        return f"<Hedge {self.config.name!r} {after}: {seen.started} started in {seen.calls} calls, {seen.won} won>"


async def _attempt(fn: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> T:
    try:
        return await fn(*args, **kwargs)
    except TypeError as error:
        explain_miscall(error, fn)
        raise


class _InsideRetry:
    """A hedge whose calls its budget has seen already."""

    async_only: ClassVar[bool] = True

    def __init__(self, call: Callable[..., Any], acall: Callable[..., Awaitable[Any]]) -> None:
        self.call = call
        self.acall = acall
