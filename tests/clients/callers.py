"""Six clients with one face, so that one test says the same of all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import anyio
import httpx
import httpx2
import requests
from requests.adapters import HTTPAdapter

from creatormate_resilience.breaker import (
    BreakerStatistics,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
)
from creatormate_resilience.clients import ClientConfig
from creatormate_resilience.clients.aiohttp import ResilientMiddleware
from creatormate_resilience.clients.httpx import AsyncResilientTransport, ResilientTransport
from creatormate_resilience.clients.requests import ResilientAdapter
from creatormate_resilience.testing import FakeClock

FIRST = 4
"""Bytes of a body that `Opened.some` reads."""


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    body: bytes


@dataclass
class Opened:
    """A response whose body was not read yet."""

    status: int
    some: Callable[[], Any]
    rest: Callable[[], Any]


@dataclass
class Caller:
    """A client, with its breakers.

    Attributes:
        kind: Its name in `KINDS`.
        config: How it behaves.
        clock: Of its breakers.
        timeout: Of its requests, in seconds.
        pool: How many connections it may have.
    """

    kind: str
    config: ClientConfig
    clock: FakeClock
    timeout: float = 5.0
    pool: int = 10
    error: type[Exception] = field(init=False)
    timed_out: type[Exception] = field(init=False)

    def __post_init__(self) -> None:
        """Each kind sets up its own."""

    def breaker(self, url: str) -> CircuitBreaker:
        return self.config.breakers.get(self.config.name, key=url)

    def seen(self, url: str) -> BreakerStatistics:
        return self.breaker(url).statistics()

    async def send(self, method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Send and read the whole body."""
        async with self.open(method, url, body, headers) as opened:
            return Reply(opened.status, await opened.rest())

    async def get(self, url: str) -> Reply:
        return await self.send("GET", url)

    def open(self, method: str, url: str, body: Any = None, headers: Any = None, follow: bool = False) -> Any:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


class HttpxCaller(Caller):
    def __post_init__(self) -> None:
        self.package: Any = httpx2 if self.kind.startswith("httpx2") else httpx
        self.error, self.timed_out = self.package.TransportError, self.package.TimeoutException
        self.limits = self.package.Limits(max_connections=self.pool)
        self.client = self.make()

    def make(self) -> Any:
        inner = self.package.AsyncHTTPTransport(limits=self.limits, verify=False)
        return self.package.AsyncClient(transport=AsyncResilientTransport(inner, self.config), timeout=self.timeout)

    @asynccontextmanager
    async def open(
        self, method: str, url: str, body: Any = None, headers: Any = None, follow: bool = False
    ) -> AsyncIterator[Opened]:
        if isinstance(body, list):
            body = _asyncly(body)
        async with self.client.stream(method, url, content=body, headers=headers, follow_redirects=follow) as response:
            parts = response.aiter_raw()
            yield Opened(response.status_code, lambda: anext(parts), response.aread)

    async def aclose(self) -> None:
        await self.client.aclose()


class SyncHttpxCaller(HttpxCaller):
    def make(self) -> Any:
        inner = self.package.HTTPTransport(limits=self.limits, verify=False)
        return self.package.Client(transport=ResilientTransport(inner, self.config), timeout=self.timeout)

    @asynccontextmanager
    async def open(
        self, method: str, url: str, body: Any = None, headers: Any = None, follow: bool = False
    ) -> AsyncIterator[Opened]:
        if isinstance(body, list):
            body = _slowly(body)
        request = self.client.build_request(method, url, content=body, headers=headers)
        response = await in_thread(lambda: self.client.send(request, stream=True, follow_redirects=follow))
        parts = response.iter_raw()
        try:
            yield Opened(response.status_code, lambda: in_thread(next, parts), lambda: in_thread(response.read))
        finally:
            await in_thread(response.close)

    async def aclose(self) -> None:
        self.client.close()


class RequestsCaller(Caller):
    def __post_init__(self) -> None:
        self.error, self.timed_out = requests.RequestException, requests.Timeout
        self.session = requests.Session()
        inner = HTTPAdapter(pool_maxsize=self.pool, pool_block=True)
        self.session.mount("http://", ResilientAdapter(inner, self.config))

    @asynccontextmanager
    async def open(
        self, method: str, url: str, body: Any = None, headers: Any = None, follow: bool = False
    ) -> AsyncIterator[Opened]:
        if isinstance(body, list):
            body = _slowly(body)
        response = await in_thread(
            lambda: self.session.request(
                method, url, data=body, headers=headers, stream=True, allow_redirects=follow, timeout=self.timeout
            )
        )
        parts = response.iter_content(FIRST)
        try:
            yield Opened(
                response.status_code, lambda: in_thread(next, parts), lambda: in_thread(lambda: response.content)
            )
        finally:
            await in_thread(response.close)

    async def aclose(self) -> None:
        self.session.close()


class AiohttpCaller(Caller):
    def __post_init__(self) -> None:
        self.error, self.timed_out = aiohttp.ClientError, TimeoutError
        self.session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def open(
        self, method: str, url: str, body: Any = None, headers: Any = None, follow: bool = False
    ) -> AsyncIterator[Opened]:
        if self.session is None:  # wants a running event loop
            self.session = aiohttp.ClientSession(
                middlewares=(ResilientMiddleware(self.config),),
                connector=aiohttp.TCPConnector(limit=self.pool),
                timeout=aiohttp.ClientTimeout(sock_read=self.timeout, sock_connect=self.timeout),
            )
        if isinstance(body, list):
            body = _asyncly(body)
        async with self.session.request(method, url, data=body, headers=headers, allow_redirects=follow) as response:
            yield Opened(response.status, lambda: response.content.readexactly(FIRST), response.read)

    async def aclose(self) -> None:
        if self.session is not None:
            await self.session.close()


KINDS: dict[str, type[Caller]] = {
    "httpx": SyncHttpxCaller,
    "httpx2": SyncHttpxCaller,
    "httpx-async": HttpxCaller,
    "httpx2-async": HttpxCaller,
    "requests": RequestsCaller,
    "aiohttp": AiohttpCaller,
}

TRIO = [("httpx-async", "trio"), ("httpx2-async", "trio")]
PAIRS = [(kind, "asyncio") for kind in KINDS] + TRIO
"""A kind of client, and an event loop that it runs on."""
ASYNC_PAIRS = [("httpx-async", "asyncio"), ("httpx2-async", "asyncio"), ("aiohttp", "asyncio"), *TRIO]
"""Those that can be cancelled."""


def caller(
    kind: str, *, breaker: CircuitBreakerConfig | None = None, timeout: float = 5.0, pool: int = 10, **options: Any
) -> Caller:
    """A client of that kind whose breakers stand on a clock of their own."""
    clock = FakeClock()
    breakers = options.pop("breakers", None) or CircuitBreakerRegistry(default=breaker, clock=clock)
    return KINDS[kind](kind, ClientConfig(breakers=breakers, **options), clock, timeout, pool)


async def in_thread(fn: Callable[..., Any], *args: Any) -> Any:
    return await anyio.to_thread.run_sync(fn, *args)


async def _asyncly(parts: list[Any]) -> AsyncIterator[bytes]:
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part


def _slowly(parts: list[Any]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part
