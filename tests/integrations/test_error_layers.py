"""Error layers of an application over a real socket: order, sub-applications, streams, websockets, languages."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
import websockets
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket, WebSocketException
from pydantic import BaseModel, field_validator
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from creatormate_resilience.client_ip import ClientIPResolver
from creatormate_resilience.exceptions import (
    AuthorizationError,
    ConfigurationError,
    ConflictError,
    Messages,
    NotFoundError,
    RateLimitExceededError,
    ResilienceError,
)
from creatormate_resilience.integrations import fastapi as ours
from creatormate_resilience.integrations import starlette as ours_for_starlette
from creatormate_resilience.integrations.asgi import ErrorHandlingConfig, RequestFailed
from creatormate_resilience.request_context import get_request_context
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio
ORIGIN = {"origin": "https://app.example.com"}
needs_body_limit = pytest.mark.skipif(
    "max_body_size" not in inspect.signature(FastAPI).parameters, reason="older FastAPI sets no limit on bodies"
)


class Broken:
    """A middleware with a bug."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/broken-middleware":
            raise KeyError("hunter2")
        await self.app(scope, receive, send)


class Account(BaseModel):
    """What an endpoint asks for."""

    name: str
    scores: dict[str, int] = {}

    @field_validator("name")
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        if " " in value:
            raise ValueError(f"{value} has a space" if value.startswith("echo") else "a name has no space")
        return value


class Problem(BaseModel):
    """Of arithmetic; an application may have used the name already."""

    answer: int


async def fails_at_the_end():
    yield None
    raise RuntimeError("hunter2")


def add_endpoints(app: FastAPI) -> None:
    @app.get("/missing")
    async def missing() -> None:
        raise NotFoundError(public={"video": "v1"})

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("hunter2")

    @app.get("/busy")
    async def busy() -> None:
        raise HTTPException(503, "hunter2", {"Retry-After": "7"})

    @app.get("/concealed")
    async def concealed() -> None:
        raise AuthorizationError("not yours", conceal=True, headers={"x-hint": "hunter2"})

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(fail_late)
        return "done"

    @app.get("/dependency")
    async def dependency(_: Annotated[None, Depends(fails_at_the_end)]) -> str:
        return "done"

    @app.get("/group")
    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail_late())

    @app.get("/context")
    async def context() -> dict[str, Any]:
        request = get_request_context()
        assert request is not None
        return {
            "id": request.request_id,
            "client": request.client_ip,
            "route": request.route,
            "trace": request.trace_id,
        }

    @app.post("/accounts")
    async def accounts(account: Account) -> str:
        return account.name

    @app.websocket("/ws/{step}")
    async def socket(websocket: WebSocket, step: str, count: int = 0) -> None:
        if step == "refused":
            raise NotFoundError("hunter2")
        await websocket.accept()
        if step == "bug":
            raise RuntimeError("hunter2")
        if step == "busy":
            raise RateLimitExceededError("hunter2")
        if step == "own":
            raise WebSocketException(4001, "go away")
        if step == "left":
            await websocket.receive_text()
        if step == "closed":
            await websocket.close()
            raise RuntimeError("hunter2")


async def fail_late() -> None:
    raise ConflictError("late")


def make_app(setup: str = "first", **options: Any) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI):
        if setup == "lifespan":
            ours.setup_error_handlers(app, **options)
        yield

    app = FastAPI(lifespan=lifespan)
    if setup == "first":
        ours.setup_error_handlers(app, **options)
    app.add_middleware(Broken)
    app.add_middleware(CORSMiddleware, allow_origins=[ORIGIN["origin"]])
    app.add_middleware(GZipMiddleware, minimum_size=1)
    add_endpoints(app)
    if setup == "last":
        ours.setup_error_handlers(app, **options)
    return app


@pytest.fixture(params=["first", "last", "lifespan"])
async def client(request, serve):
    """A client of the application, its error handlers set up before, after and from the lifespan."""
    async with (
        serve(make_app(request.param, domain="d")) as url,
        httpx.AsyncClient(base_url=url, headers=ORIGIN) as http,
    ):
        yield http


