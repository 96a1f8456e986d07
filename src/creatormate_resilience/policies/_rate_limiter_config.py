"""What a rate limiter is set up with, checked when it is made."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypedDict

from creatormate_resilience.clock import Clock
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.options import check_function, check_number, check_text, check_whole, clock_of, listeners_of

__all__ = ("RateLimiterConfig", "RateLimiterOptions")


class RateLimiterOptions(TypedDict, total=False):
    """The fields of `RateLimiterConfig` as keywords of `RateLimiter`, beside its two parameters."""

    burst: int | None
    key: Callable[..., Hashable] | None
    max_wait: float
    max_keys: int
    name: str
    clock: Clock | None
    listeners: Iterable[Listener]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimiterConfig:
    """What a `RateLimiter` is set up with.

    Attributes:
        rate: Calls in `per` seconds, in the long run.
        per: Seconds.
        burst: Calls that may be made at once after a pause. None: a whole `rate` of them, at least one. With 1 calls
            are spread evenly.
        key: A function of the call's arguments (a method's `self` among them) that says whose limit counts. None: one
            limit for all.
        max_wait: Longest wait for a place, in seconds, and never longer than the current deadline; 0 refuses at once.
        max_keys: Keys that are remembered; the one unused longest is forgotten and begins with a full burst again.
        name: In errors and events.
        clock: Where waiting is done and time comes from.
        listeners: Told of `RateLimited`.

    Raises:
        ConfigurationError: A value is not accepted.
    """

    rate: float
    per: float = 1.0
    burst: int | None = None
    key: Callable[..., Hashable] | None = None
    max_wait: float = 0.0
    max_keys: int = 10_000
    name: str = "rate limiter"
    clock: Clock | None = None
    listeners: Iterable[Listener] = ()

    def __post_init__(self) -> None:
        check_number("rate", self.rate, "calls", most=1e9)
        check_number("per", self.per, "seconds", most=1e9)
        if not 1e-9 <= self.per / self.rate <= 1e9:
            raise ConfigurationError(f"rate is {self.rate!r} per {self.per!r} s; accepted is 1 call in 1e-9 to 1e9 s")
        if self.burst is not None:
            check_whole("burst", self.burst, 1, 1_000_000_000)
        if self.key is not None:
            check_function("key", self.key, "accepted is a function of the call's arguments")
        check_number("max_wait", self.max_wait, "seconds", above_zero=False, most=1e9)
        check_whole("max_keys", self.max_keys, 1)
        check_text("name", self.name)
        clock_of(self.clock)
        object.__setattr__(self, "listeners", listeners_of(self.listeners))
