"""What a circuit breaker costs, ours beside its peers, in turn within one run: closed, open, and from eight threads.

Run with `nox -s benchmarks -- -s -k bench_breaker` to see the tables. Nothing here asserts a time: what counts are the
ratios within one run. The function that is called does nothing, so the ratios are the worst there can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import interlock
import pytest
from tests.benchmarks.bench_calls import aloop, apass_through, awork, loop, pass_through, work
from tests.benchmarks.interleaved import measure, table
from tests.benchmarks.peers import OURS, SUBJECTS, THRESHOLD, interlock_

from creatormate_resilience.breaker import CircuitBreaker, CircuitBreakerConfig, CountWindow, TimeWindow

# aiobreaker, hyx and pybreaker ask for the time in ways that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LONG = 600.0  # seconds that no run takes
BASE = "pass-through decorator"
BY_TIME = functools.partial(interlock_, window=interlock.WindowType.TIME_BASED)
SYNC_PEERS = {name: adapter for name, adapter in SUBJECTS.items() if name not in {OURS, "hyx"}}
ASYNC_PEERS = {name: adapter for name, adapter in SUBJECTS.items() if name not in {OURS, "pybreaker"}}
OUR_CONFIGS = {
    "ours, count window": CircuitBreakerConfig(window=CountWindow(100)),
    "ours, time window (default)": CircuitBreakerConfig(),
    "ours, slow calls watched, count window": CircuitBreakerConfig(window=CountWindow(100), slow_call_duration=60.0),
    "ours, slow calls watched, time window": CircuitBreakerConfig(window=TimeWindow(60.0), slow_call_duration=60.0),
}


def our_breaker() -> CircuitBreaker:
    """With the defaults."""
    return CircuitBreaker("benchmark")


def protected(fn: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """The function behind each of our configurations, and behind each peer that takes it."""
    peers = ASYNC_PEERS if asyncio.iscoroutinefunction(fn) else SYNC_PEERS
    return (
        {name: CircuitBreaker("benchmark", config)(fn) for name, config in OUR_CONFIGS.items()}
        | {name: adapter(fn, LONG).call for name, adapter in peers.items()}
        | {"interlock-cb, time window": BY_TIME(fn, LONG).call}
    )


def show(title: str, costs: Any, to: str) -> None:
    print(f"\n{title}\n{table(costs, to=to)}")


def guarded(breaker: CircuitBreaker) -> Callable[[], int]:
    def block() -> int:
        with breaker.guard():
            return work()

    return block


def aguarded(breaker: CircuitBreaker) -> Callable[[], Awaitable[int]]:
    async def block() -> int:
        async with breaker.guard():
            return await awork()

    return block


def test_closed_sync():
    """A call that succeeds."""
    forms = {
        "ours, breaker.call(fn)": functools.partial(our_breaker().call, work),
        "ours, with breaker.guard()": guarded(our_breaker()),
    }
    variants = {"bare": work, BASE: pass_through(work)} | protected(work) | forms
    costs = measure({name: loop(fn) for name, fn in variants.items()}, calls=5_000)
    show("Closed, sync", costs, to=BASE)


def test_closed_async():
    """An awaited call that succeeds."""
    forms = {
        "ours, breaker.acall(fn)": functools.partial(our_breaker().acall, awork),
        "ours, async with breaker.guard()": aguarded(our_breaker()),
    }
    variants = {"bare": awork, BASE: apass_through(awork)} | protected(awork) | forms
    with asyncio.Runner() as runner:
        costs = measure({name: aloop(runner, fn) for name, fn in variants.items()}, calls=3_000)
    show("Closed, async", costs, to=BASE)


def refused() -> None:
    raise ConnectionError("refused")


async def arefused() -> None:
    raise ConnectionError("refused")


def catching(fn: Callable[[], object]) -> Callable[[], None]:
    def caught() -> None:
        try:
            fn()
        except Exception:
            return

    return caught


def acatching(fn: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    async def caught() -> None:
        try:
            await fn()
        except Exception:
            return

    return caught


REJECTING = {OURS: SUBJECTS[OURS]}
RAISE = "the function raises, no breaker"


def test_rejected_sync():
    """A call to an open breaker, beside a function that raises; both are caught."""
    variants = {RAISE: refused}
    for name, adapter in (REJECTING | SYNC_PEERS).items():
        subject = adapter(refused, LONG)
        for _ in range(THRESHOLD):
            with contextlib.suppress(Exception):
                subject.call()
        assert subject.state() == "open"
        variants[name] = subject.call
    # Few calls: purgatory raises one and the same error, whose traceback grows by each.
    costs = measure({name: loop(catching(fn)) for name, fn in variants.items()}, calls=1_000)
    show("Rejected, sync", costs, to=RAISE)


def test_rejected_async():
    """The same, awaited."""
    variants: dict[str, Any] = {RAISE: arefused}
    with asyncio.Runner() as runner:
        for name, adapter in (REJECTING | ASYNC_PEERS).items():
            subject = adapter(arefused, LONG)
            for _ in range(THRESHOLD):
                runner.run(acatching(subject.call)())
            assert subject.state() == "open"
            variants[name] = subject.call
        costs = measure({name: aloop(runner, acatching(fn)) for name, fn in variants.items()}, calls=1_000)
    show("Rejected, async", costs, to=RAISE)


def from_threads(fn: Callable[[], object], threads: int) -> Callable[[int], None]:
    """So many calls in all, shared out to threads that start together."""

    def run(calls: int) -> None:
        share = functools.partial(loop(fn), calls // threads)
        workers = [threading.Thread(target=share) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return run


def test_eight_threads():
    """One closed breaker, the same number of calls from one thread and from eight."""
    subjects = {
        BASE: pass_through(work),
        OURS: our_breaker()(work),
        "circuitbreaker": SUBJECTS["circuitbreaker"](work, LONG).call,
        "pybreaker": SUBJECTS["pybreaker"](work, LONG).call,
        "interlock-cb": SUBJECTS["interlock-cb"](work, LONG).call,
    }
    variants = {
        f"{name}, {threads} thread{'s' * (threads > 1)}": from_threads(fn, threads)
        for name, fn in subjects.items()
        for threads in (1, 8)
    }
    costs = measure(variants, rounds=7, calls=40_000)
    show("Eight threads, time in all by number of calls", costs, to=f"{BASE}, 1 thread")
