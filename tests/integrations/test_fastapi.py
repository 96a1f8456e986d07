"""FastAPI over a real socket: the lifespan's `Resilience` in handlers, errors as problem documents, health routes."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import StreamingResponse

from creatormate_resilience.breaker import CircuitBreakerConfig
from creatormate_resilience.exceptions import (
    AuthenticationError,
    ExternalAPIError,
    NotFoundError,
    ResilienceError,
    ServiceUnavailableError,
)
from creatormate_resilience.integrations.fastapi import (
    health_router,
    problem_responses,
    resilience_lifespan,
    setup_error_handlers,
)
from creatormate_resilience.shortcuts import cache_get, cache_set, circuit_breaker
from creatormate_resilience.toolkit import Resilience, current_resilience

pytestmark = pytest.mark.anyio

SECRET = "postgresql://app:hunter2@db.internal/prod"


class Question(BaseModel):
    channel: str
    limit: int


@circuit_breaker("upstream", CircuitBreakerConfig(failure_threshold=2, recovery_timeout=60))
async def call_upstream() -> None:
    raise ExternalAPIError("Upstream", SECRET)


def make_app(resilience: Resilience, *, handlers_in_lifespan: bool = False) -> FastAPI:
    @asynccontextmanager
    async def late(app: FastAPI):
        setup_error_handlers(app, domain="creators")
        yield

    app = FastAPI(lifespan=resilience_lifespan(resilience, inner=late if handlers_in_lifespan else None))
    if not handlers_in_lifespan:
        setup_error_handlers(app, domain="creators")
    app.include_router(health_router(resilience))
    app.add_middleware(CORSMiddleware, allow_origins=["https://app.example.com"])

    @app.get("/current")
    async def current() -> dict[str, bool]:
        return {"same": current_resilience() is resilience, "state": app.state.resilience is resilience}

    @app.get("/current-in-thread")
    def current_in_thread() -> dict[str, bool]:
        return {"same": current_resilience() is resilience}

    @app.get("/cached")
    async def cached() -> int:
        count = (await cache_get("count") or 0) + 1
        await cache_set("count", count)
        return count

    @app.get("/upstream")
    async def upstream() -> None:
        await call_upstream()

    @app.get("/missing", responses=problem_responses(NotFoundError))
    async def missing() -> None:
        raise NotFoundError(SECRET, context={"dsn": SECRET}, public={"channel": "c1"})

    @app.get("/sign-in")
    async def sign_in() -> None:
        raise AuthenticationError

    @app.get("/busy")
    async def busy() -> None:
        raise ServiceUnavailableError(retry_after=1.2)

    @app.get("/header")
    async def header() -> None:
        raise NotFoundError(headers={"x-good": "yes", "x-bad": "a\r\nSet-Cookie: s=1"})

    @app.get("/framing")
    async def framing() -> None:
        raise NotFoundError(headers={"Content-Length": "3", "Content-Type": "text/html"}, user_message="<script>")

    @app.get("/redirect")
    async def redirect() -> None:
        raise HTTPException(303, headers={"Location": "/login"})

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError(SECRET)

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout", {"x-tea": "green"})

    @app.post("/ask")
    async def ask(question: Question) -> str:
        return question.channel

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def body():
            yield b"begun"
            await asyncio.sleep(0)
            raise RuntimeError(SECRET)

        return StreamingResponse(body())

    return app


@pytest.fixture(params=[False, True], ids=["handlers-at-import", "handlers-in-lifespan"])
async def client(request, serve):
    """A client of the application under a real uvicorn, with handlers set up before and from within the lifespan."""
    async with (
        serve(make_app(Resilience(), handlers_in_lifespan=request.param)) as url,
        httpx.AsyncClient(base_url=url, headers={"origin": "https://app.example.com"}) as http,
    ):
        yield http


async def test_handlers_see_the_resilience_that_the_lifespan_started(client):
    """Async handlers, sync handlers in threads, and `app.state`: one and the same."""
    assert (await client.get("/current")).json() == {"same": True, "state": True}
    assert (await client.get("/current-in-thread")).json() == {"same": True}
    assert [(await client.get("/cached")).json() for _ in range(3)] == [1, 2, 3]


async def test_an_error_of_the_family_is_a_problem_document_without_internals(client):
    """What is public is in it; detail, context and causes are not."""
    answer = await client.get("/missing")
    document = answer.json()
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert document["code"] == "RESOURCE_NOT_FOUND"
    assert document["context"] == {"channel": "c1"}
    assert document["domain"] == "creators"
    assert "hunter2" not in answer.text
    rebuilt = ResilienceError.from_problem(document, trusted_domain="creators")
    assert type(rebuilt) is NotFoundError
    assert rebuilt.error_id == document["error_id"]


async def test_headers_that_belong_to_an_error_are_sent_and_dangerous_ones_are_not(client):
    """Retry-After is rounded up, 401 names a scheme, a header with a line break never reaches the socket."""
    assert (await client.get("/busy")).headers["retry-after"] == "2"
    assert (await client.get("/sign-in")).headers["www-authenticate"] == "Bearer"
    answer = await client.get("/header")
    assert answer.status_code == 404
    assert answer.headers["x-good"] == "yes"
    assert "x-bad" not in answer.headers


async def test_an_error_cannot_change_how_its_answer_is_framed(client):
    """Length and type are the answer's own; a redirect has no body."""
    answer = await client.get("/framing")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "<script>"
    redirect = await client.get("/redirect")
    assert (redirect.status_code, redirect.headers["location"], redirect.content) == (303, "/login", b"")


