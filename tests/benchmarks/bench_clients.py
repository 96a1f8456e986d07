"""What a resilient client costs a request that succeeds, beside the bare client: over a mock, and over loopback.

Run with `nox -s benchmarks -- -s` to see the tables. Figures are ratios within one run; nothing here asserts a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
from tests.benchmarks.interleaved import measure, table
from tests.clients.upstream import Upstream, running

from creatormate_resilience.clients.aiohttp import ResilientMiddleware
from creatormate_resilience.clients.httpx import AsyncResilientTransport, ResilientTransport
from creatormate_resilience.clients.requests import ResilientAdapter
from creatormate_resilience.policies import Retry


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running() as server:
        yield server


def loop(client: Any, url: str) -> Callable[[int], None]:
    def run(calls: int) -> None:
        for _ in range(calls):
            client.get(url)

    return run


def aloop(runner: asyncio.Runner, client: Any, url: str) -> Callable[[int], None]:
    async def run(calls: int) -> None:
        for _ in range(calls):
            await (await client.get(url)).read() if isinstance(client, aiohttp.ClientSession) else await client.get(url)

    return lambda calls: runner.run(run(calls))


def test_cost_over_a_mock(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but the client and the transport: what the transport adds, in nanoseconds."""
    mock = httpx.MockTransport(lambda request: httpx.Response(200, stream=httpx.ByteStream(b"ok")))
    variants = {
        "httpx, bare": loop(httpx.Client(transport=mock), "http://upstream/"),
        "httpx, resilient": loop(httpx.Client(transport=ResilientTransport(mock)), "http://upstream/"),
        "httpx, resilient, retry": loop(
            httpx.Client(transport=ResilientTransport(mock, retry=Retry(3))), "http://upstream/"
        ),
    }
    costs = measure(variants, rounds=15, calls=300)
    with capsys.disabled():
        print("\n" + table(costs, to="httpx, bare"))


def test_cost_over_loopback(upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole request to a server in another thread, over a kept connection."""
    with asyncio.Runner() as runner:

        async def sessions() -> tuple[aiohttp.ClientSession, aiohttp.ClientSession]:
            return aiohttp.ClientSession(), aiohttp.ClientSession(middlewares=(ResilientMiddleware(),))

        bare, resilient = runner.run(sessions())
        session, mounted = requests.Session(), requests.Session()
        mounted.mount("http://", ResilientAdapter())
        variants = {}
        for package in (httpx, httpx2):
            inner, ainner = package.HTTPTransport, package.AsyncHTTPTransport
            name = package.__name__
            sync = ResilientTransport(inner(verify=False))
            asyn = AsyncResilientTransport(ainner(verify=False))
            variants[f"{name}, bare"] = loop(package.Client(transport=inner(verify=False)), upstream.url)
            variants[f"{name}, resilient"] = loop(package.Client(transport=sync), upstream.url)
            variants[f"{name} async, bare"] = aloop(
                runner, package.AsyncClient(transport=ainner(verify=False)), upstream.url
            )
            variants[f"{name} async, resilient"] = aloop(runner, package.AsyncClient(transport=asyn), upstream.url)
        variants |= {
            "requests, bare": loop(session, upstream.url),
            "requests, resilient": loop(mounted, upstream.url),
            "aiohttp, bare": aloop(runner, bare, upstream.url),
            "aiohttp, resilient": aloop(runner, resilient, upstream.url),
        }
        costs = measure(variants, rounds=15, calls=40)
        runner.run(bare.close())
        runner.run(resilient.close())
    with capsys.disabled():
        for name in ("httpx", "httpx async", "httpx2", "httpx2 async", "requests", "aiohttp"):
            pair = {key: cost for key, cost in costs.items() if key.startswith(f"{name},")}
            print("\n" + table(pair, to=f"{name}, bare"))