@pytest.fixture
def lines(caplog):
    """What was logged, as fields."""
    caplog.set_level(logging.INFO, logger="creatormate_resilience")

    def read() -> list[dict[str, Any]]:
        return [record.resilience for record in caplog.records if hasattr(record, "resilience")]

    return read


async def test_every_error_passes_through_the_other_middleware(client):
    """CORS headers, compression, the request's id and an open connection, whatever was set up first."""
    for path in ("/missing", "/bug", "/busy", "/group", "/nowhere"):
        answer = await client.get(path)
        assert answer.headers["access-control-allow-origin"] == ORIGIN["origin"], path
        assert answer.headers["content-encoding"] == "gzip", path
        assert answer.headers["content-type"] == "application/problem+json", path
        assert answer.headers["x-request-id"] == answer.json()["request_id"], path
        assert answer.headers.get("connection") != "close", path
        assert "hunter2" not in answer.text


async def test_a_bug_in_a_middleware_is_answered_too(client):
    """By the outermost boundary, so without what outer middleware would add."""
    answer = await client.get("/broken-middleware")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
    assert answer.headers.get("connection") != "close"
    assert "hunter2" not in answer.text


async def test_each_failure_is_one_line_with_the_id_of_its_answer(client, lines):
    """Also for errors of the framework's own; a message that was for operators is in the line, not in the answer."""
    answers = [await client.get(path) for path in ("/missing", "/bug", "/busy", "/nowhere", "/group")]
    answers.append(await client.post("/accounts", json={}))
    told = [line for line in lines() if "error_id" in line]
    assert [line["error_id"] for line in told] == [answer.json()["error_id"] for answer in answers]
    assert [line["status"] for line in told] == [answer.status_code for answer in answers]
    assert [line["route"] for line in told] == ["/missing", "/bug", "/busy", None, "/group", "/accounts"]
    assert told[2]["reason"] == "HTTPException: 503: hunter2"
    assert told[2]["code"] == "SERVICE_UNAVAILABLE"
    assert all(line["frames"] for line in told[:3])


async def test_a_group_is_one_line_with_all_that_is_in_it(client, lines):
    """The gravest error answers, the log tells of the others."""
    answer = await client.get("/group")
    assert answer.json()["code"] == "CONFLICT"
    (line,) = lines()
    assert line["error_id"] == answer.json()["error_id"]


async def test_what_fails_after_the_answer_is_logged_and_keeps_the_connection(client, lines):
    """A background task and the end of a dependency: the client has its whole answer, the log tells once."""
    assert (await client.get("/background")).json() == "done"
    assert (await client.get("/missing")).status_code == 404
    assert [line["code"] for line in lines()] == ["CONFLICT", "RESOURCE_NOT_FOUND"]


async def test_what_is_concealed_looks_like_nothing(client, lines):
    """The same answer as for a thing that does not exist, headers included; the log knows better."""
    concealed, missing = await client.get("/concealed"), await client.get("/missing")
    assert concealed.status_code == 404
    assert "x-hint" not in concealed.headers
    assert set(concealed.json()) == set(missing.json()) - {"context"}
    assert lines()[0]["code"] == "PERMISSION_DENIED"