async def test_a_bug_is_answered_with_cors_headers_on_a_connection_that_stays_open(client, caplog):
    """An unexpected exception: 500 without its text, logged once with its traceback, keep-alive kept."""
    with caplog.at_level(logging.ERROR, logger="creatormate_resilience"):
        answers = [await client.get("/bug") for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 500
        assert answer.json()["code"] == "INTERNAL_ERROR"
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
        assert "hunter2" not in answer.text
        assert answer.headers.get("connection") != "close"
    told = [record.resilience for record in caplog.records]  # type: ignore[attr-defined]
    assert [line["error_id"] for line in told] == [answer.json()["error_id"] for answer in answers]
    assert all(line["traceback"].endswith("RuntimeError: postgresql://[REDACTED]@db.internal/prod") for line in told)


async def test_an_open_circuit_says_when_to_come_back(client):
    """After two failures the third call does not reach the upstream; the answer carries Retry-After."""
    codes = [(await client.get("/upstream")).json()["code"] for _ in range(3)]
    assert codes == ["UPSTREAM_ERROR", "UPSTREAM_ERROR", "CIRCUIT_OPEN"]
    answer = await client.get("/upstream")
    assert answer.status_code == 503
    assert 0 < int(answer.headers["retry-after"]) <= 66


async def test_framework_errors_have_the_same_shape_and_keep_their_status_and_headers(client):
    """HTTPException, 404 for no route, 405 with Allow."""
    teapot = await client.get("/teapot")
    assert (teapot.status_code, teapot.json()["detail"], teapot.headers["x-tea"]) == (418, "short and stout", "green")
    assert (await client.get("/nowhere")).headers["content-type"] == "application/problem+json"
    wrong = await client.post("/busy")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "GET"


async def test_validation_errors_point_at_fields_and_echo_no_input(client):
    """The answer names where and why, never what was sent."""
    answer = await client.post("/ask", json={"channel": "hunter2", "limit": "hunter2"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {
            "in": "body",
            "pointer": "#/limit",
            "code": "int_parsing",
            "detail": "Input should be a valid integer, unable to parse string as an integer",
        }
    ]
    assert "hunter2" not in answer.text


async def test_a_stream_that_breaks_is_aborted_not_answered_twice(client):
    """After the first byte the only honest answer is to cut the connection."""
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/stream")
    assert (await client.get("/current")).status_code == 200


async def test_health_routes_answer_without_details(client):
    """Alive, ready, started; nothing but names and states."""
    for path in ("/livez", "/readyz", "/startupz"):
        answer = await client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/health+json"
    assert (await client.get("/readyz")).json() == {
        "status": "pass",
        "checks": {name: [{"status": "pass"}] for name in ("database", "cache", "breakers")},
    }


def test_problem_responses_describe_errors_for_openapi():
    """Two errors with one status share an entry."""
    described = problem_responses(NotFoundError, ServiceUnavailableError)
    assert set(described) == {404, 503}
    assert "RESOURCE_NOT_FOUND" in described[404]["description"]
    assert "application/problem+json" in described[404]["content"]
