"""Five things that breakers get wrong, against ours and its peers on asyncio; the table goes into docs/comparison.md.

Run with `nox -s benchmarks -- -s -k conformance`. Ours must pass all five; what a peer does is only written down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.benchmarks.peers import OURS, SUBJECTS, THRESHOLD, Adapter, Protected

# aiobreaker, hyx and pybreaker ask for the time in ways that newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PAGE = Path(__file__).parents[2] / "docs" / "comparison.md"
BEGIN, END = "<!-- conformance -->\n", "<!-- /conformance -->\n"
OPEN_FOR = 0.05
CALLERS = 50
PATIENCE = 10  # times the open wait that callers go on asking behind probes that hang
FEW = 5  # probes at once that are still probes, and no herd

Work = Callable[[], Awaitable[object]]
NEVER_OPENS = "never opens"


async def run(work: Work) -> object:
    """What every breaker protects: whatever is asked for."""
    return await work()


async def fail() -> None:
    raise ConnectionError("refused")


class Dependency:
    """Answers when it is told to; knows how many calls have reached it."""

    def __init__(self) -> None:
        self.reached = 0
        self.answers = asyncio.Event()

    async def __call__(self) -> None:
        self.reached += 1
        await self.answers.wait()


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def calls(subject: Protected, work: Work, times: int) -> AsyncIterator[list[asyncio.Task[object]]]:
    """So many calls at once, each as far as it gets by itself; what is still under way at the end is cancelled."""
    tasks = [asyncio.create_task(subject.call(work)) for _ in range(times)]
    await settle()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def trip(subject: Protected) -> bool:
    """Fail as often as opens it, and say whether it did."""
    for _ in range(THRESHOLD):
        with contextlib.suppress(Exception):  # the failure, or what a breaker makes of the one that trips it
            await subject.call(fail)
    return subject.state() == "open"


async def recovering(adapter: Adapter) -> Protected | None:
    """A breaker whose open wait is over, and none of its probes sent; None where nothing opens it."""
    subject = adapter(run, OPEN_FOR)
    if not await trip(subject):
        return None
    await asyncio.sleep(OPEN_FOR * 1.5)
    return subject


async def herd(adapter: Adapter) -> str:
    """How many of fifty callers reach the dependency at the end of the wait."""
    if (subject := await recovering(adapter)) is None:
        return NEVER_OPENS
    dependency = Dependency()
    async with calls(subject, dependency, CALLERS):
        return str(dependency.reached)


async def cancelled_probe(adapter: Adapter) -> str:
    """The state after the first probe was cancelled."""
    if (subject := await recovering(adapter)) is None:
        return NEVER_OPENS
    async with calls(subject, Dependency(), 1):
        pass
    return subject.state()


async def cancelled_calls(adapter: Adapter) -> str:
    """The state after five calls were cancelled, one after the other, where three failures open it."""
    subject = adapter(run, OPEN_FOR)
    for _ in range(5):
        async with calls(subject, Dependency(), 1):
            pass
    return subject.state()


async def late_success(adapter: Adapter) -> str:
    """The state when a call made before the trip succeeds after it."""
    subject, dependency = adapter(run, 60.0), Dependency()
    async with calls(subject, dependency, 1) as [task]:
        if not await trip(subject):
            return NEVER_OPENS
        dependency.answers.set()
        await task
        return subject.state()


async def hung_probes(adapter: Adapter) -> str:
    """Whether anybody gets through again when every probe that was let through hangs."""
    if (subject := await recovering(adapter)) is None:
        return NEVER_OPENS
    hung, healthy = Dependency(), Dependency()
    healthy.answers.set()
    async with calls(subject, hung, CALLERS):
        for _ in range(4 * PATIENCE):
            await asyncio.sleep(OPEN_FOR / 4)
            async with calls(subject, healthy, 1):
                if healthy.reached:
                    return "recovers"
    return "stuck"


CHECKS: tuple[tuple[str, Callable[[Adapter], Awaitable[str]], Callable[[str], bool]], ...] = (
    ("herd", herd, lambda seen: seen.isdecimal() and 1 <= int(seen) <= FEW),
    ("cancelled probe", cancelled_probe, lambda seen: seen == "half-open"),
    ("cancelled calls", cancelled_calls, lambda seen: seen == "closed"),
    ("late success", late_success, lambda seen: seen == "open"),
    ("hung probes", hung_probes, lambda seen: seen == "recovers"),
)


async def verdicts(adapter: Adapter) -> list[tuple[str, bool]]:
    """What was seen in each check, and whether that is right."""
    seen = [await check(adapter) for _, check, _ in CHECKS]
    return [(text, passes(text)) for text, (_, _, passes) in zip(seen, CHECKS, strict=True)]


def markdown(results: dict[str, list[tuple[str, bool]]]) -> str:
    """The table; what is wrong stands bold."""
    lines = ["| | " + " | ".join(name for name, *_ in CHECKS) + " | passed |", "|---" * (len(CHECKS) + 2) + "|"]
    for name, cells in results.items():
        is_blind = any(text == NEVER_OPENS for text, _ in cells)  # what then looks right is no merit
        seen = " | ".join(text if right or text == NEVER_OPENS else f"**{text}**" for text, right in cells)
        label = name if name == OURS else f"{name} {version(name)}"
        passed = "not async" if is_blind else f"{sum(right for _, right in cells)} of {len(cells)}"
        lines.append(f"| {label} | {seen} | {passed} |")
    return "\n".join(lines) + "\n"


def test_conformance_of_every_breaker():
    """Ours passes all five; the page tells what each peer does."""
    results = {name: asyncio.run(verdicts(adapter)) for name, adapter in SUBJECTS.items()}
    table = markdown(results)
    print("\n" + table)
    assert all(right for _, right in results[OURS]), results[OURS]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"{PAGE.name} has lost the comments that the table stands between"
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
