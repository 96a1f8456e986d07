"""The application under test: endpoints that fail in every place, and endpoints that validate."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from typing import Annotated, Any

from fastapi import BackgroundTasks, Cookie, Depends, FastAPI, Form, Header, Path, Query, Request, UploadFile, WebSocket
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from tests.integrations.hostile.failures_family import FAMILY
from tests.integrations.hostile.failures_foreign import FOREIGN
from tests.integrations.hostile.failures_http import HTTP
from tests.integrations.hostile.marks import Words
from tests.integrations.hostile.models import Account, Cat, Echo

from creatormate_resilience.client_ip import ClientIPResolver
from creatormate_resilience.integrations.fastapi import setup_error_handlers
from creatormate_resilience.request_context import get_request_context

FAILURES = {failure.name: failure for failure in (*FOREIGN, *FAMILY, *HTTP)}
NUMBERS = {name: number for number, name in enumerate(FAILURES)}
FORMS = find_spec("python_multipart") is not None
ORIGIN = "https://app.example.com"


def fail(name: str) -> Any:
    """Raise what has this name, with the marks of its row."""
    raise FAILURES[name].make(Words(NUMBERS[name]))


class Transit:
    """A middleware in plain ASGI, as an application has them; it fails when it is asked to."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/middleware/"):
            fail(scope["path"].removeprefix("/middleware/"))
        await self.app(scope, receive, send)


@dataclass(slots=True)
class Gate:
    """Holds requests in their threads until it opens."""

    opened: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def hold(self) -> None:
        """Say that somebody is here, and wait."""
        self.entered.release()
        self.opened.wait(60)


def make_app(gate: Gate | None = None, **options: Any) -> FastAPI:
    """The application, with its error handlers set up in front of all else."""
    app = FastAPI()
    setup_error_handlers(
        app, domain="hostile", client_ip=ClientIPResolver(trusted_proxies=("127.0.0.1/32",)), **options
    )
    app.add_middleware(Transit)
    app.add_middleware(CORSMiddleware, allow_origins=[ORIGIN])
    app.add_middleware(GZipMiddleware)
    _add_readers(app, gate or Gate())
    _add_validators(app)
    _add_failing(app)
    _add_late_failing(app)
    _add_websockets(app)
    inner, bare = FastAPI(), FastAPI()
    setup_error_handlers(inner, domain="inner")
    for mounted, path in ((inner, "/inner"), (bare, "/bare")):
        _add_failing(mounted)
        app.mount(path, mounted)
    return app


def _add_readers(app: FastAPI, gate: Gate) -> None:
    @app.get("/ok")
    async def ok() -> dict[str, bool]:
        return {"ok": True}

    @app.api_route("/context", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
    async def context() -> dict[str, Any]:
        request = get_request_context()
        assert request is not None
        names = ("request_id", "client_ip", "method", "route", "trace_id", "parent_id", "sampled")
        return {name: getattr(request, name) for name in names}

    @app.get("/blocked")
    def blocked() -> str:
        gate.hold()
        return "released"

    @app.post("/read")
    async def read(request: Request) -> int:
        return len(await request.body())


def _add_validators(app: FastAPI) -> None:
    @app.post("/accounts")
    async def accounts(account: Account) -> str:
        return "accepted"

    @app.post("/echo")
    async def echo(echo: Echo) -> str:
        return "accepted"

    @app.post("/numbers")
    async def numbers(numbers: list[float]) -> str:
        return "accepted"

    @app.get("/typed/{number}")
    async def typed(
        number: Annotated[int, Path(ge=0)],
        limit: Annotated[int, Query(le=10)] = 1,
        when: datetime | None = None,
        x_count: Annotated[int | None, Header()] = None,
        session: Annotated[int | None, Cookie()] = None,
    ) -> str:
        return "accepted"

    if FORMS:

        @app.post("/form")
        async def form(name: Annotated[str, Form(max_length=10)], age: Annotated[int, Form()]) -> str:
            return "accepted"

        @app.post("/upload")
        async def upload(file: UploadFile) -> int:
            return len(await file.read())


def _add_failing(app: FastAPI) -> None:
    @app.api_route("/raise/{name}", methods=["GET", "HEAD", "POST"])
    async def in_endpoint(name: str) -> None:
        fail(name)

    @app.get("/thread/{name}")
    def in_thread(name: str) -> None:
        fail(name)

    async def failing_dependency(name: str) -> None:
        fail(name)

    @app.get("/dependency/{name}", dependencies=[Depends(failing_dependency)])
    async def in_dependency() -> None: ...

    @app.get("/response/{number}", response_model=Cat)
    async def in_response_model(number: int) -> Any:
        return {"kind": Words(number).all, "password": Words(number).secret}


def _add_late_failing(app: FastAPI) -> None:
    async def broken(name: str) -> AsyncIterator[bytes]:
        yield b"begun"
        fail(name)

    def broken_in_thread(name: str) -> Iterator[bytes]:
        yield b"begun"
        fail(name)

    async def empty(name: str) -> AsyncIterator[bytes]:
        fail(name)
        yield b""

    async def events(name: str) -> AsyncIterator[bytes]:
        yield b"data: begun\n\n"
        fail(name)

    @app.get("/late/{kind}/{name}")
    async def late(kind: str, name: str) -> Response:
        if kind == "stream":
            return StreamingResponse(broken(name))
        if kind == "stream-of-a-thread":
            return StreamingResponse(broken_in_thread(name))
        if kind == "stream-without-a-byte":
            return StreamingResponse(empty(name))
        assert kind == "events"
        return StreamingResponse(events(name), media_type="text/event-stream")

    @app.get("/background/{status}/{name}")
    async def background(status: int, name: str, tasks: BackgroundTasks) -> Response:
        tasks.add_task(fail, name)
        return Response(None if status in {204, 304} else b"whole", status)

    async def fails_at_its_end(name: str) -> AsyncIterator[None]:
        yield
        fail(name)

    @app.get("/exit/{name}", dependencies=[Depends(fails_at_its_end)])
    async def at_exit() -> str:
        return "whole"

    @app.get("/length/{length}")
    async def wrong_length(length: int) -> Response:
        return Response(b"ten bytes.", headers={"content-length": str(length)})

    @app.get("/twice")
    async def twice() -> Twice:
        return Twice(b"whole")


class Twice(PlainTextResponse):
    """Sends its answer, then another one."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await super().__call__(scope, receive, send)
        await super().__call__(scope, receive, send)


def _add_websockets(app: FastAPI) -> None:
    @app.websocket("/ws/before/{name}")
    async def before(websocket: WebSocket, name: str) -> None:
        fail(name)

    @app.websocket("/ws/after/{name}")
    async def after(websocket: WebSocket, name: str) -> None:
        await websocket.accept()
        fail(name)

    @app.websocket("/ws/validated/{number}")
    async def validated(websocket: WebSocket, number: int, limit: int = 1) -> None:
        await websocket.accept()
