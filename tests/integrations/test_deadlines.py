"""A deadline that travels from one service to another, over a real socket."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from creatormate_resilience.clients.httpx import AsyncResilientTransport
from creatormate_resilience.deadline import DEADLINE_HEADER, current_deadline, deadline_scope
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.integrations.asgi import DeadlineMiddleware

pytestmark = pytest.mark.anyio


@pytest.fixture
async def url(serve):
    """A service that tells how much time it has, at most five seconds."""
    app = FastAPI()
    app.add_middleware(DeadlineMiddleware, limit=5.0)

    @app.get("/left")
    async def left() -> dict[str, float | bool | None]:
        deadline = current_deadline()
        return {"left": deadline and deadline.remaining(), "received": deadline and deadline.received}

    async with serve(app) as url:
        yield url


async def test_a_deadline_travels_where_both_ends_opt_in(url):
    """The service has no more time than its caller, and knows that the deadline is not its own."""
    transport = AsyncResilientTransport(httpx.AsyncHTTPTransport(), send_deadline=True)
    async with httpx.AsyncClient(transport=transport, base_url=url) as client:
        with deadline_scope(3.0):
            answer = (await client.get("/left")).json()
        assert 0 < answer["left"] <= 3.0
        assert answer["received"] is True
        assert (await client.get("/left")).json() == {"left": None, "received": None}


async def test_a_caller_cannot_ask_for_more_than_the_limit(url):
    """Only for less."""
    async with httpx.AsyncClient(base_url=url) as client:
        answer = await client.get("/left", headers={DEADLINE_HEADER: "999999"})
    assert 0 < answer.json()["left"] <= 5.0


@pytest.mark.parametrize("value", ["", "-1", "1e3", "soon", "9" * 40, "\u0665"])
async def test_what_is_no_time_sets_no_deadline(url, value):
    """Nor do two of them."""
    async with httpx.AsyncClient(base_url=url) as client:
        raw = [(DEADLINE_HEADER.encode(), value.encode())]
        assert (await client.get("/left", headers=raw)).json()["left"] is None
        two = [(DEADLINE_HEADER.encode(), b"5"), (DEADLINE_HEADER.encode(), b"6")]
        assert (await client.get("/left", headers=two)).json()["left"] is None


@pytest.mark.parametrize("limit", [0, -1, float("inf"), float("nan"), "5", True, None])
def test_a_limit_that_is_none_is_refused(limit):
    """When the application is put together."""
    with pytest.raises(ConfigurationError, match=r"limit is .*; accepted"):
        DeadlineMiddleware(FastAPI(), limit=limit)