async def test_headers_of_http_exceptions_are_kept_and_their_text_is_not(client):
    """Retry-After stays, what a 5xx says of itself does not."""
    answer = await client.get("/busy")
    assert (answer.status_code, answer.headers.get_list("retry-after")) == (503, ["7"])
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abcd-1234", True), ("short", False), ("x" * 65, False), ("urn:uuid:1234-1234", False), ("a b c d e f g", False)],
)
async def test_a_request_id_is_taken_over_where_it_is_a_harmless_one(client, given, kept):
    """Only then it stands in log and answer."""
    answer = await client.get("/context", headers={"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) is kept
    assert answer.json()["id"] == answer.headers["x-request-id"]


async def test_the_context_knows_route_client_and_trace(client):
    """Forwarded addresses count only where a proxy is trusted."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"x-forwarded-for": "6.6.6.6", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    assert (await client.get("/context", headers=headers)).json() | {"id": ""} == {
        "id": "", "client": "127.0.0.1", "route": "/context", "trace": trace,
    }  # fmt: skip
    answer = await client.get("/missing", headers=headers)
    assert answer.json()["trace_id"] == trace


async def test_a_trusted_proxy_is_believed(serve):
    """The resolver is an option like any other."""
    app = make_app(client_ip=ClientIPResolver(trusted_proxies=["127.0.0.0/8"]))
    async with serve(app) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.get("/context", headers={"x-forwarded-for": "6.6.6.6, 203.0.113.7"})
    assert answer.json()["client"] == "203.0.113.7"


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({}, "#/name", "Field required"),
        ({"name": "a b"}, "#/name", "Value error, a name has no space"),
        ({"name": "echo hunter2"}, "#/name", "This value is not valid."),
        ({"name": "a", "scores": {"hunter2 <script>": "x"}}, "#/scores/*", None),
        ({"name": "a", "scores": {"sk-proj-abcdef123456": "x"}}, "#/scores/*", None),
    ],
)
async def test_validation_never_echoes(client, body, pointer, detail):
    """Neither values nor keys that are no names, nor what an application's own validator repeats."""
    answer = await client.post("/accounts", json=body)
    error = answer.json()["errors"][0]
    assert (answer.status_code, error["pointer"]) == (422, pointer)
    assert detail is None or error["detail"] == detail
    assert "hunter2" not in answer.text
    assert "sk-proj" not in answer.text


async def test_many_wrong_fields_make_a_small_answer(client):
    """A hundred of them are told."""
    answer = await client.post("/accounts", json={"name": "a", "scores": {f"k{n}": "x" for n in range(5000)}})
    assert len(answer.json()["errors"]) == 100


# Streams, sub-applications, Starlette -------------------------------------------------------------------------------


async def test_a_dependency_that_fails_at_its_end_after_the_answer(serve, lines):
    """FastAPI runs the end before the answer is whole, or after it: the client gets a 500 or a whole answer."""
    async with serve(make_app()) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.get("/dependency")
        assert answer.status_code in {200, 500}
        assert "hunter2" not in answer.text
        assert (await http.get("/missing")).status_code == 404
    assert len([line for line in lines() if line["code"] == "INTERNAL_ERROR"]) == 1


async def test_a_mounted_application_is_covered(serve, lines):
    """With handlers of its own or without: one answer, one line, one request id."""
    outer, inner, bare = FastAPI(), FastAPI(), FastAPI()
    for app in (outer, inner):
        ours.setup_error_handlers(app)
    add_endpoints(inner)
    add_endpoints(bare)
    outer.mount("/inner", inner)
    outer.mount("/bare", bare)
    async with serve(outer) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.get("/inner/bug")
        assert answer.json()["code"] == "INTERNAL_ERROR"
        assert answer.headers.get_list("x-request-id") == [answer.json()["request_id"]]
        unhandled = await http.get("/bare/bug")
        assert (unhandled.status_code, unhandled.text) == (500, "Internal Server Error")
    assert [(line["code"], line["route"]) for line in lines()] == [
        ("INTERNAL_ERROR", "/inner/bug"), ("INTERNAL_ERROR", "/bare/bug"),
    ]  # fmt: skip


async def test_starlette_alone(serve):
    """Without FastAPI: errors, HTTPException, 404, 405 and middleware of a mount."""

    async def missing(_request):
        raise NotFoundError

    async def hello(_request):
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/missing", missing), Mount("/m", routes=[Route("/hello", hello, methods=["POST"])])])
    ours_for_starlette.setup_error_handlers(app, type_base_uri="https://errors.example/")
    async with serve(app) as url, httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/missing")).json()["type"] == "https://errors.example/resource-not-found"
        wrong = await http.get("/m/hello")
        assert (wrong.status_code, wrong.headers["allow"], wrong.json()["code"]) == (405, "POST", "METHOD_NOT_ALLOWED")


@needs_body_limit
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_body_that_is_too_large_is_a_problem_document(serve, streamed):
    """Starlette's own limit answers in plain text, outside of all handlers."""
    app = FastAPI(max_body_size=100)
    ours.setup_error_handlers(app)
    add_endpoints(app)

    async def chunks():
        for _ in range(10):
            yield b'{"name": "aaaaaaaaaaaaaaaaaaaaaaaaaaa"}'

    async with serve(app) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.post("/accounts", content=chunks() if streamed else b"x" * 1000)
        assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_an_applications_own_413_is_left_alone(serve):
    """Only the framework's text is replaced."""
    app = FastAPI()
    ours.setup_error_handlers(app)

    @app.get("/own")
    async def own() -> JSONResponse:
        return JSONResponse({"mine": True}, 413)

    async with serve(app) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.get("/own")
    assert (answer.status_code, answer.json()) == (413, {"mine": True})


# Websockets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("bug", 1011, "INTERNAL_ERROR"), ("busy", 1013, "RATE_LIMIT_EXCEEDED"), ("own", 4001, "go away"),
        ("closed", 1000, ""),
    ],
)  # fmt: skip
async def test_an_open_websocket_is_closed_with_a_code(client, lines, path, code, reason):
    """Whose fault it was, and the error's code; nothing else."""
    url = str(client.base_url).replace("http", "ws")
    async with websockets.connect(f"{url}/ws/{path}") as socket:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
    received = closed.value.rcvd
    assert received is not None
    assert (received.code, received.reason) == (code, reason)


