"""A policy that makes trouble: errors and latency, as often as you say."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

from creatormate_resilience.clock import Clock, SystemClock
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.policy import decorate, explain_miscall, refuse_awaitables

__all__ = ("Chaos", "ChaosStatistics")

P = ParamSpec("P")
T = TypeVar("T")
_NO_ERROR = "accepted is an exception type, or a function without parameters that makes an exception"


@dataclass(frozen=True, slots=True)
class ChaosStatistics:
    """A snapshot.

    Attributes:
        calls: Calls that came.
        errors: Those that were answered with an error instead of being made.
        delayed: Those that were made to wait first.
    """

    calls: int = 0
    errors: int = 0
    delayed: int = 0


class Chaos:
    """Makes a share of calls fail, and a share of them slow. A policy: innermost in a pipeline it plays the dependency.

    Args:
        error_rate: Share of calls that fail without being made, 0 to 1.
        error: What they raise: an exception type, or a function without parameters that makes an exception.
        latency: Seconds that calls wait before they are made, or fail.
        latency_rate: Share of calls that wait, 0 to 1.
        seed: The same number gives the same trouble to the same calls, counted as they begin. None picks one, which
            the `repr` shows, so that a failing run can be repeated.
        clock: Where the waiting is done; on a `FakeClock` it takes no time.

    Raises:
        ConfigurationError: An argument is not accepted.
    """

    def __init__(
        self,
        *,
        error_rate: float = 0.0,
        error: type[Exception] | Callable[[], Exception] = ConnectionError,
        latency: float = 0.0,
        latency_rate: float = 1.0,
        seed: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        _check("error_rate", error_rate, 1.0, "a share from 0 to 1")
        _check("latency_rate", latency_rate, 1.0, "a share from 0 to 1")
        _check("latency", latency, 86_400.0, "seconds from 0 to 86400")
        if not callable(error) or (isinstance(error, type) and not issubclass(error, Exception)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"error is {error!r}; {_NO_ERROR}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"seed is {seed!r}; accepted is a whole number, or None")
        if clock is not None and not all(callable(getattr(clock, each, None)) for each in ("sleep", "asleep")):
            raise ConfigurationError(f"clock is {clock!r}; accepted is a Clock, such as FakeClock()")
        self.error_rate = error_rate
        self.latency = latency
        self.latency_rate = latency_rate
        self.seed = random.SystemRandom().randrange(2**32) if seed is None else seed
        self._error: Callable[[], object] = error
        self._clock = SystemClock() if clock is None else clock
        self._random = random.Random(self.seed)  # noqa: S311 - it has to be predictable
        self._lock = threading.Lock()
        self._seen = ChaosStatistics()

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Make trouble for a function: `@Chaos(error_rate=0.1)`; keeps its kind and signature.

        Args:
            fn: A `def` or `async def` function or method.

        Returns:
            A function of the same kind and signature.
        """
        return decorate(self, fn)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a sync function, late, or raise in its place.

        Raises:
            Exception: What `error` gives.
            TypeError: The function returned an awaitable; use `acall`.
        """
        fails, late = self._draw()
        if late:
            self._clock.sleep(self.latency)
        if fails:
            raise self._make()
        result = fn(*args, **kwargs)
        refuse_awaitables(result, fn)
        return result

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function, late, or raise in its place.

        Raises:
            Exception: What `error` gives.
        """
        fails, late = self._draw()
        if late:
            await self._clock.asleep(self.latency)
        if fails:
            raise self._make()
        try:
            return await fn(*args, **kwargs)
        except TypeError as error:
            explain_miscall(error, fn)
            raise

    def statistics(self) -> ChaosStatistics:
        """One consistent snapshot."""
        return self._seen

    def _draw(self) -> tuple[bool, bool]:
        """Whether the next call fails, and is late. Both are always drawn, so that the rates are independent."""
        with self._lock:
            fails = self._random.random() < self.error_rate
            late = self._random.random() < self.latency_rate and self.latency > 0
            seen = self._seen
            self._seen = ChaosStatistics(seen.calls + 1, seen.errors + fails, seen.delayed + late)
        return fails, late

    def _make(self) -> Exception:
        error = self._error()
        if not isinstance(error, Exception):
            raise ConfigurationError(f"error gave {error!r}; {_NO_ERROR}")
        return error

    def __repr__(self) -> str:
        late = f", latency={self.latency:g}, latency_rate={self.latency_rate:g}" if self.latency else ""
        return f"Chaos(error_rate={self.error_rate:g}{late}, seed={self.seed})"


def _check(name: str, value: Any, most: float, accepted: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= cast("float", value) <= most or not math.isfinite(value):
        raise ConfigurationError(f"{name} is {value!r}; accepted are {accepted}")
