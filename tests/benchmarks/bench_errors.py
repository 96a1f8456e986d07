"""What an error response costs beside a plain one, and what the layers cost a request that succeeds.

Requests are driven through the ASGI interface in one process, without sockets. Run with `nox -s benchmarks -- -s`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from fastapi import FastAPI
from fastapi_problem.error import NotFoundProblem
from fastapi_problem.handler import add_exception_handler, new_exception_handler
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.benchmarks.interleaved import measure, table

from creatormate_resilience.exceptions import ExternalAPIError, NotFoundError, ResilienceError, map_exception
from creatormate_resilience.integrations.asgi import ErrorBoundaryMiddleware, RequestContextMiddleware
from creatormate_resilience.integrations.fastapi import setup_error_handlers
from creatormate_resilience.log import configure_logging

HEADERS = [
    (b"host", b"localhost:8000"), (b"user-agent", b"python-httpx/0.28.1"), (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"), (b"connection", b"keep-alive"), (b"x-forwarded-for", b"203.0.113.7"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), (b"cookie", b"session=1"),
]  # fmt: skip


class Item(BaseModel):
    """What the plain answer is made of."""

    name: str = "n"


def scope(path: str) -> dict[str, Any]:
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": HEADERS,
        "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8000), "state": {}, "extensions": {},
    }  # fmt: skip


def driver(runner: asyncio.Runner, app: Any, path: str, status: int) -> Callable[[int], None]:
    never = asyncio.Future[None](loop=runner.get_loop())

    async def receive() -> dict[str, Any]:
        if sent:
            await never
        sent.append(1)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == status, message

    sent: list[int] = []

    async def run(calls: int) -> None:
        for _ in range(calls):
            sent.clear()
            await app(scope(path), receive, send)

    return lambda calls: runner.run(run(calls))


def add_endpoints(app: FastAPI, missing: Callable[[], Exception]) -> FastAPI:
    @app.get("/plain")
    async def plain() -> Item:
        return Item()

    @app.get("/missing")
    async def not_there() -> None:
        raise missing()

    @app.get("/upstream")
    async def upstream() -> None:
        raise ExternalAPIError("OpenAI", "refused", context={"dsn": "postgresql://u:hunter2@h/db", "attempt": 3})

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("hunter2")

    return app


def with_ours(**options: Any) -> FastAPI:
    app = add_endpoints(FastAPI(), lambda: NotFoundError("no such row", public={"id": 7}))
    setup_error_handlers(app, domain="d", **options)
    return app


def with_theirs() -> FastAPI:
    class MissingProblem(NotFoundProblem):
        title = "Not there"

    app = add_endpoints(FastAPI(), lambda: MissingProblem("no such row"))
    add_exception_handler(app, new_exception_handler())
    return app


@contextlib.contextmanager
def logging_to_nowhere(level: str) -> Iterator[None]:
    root = logging.getLogger()
    others, root.handlers = root.handlers, []  # pytest's own would format every line once more
    try:
        with Path(os.devnull).open("w") as nowhere, configure_logging(format="json", level=level, stream=nowhere):
            yield
    finally:
        root.handlers = others


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("level", ["WARNING", "INFO"])
def test_error_responses(factory, level, capsys):
    """An error response beside FastAPI's plain 200, and beside fastapi-problem; logging as JSON is switched on."""
    plain = add_endpoints(FastAPI(), NotFoundError)
    ours, theirs = with_ours(), with_theirs()
    with asyncio.Runner(loop_factory=factory) as runner, logging_to_nowhere(level):
        costs = measure(
            {
                "FastAPI, plain 200": driver(runner, plain, "/plain", 200),
                "ours, plain 200": driver(runner, ours, "/plain", 200),
                "ours, 404": driver(runner, ours, "/missing", 404),
                "ours, 502 with context and cause": driver(runner, ours, "/upstream", 502),
                "ours, bug (tracebacks rationed)": driver(runner, ours, "/bug", 500),
                "ours, no route": driver(runner, ours, "/nowhere", 404),
                "fastapi-problem, 404": driver(runner, theirs, "/missing", 404),
            },
            rounds=15,
            calls=400,
        )
    with capsys.disabled():
        print(f"\n\nError responses, lines from {level} on as JSON\n{table(costs, to='FastAPI, plain 200')}")
    assert len(costs) == 7


def test_layers(capsys):
    """What request context and error boundaries add to a request that succeeds, in Starlette."""

    async def hello(_request):
        return PlainTextResponse("hello")

    bare = Starlette(routes=[Route("/", hello)])
    wrapped = Starlette(routes=[Route("/", hello)])
    layered = RequestContextMiddleware(ErrorBoundaryMiddleware(ErrorBoundaryMiddleware(wrapped)))
    full = with_ours()
    full.router.routes.insert(0, Route("/", hello))
    fastapi = FastAPI()
    fastapi.router.routes.insert(0, Route("/", hello))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        costs = measure(
            {
                "Starlette": driver(runner, bare, "/", 200),
                "Starlette with context and two boundaries": driver(runner, layered, "/", 200),
                "FastAPI": driver(runner, fastapi, "/", 200),
                "FastAPI with setup_error_handlers": driver(runner, full, "/", 200),
            },
            rounds=15,
            calls=2000,
        )
    with capsys.disabled():
        print(f"\n\nLayers\n{table(costs, to='Starlette')}")
    assert len(costs) == 4


def test_errors_themselves(capsys):
    """Raising, rendering and mapping."""

    def repeat(fn: Callable[[], object]) -> Callable[[int], None]:
        def run(calls: int) -> None:
            for _ in range(calls):
                fn()

        return run

    error = NotFoundError("x", public={"id": 7})
    document = error.to_problem(domain="d")
    refused = ConnectionRefusedError("x")
    costs = measure(
        {
            "Exception()": repeat(lambda: Exception("x")),
            "NotFoundError()": repeat(lambda: NotFoundError("x")),
            "NotFoundError() with options": repeat(lambda: NotFoundError("x", public={"id": 7}, context={"a": 1})),
            "error_id": repeat(lambda: NotFoundError("x").error_id),
            "to_problem": repeat(lambda: error.to_problem(domain="d")),
            "from_problem": repeat(lambda: ResilienceError.from_problem(document, trusted_domain="d")),
            "map_exception": repeat(lambda: map_exception(refused)),
        },
        rounds=9,
        calls=2000,
    )
    with capsys.disabled():
        print(f"\n\nErrors\n{table(costs, to='Exception()')}")
    assert len(costs) == 7