@pytest.mark.parametrize(
    ("path", "status", "code"), [("refused", 404, "RESOURCE_NOT_FOUND"), ("x?count=hunter2", 422, "VALIDATION_FAILED")]
)
async def test_a_handshake_is_refused_with_a_problem_document(client, path, status, code):
    """Where the server can send one, the client learns why."""
    url = str(client.base_url).replace("http", "ws")
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"{url}/ws/{path}")
    response = refused.value.response
    assert response.status_code == status
    assert json.loads(response.body or b"")["code"] == code
    assert b"hunter2" not in (response.body or b"")


async def test_a_client_that_leaves_is_no_error(client, lines):
    """A line of information, no answer to nobody."""
    url = str(client.base_url).replace("http", "ws")
    async with websockets.connect(f"{url}/ws/left"):
        pass
    async with asyncio.timeout(5):
        while not lines():
            await asyncio.sleep(0.001)
    assert [line["code"] for line in lines()] == ["CLIENT_DISCONNECTED"]


# Options -------------------------------------------------------------------------------------------------------------


async def test_messages_are_translated_by_accept_language(serve):
    """The answer says which language it is in and that it varies."""
    catalog = Messages({"en": {}, "de": {"RESOURCE_NOT_FOUND": "$video gibt es nicht."}})
    async with serve(make_app(catalog=catalog)) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.get("/missing", headers={"accept-language": "de-AT, en;q=0.5"})
        assert answer.json()["detail"] == "v1 gibt es nicht."
        assert answer.headers["content-language"] == "de"
        assert "Accept-Language" in answer.headers["vary"]
        assert (await http.get("/missing")).json()["detail"] == NotFoundError.default_user_message


async def test_listeners_are_told_once(serve):
    """With the error, the exception, the answer's status and the request."""
    told: list[RequestFailed] = []
    async with serve(make_app(listeners=[told.append])) as url, httpx.AsyncClient(base_url=url) as http:
        for path in ("/bug", "/missing", "/busy", "/broken-middleware"):
            await http.get(path)
    assert [(e.error.code, e.status, e.unexpected) for e in told] == [
        ("INTERNAL_ERROR", 500, True), ("RESOURCE_NOT_FOUND", 404, False), ("SERVICE_UNAVAILABLE", 503, False),
        ("INTERNAL_ERROR", 500, True),
    ]  # fmt: skip
    assert isinstance(told[0].exception, RuntimeError)
    assert told[0].request is not None


async def test_tracebacks_are_rationed_and_frames_are_not(serve, lines):
    """A storm of the same error costs no tracebacks beyond the rate; each line still says where."""
    app = make_app(tracebacks_per_second=2, clock=FakeClock())
    async with serve(app) as url, httpx.AsyncClient(base_url=url) as http:
        for _ in range(5):
            await http.get("/bug")
    assert ["traceback" in line for line in lines()] == [True, True, False, False, False]
    assert all("bug" in line["frames"][-1] for line in lines())


