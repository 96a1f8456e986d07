"""What is particular to aiohttp."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.clients.upstream import DISCONNECT, HANG, STALL, Answer

from creatormate_resilience.clients.aiohttp import ResilientMiddleware
from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.exceptions import (
    ExternalAPIProtocolError,
    ExternalAPITimeoutError,
    ExternalAPIUnavailableError,
)
from creatormate_resilience.policies import Retry, constant
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


def only(middleware: ResilientMiddleware) -> Any:
    (breaker,) = middleware.config.breakers
    return breaker.statistics()


@asynccontextmanager
async def session(middleware: ResilientMiddleware, **options: Any):
    async with aiohttp.ClientSession(middlewares=(middleware,), **options) as made:
        yield made


async def test_a_total_timeout_is_a_failure_while_connecting(black_hole):
    """Aiohttp makes it a cancellation there, which would count as nothing, and the circuit would never open."""
    middleware = ResilientMiddleware()
    async with session(middleware, timeout=aiohttp.ClientTimeout(total=0.05)) as client:
        with pytest.raises(TimeoutError):
            await client.get(black_hole)
    assert (only(middleware).failures, only(middleware).calls) == (1, 1)


async def test_a_total_timeout_is_a_failure_while_waiting_for_the_answer(upstream):
    """Connected, and no head comes."""
    middleware = ResilientMiddleware()
    upstream.answers(HANG)
    async with session(middleware) as client:
        with pytest.raises(TimeoutError):
            await client.get(upstream.url, timeout=aiohttp.ClientTimeout(total=0.05))
    assert only(middleware).failures == 1


@pytest.mark.parametrize("way", ["read", "content", "outside"])
async def test_a_total_timeout_is_a_failure_while_reading(upstream, way):
    """The body stalls; reading it whole or in pieces, in a block or not, runs out of the request's time."""
    middleware = ResilientMiddleware()
    upstream.answers(STALL)
    timeout = aiohttp.ClientTimeout(total=0.05)
    async with session(middleware, timeout=timeout) as client:
        with pytest.raises(TimeoutError):
            if way == "outside":
                await (await client.get(upstream.url)).read()
            else:
                async with client.get(upstream.url) as response:
                    if way == "read":
                        await response.read()
                    async for _part in response.content.iter_any():
                        pass
    assert (only(middleware).failures, only(middleware).calls) == (1, 1)


async def test_translated_a_total_timeout_is_of_the_family(upstream):
    """As any other timeout."""
    upstream.answers(HANG)
    async with session(ResilientMiddleware(translate=True)) as client:
        with pytest.raises(ExternalAPITimeoutError):
            await client.get(upstream.url, timeout=aiohttp.ClientTimeout(total=0.05))


async def test_an_answer_that_is_not_http_is_no_400(upstream):
    """Aiohttp reports it with the status 400, which nobody has sent: it is the upstream's fault, not the request's."""
    middleware = ResilientMiddleware(translate=True)
    upstream.answers(Answer(None, raw=b"garbage\r\n\r\n", then="close"))
    async with session(middleware) as client:
        with pytest.raises(ExternalAPIProtocolError):
            await client.post(upstream.url)
    assert only(middleware).failures == 1


async def test_a_connection_that_takes_too_long_is_repeated_for_a_write(black_hole):
    """Nothing had been sent."""
    middleware = ResilientMiddleware(retry=Retry(2, wait=constant(1), clock=FakeClock()))
    async with session(middleware, timeout=aiohttp.ClientTimeout(sock_connect=0.05)) as client:
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await client.post(black_hole, data=b"charge")
    assert only(middleware).failures == 2


async def test_aiohttp_itself_repeats_a_read_once(upstream):
    """Where a connection died: the middleware sees both, and counts both."""
    middleware = ResilientMiddleware()
    upstream.answers(DISCONNECT)
    async with session(middleware) as client, client.get(upstream.url) as response:
        assert await response.read() == b"ok"
    assert (only(middleware).failures, only(middleware).successes) == (1, 1)


@pytest.mark.parametrize(("translate", "attempts"), [(False, 6), (True, 3)])
async def test_a_retry_multiplies_with_aiohttps_own_unless_translated(upstream, translate, attempts):
    """The client repeats what ends in its own error of a lost connection; errors of the family it does not know."""
    retry = Retry(3, wait=constant(0), clock=FakeClock())
    middleware = ResilientMiddleware(retry=retry, translate=translate)
    (breaker := middleware.config.breakers.get("http", key=upstream.url)).disable()
    upstream.answers(*[DISCONNECT] * 9)
    async with session(middleware) as client:
        with pytest.raises((aiohttp.ServerDisconnectedError, ExternalAPIUnavailableError)):
            await client.get(upstream.url)
    assert len(upstream.requests) == breaker.statistics().failures == attempts


async def test_a_body_that_came_is_a_success_whether_it_is_read_or_not(upstream):
    """The upstream has delivered; what the caller does with it says nothing."""
    middleware = ResilientMiddleware()
    async with session(middleware) as client, client.get(upstream.url) as response:
        assert response.status == 200
        await response.content.wait_eof()
    assert only(middleware).successes == 1


async def test_the_sessions_own_options_work_as_ever(upstream):
    """`raise_for_status` of the session raises aiohttp's error; the breaker has judged the answer."""
    middleware = ResilientMiddleware()
    upstream.answers(404)
    async with session(middleware, raise_for_status=True) as client:
        with pytest.raises(aiohttp.ClientResponseError, match="404"):
            await client.get(upstream.url)
    assert only(middleware).ignored == 1


@pytest.mark.parametrize(
    "body", [{"json": {"a": 1}}, {"data": b"bytes"}, {"data": "text"}, {"data": {"a": "form"}}, {}]
)
async def test_bodies_that_lie_in_memory_can_be_repeated(upstream, body):
    """JSON, bytes, text, forms and no body at all."""
    middleware = ResilientMiddleware(retry=Retry(2, wait=constant(0), clock=FakeClock()))
    upstream.answers(503)
    async with session(middleware) as client, client.put(upstream.url, **body) as response:
        assert response.status == 200
    first, second = upstream.requests
    assert first == second


async def test_a_websocket_is_judged_by_its_beginning():
    """The upgrade is a success; what is said afterwards is nobody's business."""

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(await socket.receive_str())
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    middleware = ResilientMiddleware()
    try:
        host, port = runner.addresses[0][:2]
        async with session(middleware) as client, client.ws_connect(f"http://{host}:{port}/") as socket:
            assert (only(middleware).successes, only(middleware).calls) == (1, 1)
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
    finally:
        await runner.cleanup()
    assert only(middleware).calls == 1


async def test_the_deadline_interrupts_a_wait_for_the_answer(upstream):
    """Aiohttp's timeouts cannot be changed from a middleware, so the wait itself is bounded."""
    middleware = ResilientMiddleware()
    upstream.answers(HANG)
    async with session(middleware) as client:
        with deadline_scope(0.05), pytest.raises(TimeoutError):
            await client.get(upstream.url)
    assert only(middleware).failures == 1
