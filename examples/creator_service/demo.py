"""The demo: the service with the library on and off, side by side, while its upstreams fail, hang and come back.

    python examples/creator_service/demo.py [--requests 2200] [--rate 60] [--serve]

It measures what it claims and ends with exit code 1 where a claim does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from examples.creator_service.load import Crowd, Question, drive
from examples.creator_service.processes import running
from examples.creator_service.report import LiveProgress, Measured, live_progress, show_table

_ENOUGH = 2000
_OFF_SHARE = 10
_SPARE_TIME = 60.0

# Times are shortened, so that the hours of an outage pass in seconds: upstreams that take 20 ms have 80 ms to answer.
_SETTINGS = {
    "ENABLE_DISTRIBUTED_CACHE": "false",
    "LOG_LEVEL": "CRITICAL",
    "ANSWER_BUDGET": "0.15",
    # One writer at a time in any case; in the pool they wait in order, in SQLite by polling.
    "DATABASE_CONFIG": json.dumps({"pool_size": 1, "max_overflow": 0}),
    "CACHE_TTLS": json.dumps({
        "agent_response": {"ttl": 5, "grace": 600, "throttle": 2},
        "youtube_api": {"ttl": 8, "grace": 600, "throttle": 2},
    }),
    "CIRCUIT_BREAKER_CONFIGS": json.dumps({
        "youtube_api": {"failure_threshold": 5, "recovery_timeout": 0.5, "recovery_timeout_max": 1.5},
        "openai_api": {"failure_threshold": 3, "recovery_timeout": 0.5, "recovery_timeout_max": 1.5},
    }),
    "SERVICES": json.dumps({
        "youtube_api": {"timeout": 0.08, "max_attempts": 1, "max_concurrent": 50},
        "openai_api": {"timeout": 0.08, "max_attempts": 1, "max_concurrent": 50},
    }),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the demo: what is wrong with the upstreams, and its share of all questions."""

    name: str
    share: float
    fault: Mapping[str, Any]
    outage: bool = False