async def test_an_error_that_is_raised_again_and_again_is_logged_each_time(serve, lines):
    """A module's one exception object; each request is told of."""
    once = NotFoundError("the same object")
    app = make_app()

    @app.get("/same")
    async def same() -> None:
        raise once

    async with serve(app) as url, httpx.AsyncClient(base_url=url) as http:
        for _ in range(3):
            await http.get("/same")
    assert len(lines()) == 3


async def test_a_handler_that_will_never_be_called_is_reported(caplog):
    """An application's own handler of Exception stands outside of ours."""
    app = make_app()
    app.add_exception_handler(Exception, lambda _request, _exc: PlainTextResponse("mine"))
    app.build_middleware_stack()
    assert ["never called" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    "options",
    [{"domain": ""}, {"type_base_uri": 7}, {"tracebacks_per_second": -1}, {"listeners": [7]}, {"catalogue": None},
     {"config": ErrorHandlingConfig(), "domain": "x"}],
)  # fmt: skip
def test_options_that_are_not_accepted(options):
    """Are refused at the call, by name."""
    with pytest.raises(ConfigurationError, match="accepted"):
        ours.setup_error_handlers(FastAPI(), **options)


def test_set_up_twice_the_last_counts():
    """No layer stands twice."""
    app = FastAPI()
    ours.setup_error_handlers(app, domain="first")
    ours.setup_error_handlers(app, domain="second")
    layers, layer = [], app.build_middleware_stack()
    while layer is not None:
        layers.append(type(layer).__name__)
        layer = getattr(layer, "app", None)
    assert layers.count("ErrorBoundaryMiddleware") == 2
    assert layers.count("RequestContextMiddleware") == 1


# OpenAPI -------------------------------------------------------------------------------------------------------------


def test_the_openapi_document_shows_problem_documents():
    """422 and the default of every operation; FastAPI's own error schemas are gone; codes are listed."""
    app = make_app()

    @app.get("/described", responses=ours.problem_responses(NotFoundError, ConflictError))
    async def described() -> None: ...

    document = app.openapi()
    assert document is app.openapi()
    assert "HTTPValidationError" not in json.dumps(document)
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    assert document["paths"]["/accounts"]["post"]["responses"]["422"]["content"] == {
        "application/problem+json": problem
    }
    responses = document["paths"]["/described"]["get"]["responses"]
    assert set(responses) == {"200", "404", "409", "default"}
    schema = responses["404"]["content"]["application/problem+json"]["schema"]
    assert schema["properties"]["code"]["enum"] == ["RESOURCE_NOT_FOUND"]
    members = set(ResilienceError(public={"a": 1}, errors=[{}], retry_after=1).to_problem(domain="d", request_id="r"))
    assert members <= set(document["components"]["schemas"]["Problem"]["properties"])


def test_an_applications_own_problem_schema_is_kept():
    """Ours then has another name."""
    app = make_app()

    @app.post("/solve")
    async def solve(problem: Problem) -> None: ...

    schemas = app.openapi()["components"]["schemas"]
    assert set(schemas["Problem"]["properties"]) == {"answer"}
    assert "error_id" in schemas["ResilienceProblem"]["properties"]


# What an answer was, and what is told of it --------------------------------------------------------------------------


async def test_the_line_has_the_status_that_the_client_got(serve, lines):
    """Concealed, after the answer, in the middle of it, and from an application mounted without handlers."""
    outer, bare = make_app(), FastAPI()
    add_endpoints(bare)
    outer.mount("/bare", bare)

    @outer.get("/stream")
    async def stream() -> StreamingResponse:
        async def body():
            yield b"begun"
            raise NotFoundError

        return StreamingResponse(body())

    async with serve(outer) as url, httpx.AsyncClient(base_url=url) as http:
        for path in ("/concealed", "/background", "/bare/missing"):
            await http.get(path)
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/stream")
    told = [(line["code"], line["status"], line.get("aborted", False)) for line in lines()]
    assert told == [
        ("PERMISSION_DENIED", 404, False),
        ("CONFLICT", 200, False),
        ("RESOURCE_NOT_FOUND", 500, False),
        ("RESOURCE_NOT_FOUND", 200, True),
    ]


