"""What a hit in memory costs, beside a bare await and other caches, what isolation costs, what a cold key causes.

Run with `nox -s benchmarks -- -s` to see the tables. Figures are ratios within one run; nothing here asserts a time.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from tests.benchmarks.interleaved import measure, table

from creatormate_resilience.cache import CacheCategory, DistributedCache

VALUE = {"id": 4711, "name": "a creator", "tags": ["music", "travel"], "numbers": list(range(20))}
CATEGORIES = {"shared": CacheCategory(ttl=3600, isolation="none"), "copied": CacheCategory(ttl=3600)}

Loop = Callable[[int], object]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


def loop(runner: asyncio.Runner, operation: Callable[[], Awaitable[Any]]) -> Loop:
    """One await after the other; the loop costs the same for all."""

    async def run(calls: int) -> None:
        for _ in range(calls):
            await operation()

    return lambda calls: runner.run(run(calls))


async def nothing() -> None:
    """The least that an await costs."""


async def load() -> dict[str, Any]:
    return VALUE


class Plain:
    """What an application writes by hand: a dict, an expiry, a counter."""

    def __init__(self) -> None:
        self.kept = {"text": ("value", time.monotonic() + 3600)}
        self.hits = 0

    async def get(self, key: str) -> Any:
        found = self.kept.get(key)
        if found is not None and time.monotonic() < found[1]:
            self.hits += 1
            return found[0]
        return None


def peers(runner: asyncio.Runner) -> dict[str, Loop]:
    """Other caches, in memory, with the same text."""
    variants: dict[str, Loop] = {}
    if find_spec("cashews") is not None:
        cashews = importlib.import_module("cashews").Cache()
        cashews.setup("mem://")
        runner.run(cashews.set("text", "value", expire=3600))
        variants["cashews.get"] = loop(runner, lambda: cashews.get("text"))
    if find_spec("aiocache") is not None:
        aiocache = importlib.import_module("aiocache").SimpleMemoryCache()
        runner.run(aiocache.set("text", "value", ttl=3600))
        variants["aiocache.get"] = loop(runner, lambda: aiocache.get("text"))
    return variants


def test_hits_in_memory(runner: asyncio.Runner, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a value that nobody can change, of one that is shared on a promise, and of one that each reader gets anew."""
    cache, plain = DistributedCache(categories=CATEGORIES), Plain()

    @cache.cached(key="user:{number}", ttl=3600)
    async def cached(number: int) -> str:
        return f"user {number}"

    async def fill() -> None:
        await cache.set("text", "value", ttl=3600)
        await cache.set("tagged", "value", ttl=3600, tags=["a", "b"])
        await cache.set("shared", VALUE, category="shared")
        await cache.set("copied", VALUE, category="copied")
        await cached(7)

    runner.run(fill())
    variants = {
        "await of an empty coroutine": loop(runner, nothing),
        "a dict with expiry and a counter": loop(runner, lambda: plain.get("text")),
        "get, text": loop(runner, lambda: cache.get("text")),
        "get, text with tags": loop(runner, lambda: cache.get("tagged")),
        'get, isolation="none"': loop(runner, lambda: cache.get("shared")),
        "get_or_set, text": loop(runner, lambda: cache.get_or_set("text", load)),
        'get_or_set, isolation="none"': loop(runner, lambda: cache.get_or_set("shared", load, None, "shared")),
        'get, isolation="copy"': loop(runner, lambda: cache.get("copied")),
        "@cached function": loop(runner, lambda: cached(7)),
        **peers(runner),
    }
    costs = measure(variants, rounds=25, calls=4000)
    with capsys.disabled():
        print(f"\nhits in memory\n{table(costs, to='await of an empty coroutine')}")
    runner.run(cache.aclose())


def test_a_thousand_callers_of_a_cold_key(runner: asyncio.Runner, capsys: pytest.CaptureFixture[str]) -> None:
    """How many loads they cause, and how long all wait, with a loader of 50 ms."""
    cache = DistributedCache()
    rows = [("ours, get_or_set", lambda loader: cache.get_or_set("cold", loader))]
    if find_spec("aiocache") is not None:
        module = importlib.import_module("aiocache")
        rows.append(("aiocache @cached", lambda loader: module.cached(key="cold")(loader)()))
    if find_spec("cashews") is not None:
        cashews = importlib.import_module("cashews").Cache()
        cashews.setup("mem://")
        rows.append(("cashews @cache", lambda loader: cashews(ttl="1h", key="cold")(loader)()))
    lines = [f"{'':24}{'loads':>8}{'ms':>8}"]
    for name, ask in rows:
        loads, seconds = runner.run(stampede(ask))
        lines.append(f"{name:24}{loads:>8}{seconds * 1000:>8.0f}")
    with capsys.disabled():
        print("\n1,000 callers of a cold key\n" + "\n".join(lines))
    runner.run(cache.aclose())


async def stampede(ask: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]) -> tuple[int, float]:
    """A thousand at once; loads, and seconds until the last has its answer."""
    loads = 0

    async def slow() -> dict[str, Any]:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.05)
        return VALUE

    started = time.perf_counter()
    await asyncio.gather(*(ask(slow) for _ in range(1000)))
    return loads, time.perf_counter() - started