_FINE = {"kind": "ok"}
PHASES = (
    Phase("healthy", 0.22, _FINE),
    Phase("failing", 0.24, {"kind": "errors", "rate": 0.9}, outage=True),
    Phase("recovery", 0.14, _FINE),
    Phase("hanging", 0.24, {"kind": "hang"}, outage=True),
    Phase("recovery", 0.16, _FINE),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs: the upstreams and the two services."""

    upstreams: httpx.AsyncClient
    services: Mapping[str, httpx.AsyncClient]

    async def switch(self, fault: Mapping[str, Any]) -> None:
        """Give both upstreams a fault."""
        for name in ("youtube", "openai"):
            (await self.upstreams.put(f"/admin/{name}", json=fault)).raise_for_status()

    async def calls(self) -> dict[str, int]:
        """Calls that reached the upstreams so far, by the service that made them."""
        seen = (await self.upstreams.get("/admin")).raise_for_status().json()
        return {side: sum(upstream["calls"].get(side, 0) for upstream in seen.values()) for side in self.services}

    async def statistics(self) -> Any:
        """Of the service with the library on."""
        return (await self.services["on"].get("/statistics")).raise_for_status().json()


async def set_the_stage(stack: AsyncExitStack) -> Stage:
    """Start the three processes; the stack ends them."""
    here = "examples.creator_service"
    upstream_url = await stack.enter_async_context(running(f"{here}.upstreams"))
    arguments = ("--scratch", "--upstream-url", upstream_url)
    on = stack.enter_async_context(running(here, *arguments, settings=_SETTINGS))
    off = stack.enter_async_context(running(here, *arguments, "--library-off", settings=_SETTINGS))
    urls = dict(zip(("on", "off"), await asyncio.gather(on, off), strict=True))

    async def client(url: str) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=200)
        return await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=15.0, limits=limits))

    return Stage(await client(upstream_url), {side: await client(url) for side, url in urls.items()})


async def play(
    stage: Stage, phase: Phase, questions: Sequence[Question], *, rate: float, live: LiveProgress
) -> tuple[Measured, Measured]:
    """Run one phase on both services at once; the switched-off one gets every tenth question."""
    await stage.switch(phase.fault)
    before, seen = await stage.calls(), len((await stage.statistics())["transitions"])
    share = {"on": (questions, rate), "off": (questions[::_OFF_SHARE], rate / _OFF_SHARE)}
    tell = live.begin(phase.name, {side: len(asked) for side, (asked, _) in share.items()})
    async with asyncio.TaskGroup() as group:
        driven = {
            side: group.create_task(drive(stage.services[side], asked, rate=pace, tell=partial(tell, side)))
            for side, (asked, pace) in share.items()
        }
    after, moved = await stage.calls(), (await stage.statistics())["transitions"][seen:]

    def measured(side: str, transitions: Sequence[str] = ()) -> Measured:
        calls = after[side] - before[side]
        return Measured(phase.name, phase.outage, side, driven[side].result(), calls, transitions)

    return measured("on", moved), measured("off")


def claims(pairs: Sequence[tuple[Measured, Measured]], states: Mapping[str, str]) -> list[tuple[str, bool]]:
    """What the demo claims, and whether it holds."""
    found: list[tuple[str, bool]] = []
    for on, off in pairs:
        if not on.outage:
            continue
        name, p99, saved = on.phase, on.latency(0.99), on.saved(off)
        off_holds = off.served_share >= 0.99 and off.latency(0.99) < 250
        unmarked = sum(sent.served and not sent.degraded and sent.question.new for sent in on.sent)
        found += [
            (f"{name}: the library serves {on.served_share:.2%} of requests (at least 99 %)", on.served_share >= 0.99),
            (f"{name}: its p99 is {p99:.0f} ms (below 250 ms)", p99 < 250),
            (f"{name}: without it {off.served_share:.0%} are served, p99 {off.latency(0.99):.0f} ms", not off_holds),
            (f"{name}: upstream calls per request fall by {saved:.1%} (more than 90 %)", saved > 0.9),
        ]
        if name == "hanging":
            found.append((f"{name}: {unmarked} answers made of nothing are not marked degraded (none)", not unmarked))
    final, _ = pairs[-1]
    fresh = (final.served - final.degraded) / len(final.sent)
    found.append((f"{final.phase}: {fresh:.0%} of answers are undegraded again (at least 70 %)", fresh >= 0.7))
    closed = all(state == "closed" for state in states.values())
    found.append((f"in the end the breakers are {', '.join(map(' '.join, states.items()))} (closed)", closed))
    return found


async def run(options: argparse.Namespace, console: Console) -> bool:
    """The whole demo; True where all claims hold."""
    end_as_by_ctrl_c()
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(_SPARE_TIME + options.requests / options.rate):
            stage = await set_the_stage(stack)
            pairs = await play_all(stage, options, console)
            breakers = (await stage.statistics())["breakers"]
        show_table(console, pairs)
        found = claims(pairs, {name: seen["state"] for name, seen in breakers.items()})
        for text, held in found:
            console.print(f"{'  ok  ' if held else 'FAILED'}  {text}", highlight=False)
        if options.serve:
            await stay(stage, console)
    return all(held for _, held in found)


async def play_all(stage: Stage, options: argparse.Namespace, console: Console) -> list[tuple[Measured, Measured]]:
    """Run all phases, one after the other."""
    console.print(f"{options.requests} requests with the library on, every tenth of them with it off as well")
    crowd = Crowd(seed=1)
    pairs: list[tuple[Measured, Measured]] = []
    with live_progress(console) as live:
        for phase in PHASES:
            questions = crowd.ask(round(options.requests * phase.share))
            pairs.append(await play(stage, phase, questions, rate=options.rate, live=live))
    return pairs


async def stay(stage: Stage, console: Console) -> None:
    """Keep everything running until Ctrl-C, which is then the end that was asked for."""
    url, upstreams = stage.services["on"].base_url, stage.upstreams.base_url
    console.print(f"\nThe service stays at {url} (see {url}/docs), its upstreams at {upstreams}. Ctrl-C ends them all.")
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


def end_as_by_ctrl_c() -> None:
    """Let other signals end this process as Ctrl-C does: by a cancellation that leaves nothing behind."""
    task = asyncio.current_task()
    if sys.platform != "win32" and task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def main() -> None:
    """Run the demo as a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2200, help="with the library on (default: 2200)")
    parser.add_argument("--rate", type=float, default=60.0, help="requests per second (default: 60)")
    parser.add_argument("--serve", action="store_true", help="keep the service running afterwards")
    options = parser.parse_args()
    if options.requests < len(PHASES) or not options.rate > 0:
        parser.error(f"accepted are --requests from {len(PHASES)} and a --rate above 0")
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        holds = asyncio.run(run(options, console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    except (TimeoutError, RuntimeError, httpx.HTTPError) as error:
        sys.exit(f"the demo could not go on: {type(error).__name__}: {error}")
    if not holds and options.requests < _ENOUGH:
        console.print(f"Fewer than {_ENOUGH} requests are too few to judge by.")
    sys.exit(0 if holds or options.requests < _ENOUGH else 1)


if __name__ == "__main__":
    main()