async def test_what_is_worse_for_the_client_than_the_error_is_told_as_an_error(serve, caplog):
    """An answer that was cut off, and a 500 that a mounted application made of a 404."""
    outer, bare = make_app(), FastAPI()
    add_endpoints(bare)
    outer.mount("/bare", bare)
    with caplog.at_level(logging.INFO, logger="creatormate_resilience"):
        async with serve(outer) as url, httpx.AsyncClient(base_url=url) as http:
            await http.get("/bare/missing")
            await http.get("/missing")
    assert [record.levelname for record in caplog.records if hasattr(record, "resilience")] == ["ERROR", "INFO"]


async def test_a_cancellation_that_is_not_the_requests_own_is_a_bug_like_any_other(serve, lines):
    """Something that the endpoint waited for was cancelled by somebody else; the request goes on, to a 500."""
    app = make_app()

    @app.get("/waits")
    async def waits() -> None:
        other = asyncio.create_task(asyncio.sleep(60))
        other.cancel()
        await other

    async with serve(app) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.get("/waits")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
    assert answer.headers.get("connection") != "close"
    assert [line["error_id"] for line in lines()] == [answer.json()["error_id"]]


@needs_body_limit
async def test_a_body_that_is_too_large_is_reported_once(serve, lines):
    """Also where the framework answers after our handler has: one line, under the id that the client gets."""
    app = FastAPI(max_body_size=10)
    ours.setup_error_handlers(app)
    add_endpoints(app)
    async with serve(app) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.post("/accounts", content=b'{"name": "' + b"x" * 100 + b'"}')
    assert answer.json()["detail"] == "The request is too large."
    assert [line["error_id"] for line in lines()] == [answer.json()["error_id"]]


async def test_a_websocket_has_its_request_id_in_the_handshake(client):
    """Accepted or refused."""
    url = str(client.base_url).replace("http", "ws")
    async with websockets.connect(f"{url}/ws/closed") as socket:
        assert socket.response is not None
        assert len(socket.response.headers["x-request-id"]) == 32
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"{url}/ws/refused")
    response = refused.value.response
    assert response.headers["x-request-id"] == json.loads(response.body or b"")["request_id"]


async def test_an_error_that_cannot_be_rendered_is_answered_and_both_faults_are_told(serve, lines):
    """The client gets a 500 under the error's id; the log has the error, and why it could not be shown."""

    class BrokenError(NotFoundError):
        code = "BROKEN_IN_ERROR_LAYERS"

        @property
        def user_message(self) -> str:
            raise KeyError("hunter2")

    app = make_app()

    @app.get("/unshowable")
    async def unshowable() -> None:
        raise BrokenError("why")

    async with serve(app) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.get("/unshowable")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
    first, second = lines()
    assert first["error_id"] == answer.json()["error_id"]
    assert second["problem"].startswith("builtins.KeyError")


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: ours.setup_error_handlers(None), "app"),
        (lambda: ours.setup_error_handlers(FastAPI(), "videos"), "config"),
        (lambda: ours.setup_error_handlers(FastAPI(), client_ip="10.0.0.0/8"), "client_ip"),
        (lambda: ours.setup_error_handlers(FastAPI(), client_ip=ClientIPResolver), "client_ip"),
        (lambda: ours.setup_error_handlers(FastAPI(), clock=5), "clock"),
        (lambda: ours.setup_error_handlers(FastAPI(), listeners=print), "listeners"),
        (lambda: ours.setup_error_handlers(FastAPI(), catalog={"en": {}}), "catalog"),
        (lambda: ours.setup_error_handlers(FastAPI(), tracebacks_per_second="10"), "tracebacks_per_second"),
        (lambda: ours.setup_error_handlers(FastAPI(), reraise="no"), "reraise"),
        (lambda: ours.problem_response(None), "error"),
        (lambda: ours.problem_responses(404), "types"),
        (lambda: ours.problem_responses(ValueError), "types"),
        (lambda: ours.health_router(None), "resilience"),
        (lambda: ours.resilience_lifespan(FastAPI()), "resilience"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused_by_name(call, named):
    """At set-up, not at the first request."""
    with pytest.raises((TypeError, ConfigurationError), match=rf"^{named} (is|holds) .*; accepted"):
        call()
