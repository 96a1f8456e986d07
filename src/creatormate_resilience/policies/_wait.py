"""How long to wait between attempts. Pure: the attempt's number and a random number go in, seconds come out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("Exponential", "Wait", "constant", "exponential")

Wait: TypeAlias = Callable[[int, float], float]
"""Of the number of attempts made (from 1) and a random number (0 to 1): seconds to wait before the next."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """`base * factor ** (attempts - 1)`, at most `max`, of which a random share up to `jitter` is taken off.

    With `jitter=1` it is the "full jitter" of M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015.

    Attributes:
        base: First wait, in seconds.
        max: Longest wait, in seconds.
        factor: Growth from wait to wait.
        jitter: Random share, 0 to 1.
    """

    base: float = 0.1
    max: float = 10.0
    factor: float = 2.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        for name, least, most in (("base", 0, 3600), ("max", 0, 86400), ("factor", 1, 100), ("jitter", 0, 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise ConfigurationError(f"{name} of the wait is {value!r}; accepted is {least} to {most}")

    def __call__(self, attempts: int, random: float) -> float:
        try:
            grown = self.base * math.pow(self.factor, attempts - 1)
        except OverflowError:
            grown = self.max if self.base else 0.0
        return min(grown, self.max) * (1 - self.jitter * random)


def exponential(base: float = 0.1, *, max: float = 10.0, factor: float = 2.0, jitter: float = 0.5) -> Exponential:  # noqa: A002
    """Waits that grow; see `Exponential`."""
    return Exponential(base, max, factor, jitter)


def constant(seconds: float) -> Exponential:
    """The same wait before every attempt, in seconds."""
    return Exponential(seconds, max=86400.0, factor=1.0, jitter=0.0)
