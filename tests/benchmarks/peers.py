"""The circuit breakers that ours is compared with: each around a function, by its own decorator where it has one.

All trip after three failures in a row and stay open for the time they are told. Everything else is left at its default.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import aiobreaker
import backon
import circuitbreaker
import hyx.circuitbreaker
import interlock
import purgatory
import pybreaker
import pyresilience

from creatormate_resilience.breaker import CircuitBreaker, CircuitBreakerConfig

THRESHOLD = 3


@dataclass(frozen=True)
class Protected:
    """A function behind a breaker."""

    call: Callable[..., Any]
    state: Callable[[], str]
    """What the breaker says it is in: `closed`, `open` or `half-open`."""


Adapter = Callable[[Callable[..., Any], float], Protected]
"""Puts a breaker of its own around a function; the number is the seconds it stays open."""

# What some call the three states.
_STATES = MappingProxyType({"opened": "open", "half-opened": "half-open", "working": "closed", "failing": "open",
                            "recovering": "half-open"})  # fmt: skip


def _plain(state: object) -> str:
    """One name for one state."""
    text = str(state).lower().replace("_", "-")
    return _STATES.get(text, text)


def ours(fn: Callable[..., Any], wait: float) -> Protected:
    """The breaker of this library."""
    config = CircuitBreakerConfig(failure_threshold=THRESHOLD, recovery_timeout=wait)
    breaker = CircuitBreaker("ours", config)
    return Protected(breaker(fn), lambda: _plain(breaker.state))


def aiobreaker_(fn: Callable[..., Any], wait: float) -> Protected:
    """The breaker of aiobreaker."""
    breaker = aiobreaker.CircuitBreaker(fail_max=THRESHOLD, timeout_duration=timedelta(seconds=wait))
    return Protected(breaker(fn), lambda: _plain(breaker.current_state.name))


def backon_(fn: Callable[..., Any], wait: float) -> Protected:
    """backon; its breaker is no decorator."""
    breaker = backon.CircuitBreaker(failure_threshold=THRESHOLD, recovery_timeout=wait)
    call = breaker.async_call if inspect.iscoroutinefunction(fn) else breaker.call
    return Protected(functools.partial(call, fn), lambda: _plain(breaker.state.name))


def circuitbreaker_(fn: Callable[..., Any], wait: float) -> Protected:
    """The breaker of circuitbreaker."""
    breaker = circuitbreaker.CircuitBreaker(failure_threshold=THRESHOLD, recovery_timeout=wait)
    return Protected(breaker(fn), lambda: _plain(breaker.state))


def hyx_(fn: Callable[..., Any], wait: float) -> Protected:
    """hyx; async only."""
    breaker = hyx.circuitbreaker.consecutive_breaker(failure_threshold=THRESHOLD, recovery_time_secs=wait)
    return Protected(breaker(fn), lambda: _plain(breaker.state.name))


def interlock_(
    fn: Callable[..., Any], wait: float, window: interlock.WindowType = interlock.WindowType.COUNT_BASED
) -> Protected:
    """interlock; it trips by the share of failures alone, so three calls are enough to judge by."""
    config = interlock.Config(minimum_number_of_calls=THRESHOLD, wait_duration_in_open=wait, window_type=window)
    breaker = interlock.CircuitBreaker(name="interlock", config=config)
    return Protected(breaker(fn), lambda: _plain(breaker.state))


def purgatory_(fn: Callable[..., Any], wait: float) -> Protected:
    """purgatory, which has one factory for each kind of function."""
    is_async = inspect.iscoroutinefunction(fn)
    kind: Any = purgatory.AsyncCircuitBreakerFactory if is_async else purgatory.SyncCircuitBreakerFactory
    factory = kind(default_threshold=THRESHOLD, default_ttl=wait)
    return Protected(factory("purgatory")(fn), lambda: _plain(factory.uow.contexts.breakers["purgatory"].state))


def pybreaker_(fn: Callable[..., Any], wait: float) -> Protected:
    """pybreaker; around an `async def` it sees the coroutine made, not what becomes of it."""
    breaker = pybreaker.CircuitBreaker(fail_max=THRESHOLD, reset_timeout=wait)
    return Protected(breaker(fn), lambda: _plain(breaker.current_state))


def pyresilience_(fn: Callable[..., Any], wait: float) -> Protected:
    """The breaker of pyresilience."""
    config = pyresilience.CircuitBreakerConfig(failure_threshold=THRESHOLD, recovery_timeout=wait)
    call: Any = pyresilience.resilient(circuit_breaker=config)(fn)
    return Protected(call, lambda: _plain(call._executor._circuit_breaker.state.name))


OURS = "creatormate-resilience"
SUBJECTS: Mapping[str, Adapter] = MappingProxyType(
    {
        OURS: ours,
        "aiobreaker": aiobreaker_,
        "backon": backon_,
        "circuitbreaker": circuitbreaker_,
        "hyx": hyx_,
        "interlock-cb": interlock_,
        "purgatory": purgatory_,
        "pybreaker": pybreaker_,
        "pyresilience": pyresilience_,
    }
)
"""By the name of the distribution. tenacity is not here: it retries, and has no breaker."""
