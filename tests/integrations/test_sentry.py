"""Sentry: no secret reaches it, one failed request is one event, and nothing of it stays in the process.

What `sentry_sdk.init` patches cannot be unpatched, so everything that starts it runs in processes of its own: this file
is their script too. They report to a server of theirs and write down what came in, byte for byte.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import functools
import gzip
import http.server
import json
import logging
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path

import httpx
import pytest
import sentry_sdk
import uvicorn
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import StreamingResponse

from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import (
    CacheUnavailableError,
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailableError,
    InternalError,
    NotFoundError,
    Severity,
    map_exception,
)
from creatormate_resilience.integrations.asgi import RequestFailed
from creatormate_resilience.integrations.fastapi import resilience_lifespan, setup_error_handlers
from creatormate_resilience.integrations.sentry import (
    SentryListener,
    is_sentry_started,
    make_before_breadcrumb,
    make_before_send,
    start_sentry,
)
from creatormate_resilience.log import configure_logging
from creatormate_resilience.redaction import Redactor
from creatormate_resilience.request_context import RequestContext, request_scope
from creatormate_resilience.settings import Settings
from creatormate_resilience.testing import FakeClock
from creatormate_resilience.toolkit import Resilience

SCOPE = {"type": "http", "method": "GET", "path": "/items/7", "headers": [(b"x-request-id", b"request-0001")]}


def hint_of(exc, **more):
    return {"exc_info": (type(exc), exc, exc.__traceback__), **more}


class Route:
    path = "/items/{id}"


@contextmanager
def serving(route=None):
    scope = SCOPE | ({"route": route} if route else {})
    context = RequestContext(scope, lambda peer, headers: peer)
    with request_scope(context):
        yield context


NAMED = (
    "argv", "body_json", "body_nested", "breadcrumb_data", "breadcrumb_message", "breadcrumb_url", "context_chained",
    "context_field", "cookie", "exception_bearer", "exception_pair", "exception_sql", "exception_url", "extra_list",
    "extra_nested", "extra_text", "frame_nested", "frame_var", "group_first", "group_second", "header_api_key",
    "header_authorization", "header_cookie", "log_argument", "log_extra", "log_message", "note", "query", "row_detail",
    "server_name", "span_data", "span_description", "streamed_log", "tag", "user_field",
)  # fmt: skip


# The secrets. Random where a name announces them, so that nothing but the name can; of the right shape elsewhere.
def _random() -> str:
    return f"Zq{uuid.uuid4().hex[:14]}"


def _secrets() -> dict[str, str]:
    made = {name: _random() for name in NAMED}
    shapes = {
        "aws_key": "AK" + "IA" + uuid.uuid4().hex[:16].upper(),
        "jwt": "ey" + "J" + base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode()[3:] + "." + _random() * 2,
        "card": "4111 1111 1111 " + "1111",
        "email": f"{_random()}@example.com",
        "pem": base64.b64encode(uuid.uuid4().bytes * 4).decode(),
    }
    return made | shapes


# The script ----------------------------------------------------------------------------------------------------------


class Inbox(http.server.ThreadingHTTPServer):
    """What Sentry would be: keeps what is sent to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _InboxHandler)
        self.bodies: list[bytes] = []
        self.dsn = f"http://public@127.0.0.1:{self.server_port}/1"

    def take(self) -> list[bytes]:
        taken, self.bodies = self.bodies, []
        return taken


class _InboxHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        encoding = self.headers.get("content-encoding")
        self.server.bodies.append(gzip.decompress(body) if encoding == "gzip" else body)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def inbox() -> Iterator[Inbox]:
    server = Inbox()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


PLAIN = {"_experiments": {"transport_compression_algo": "gzip"}}


def events_in(bodies: list[bytes], kind: str = "event") -> list[dict]:
    items = [item for body in bodies for item in Envelope.deserialize(body).items]
    return [item.payload.json for item in items if item.type == kind]


class Around(BaseHTTPMiddleware):
    """Runs what is inside it in a task of its own, as many an application does."""

    async def dispatch(self, request, call_next):
        return await call_next(request)


def make_app(middleware, *, reraise=False) -> FastAPI:
    app = FastAPI(middleware=[Middleware(each) for each in middleware])
    setup_error_handlers(app, reraise=reraise)

    @app.get("/ok")
    async def ok():
        return "ok"

    @app.get("/bug")
    async def bug():
        raise RuntimeError("nobody expected this")

    @app.get("/sync-bug")
    def sync_bug():
        raise RuntimeError("nobody expected this in a thread")

    @app.get("/grave/{number}")
    async def grave(number: int):
        raise DatabaseError("the disk is gone")

    @app.get("/mild")
    async def mild():
        raise CacheUnavailableError("the cache is away")

    @app.get("/mapped")
    async def mapped():
        raise ConnectionRefusedError("the upstream refuses")

    @app.get("/missing")
    async def missing():
        raise NotFoundError("no such thing")

    @app.get("/http-500")
    async def http_500():
        raise HTTPException(500, "broken")

    @app.get("/http-404")
    async def http_404():
        raise HTTPException(404)

    @app.get("/logged")
    async def logged():
        try:
            raise DatabaseError("the disk is gone")
        except DatabaseError:
            logging.getLogger("app").exception("it failed, and I say so too")
            raise

    @app.get("/group")
    async def group():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bug())
            tasks.create_task(grave(1))

    @app.get("/mild-group")
    async def mild_group():
        raise ExceptionGroup("all mild", [CacheUnavailableError("a"), CacheUnavailableError("b")])

    @app.get("/stream")
    async def stream():
        async def parts():
            yield b"first "
            raise RuntimeError("the stream broke")

        return StreamingResponse(parts())

    @app.get("/background")
    async def background(tasks: BackgroundTasks):
        tasks.add_task(bug)
        return "done"

    return app


PATHS = (
    "/ok", "/bug", "/sync-bug", "/grave/7", "/mild", "/mapped", "/missing", "/nowhere", "/http-500", "/http-404",
    "/logged", "/group", "/mild-group", "/stream", "/background",
)  # fmt: skip


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def web_script() -> dict:
    """One request to each path of three applications, and what Sentry was told of it."""
    with configure_logging():  # this library's own lines are heard, so that they could be reported
        told = {
            "plain": _visited(make_app([])),
            "wrapped": _visited(make_app([Around])),
            "raising": _visited(make_app([Around], reraise=True)),
        }
    return {"told": told, "initialized": sentry_sdk.is_initialized()}


def _visited(app: FastAPI) -> dict:
    with inbox() as box:
        sentry = start_sentry(box.dsn, **PLAIN)
        with running(app) as url, httpx.Client(base_url=url) as client:
            for path in PATHS:
                with suppress(httpx.HTTPError):  # streams that break
                    client.get(path, headers={"connection": "close"})
        asyncio.run(sentry.aclose())
        sentry_sdk.capture_exception(ValueError("after the end"))
        return {"events": events_in(box.take())}


def lifespan_script() -> dict:
    """An application that only has a DSN in its settings."""
    with inbox() as box:
        settings = Settings(sentry_dsn=box.dsn, _env_file=None)
        app = FastAPI(lifespan=resilience_lifespan(Resilience(settings)))
        setup_error_handlers(app)

        @app.get("/bug")
        async def bug() -> None:
            raise RuntimeError("postgresql://app:hunter2@db/x")

        with running(app) as url:
            answer = httpx.get(f"{url}/bug")
        return {"answer": answer.json(), "events": events_in(box.take()), "running": is_sentry_started()}


def secrets_script() -> dict:
    """Secrets in every corner of events, sent through our hooks and, to see that they are there, without."""
    return {"ours": _leaked(start_sentry), "bare": _leaked(sentry_sdk.init)}


def _leaked(start) -> dict:
    secret = _secrets()
    options = {
        "include_local_variables": True,
        "send_default_pii": True,
        "max_request_body_size": "always",
        "traces_sample_rate": 1.0,
        "enable_logs": True,
        "server_name": f"token={secret['server_name']}",
        **PLAIN,
    }
    sys.argv = ["service", "--password", secret["argv"]]
    logging.getLogger().setLevel(logging.INFO)
    with inbox() as box:
        start(box.dsn, **options)
        with running(_leaking_app(secret)) as url:
            httpx.post(
                f"{url}/leak/{secret['email']}",
                params={"access_token": secret["query"], "page": "1"},
                headers={
                    "authorization": f"Bearer {secret['header_authorization']}",
                    "cookie": f"theme=dark; sid={secret['header_cookie']}; session={secret['cookie']}",
                    "x-api-key": secret["header_api_key"],
                },
                json={"password": secret["body_json"], "deep": {"list": [{"clientSecret": secret["body_nested"]}]}},
            )
        sentry_sdk.flush()
        sentry_sdk.get_client().close()
        bodies = box.take()
    return {
        "secrets": secret,
        "raw": b"\n".join(bodies).decode(),
        "events": events_in(bodies),
        "transactions": events_in(bodies, "transaction"),
        "logs": events_in(bodies, "log"),
    }


def _leaking_app(secret: dict[str, str]) -> FastAPI:
    app = FastAPI()
    setup_error_handlers(app)

    @app.post("/leak/{user}")
    async def leak(user: str, request: Request):
        await request.json()
        scope = sentry_sdk.get_isolation_scope()
        scope.set_tag("session_token", secret["tag"])
        scope.set_user({"id": 7, "email": secret["email"], "access_token": secret["user_field"]})
        scope.set_context("order", {"card": {"number": secret["card"]}, "authToken": secret["context_field"]})
        scope.set_extra("settings", {"deep": {"db_password": secret["extra_nested"]}})
        scope.set_extra("text", f"connected with password={secret['extra_text']}")
        scope.set_extra("urls", ["https://a.example", f"redis://:{secret['extra_list']}@cache/0"])
        scope.set_extra("key", f"-----BEGIN PRIVATE KEY-----\n{secret['pem']}\n-----END PRIVATE KEY-----")
        sentry_sdk.add_breadcrumb(message=f"PRAGMA key; password='{secret['breadcrumb_message']}'", category="query")
        sentry_sdk.add_breadcrumb(message="call", data={"headers": {"Authorization": secret["breadcrumb_data"]}})
        sentry_sdk.add_breadcrumb(message=f"GET https://bob:{secret['breadcrumb_url']}@api.example/x?page=1")
        log = logging.getLogger("app")
        log.warning("the api_key=%s was refused", secret["log_argument"], extra={"client_secret": secret["log_extra"]})
        log.warning("Authorization: Bearer %s and %s", secret["streamed_log"], secret["aws_key"])
        with sentry_sdk.start_span(op="db", name=f"SET PASSWORD = '{secret['span_description']}'") as span:
            span.set_data("db.password", secret["span_data"])
        try:
            log.error("login failed for password=%s", secret["log_message"])
            _chained(secret)
        except Exception as exc:
            exc.add_note(f"tried with token={secret['note']}")
            inner = [ValueError(f"secret={secret['group_first']}"), KeyError(f"pwd={secret['group_second']}")]
            raise ExceptionGroup("all failed", [exc, *inner])  # noqa: B904 - with the context that Python gives it

    return app


def _chained(secret: dict[str, str]) -> None:
    password, context = secret["frame_var"], {"inner": {"api_key": secret["frame_nested"]}}
    try:
        try:
            raise ConnectionError(f"postgresql://app:{secret['exception_url']}@db.internal/prod")
        except ConnectionError:
            raise PermissionError(f"client_secret={secret['context_chained']}; {secret['jwt']}")  # noqa: B904
    except PermissionError as exc:
        row = f"[SQL: INSERT INTO users VALUES (?)]\n[parameters: ('{secret['exception_sql']}', 7)]"
        text = f"api_key: '{secret['exception_pair']}' Authorization: Bearer {secret['exception_bearer']} {row}"
        raise RuntimeError(
            f"{text} DETAIL:  Key (name)=({secret['row_detail']}) {password!s:.0} {context!s:.0}"
        ) from exc


@pytest.fixture(scope="module")
def run_script(tmp_path_factory) -> Callable[[str], dict]:
    """Run this file as a script once for each name; gives what it has written down."""

    @functools.cache
    def run(name: str) -> dict:
        target = tmp_path_factory.mktemp("sentry") / "result.json"
        done = subprocess.run([sys.executable, __file__, name, target], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(target.read_text())

    return run


class Kept(Transport):
    """Keeps what would be sent."""

    def __init__(self, options=None) -> None:
        super().__init__(options)
        self.envelopes: list[Envelope] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)

    def take(self, kind: str = "event") -> list[dict]:
        items = [item for envelope in self.envelopes for item in envelope.items if item.type == kind]
        self.envelopes.clear()
        return [json.loads(item.get_bytes()) for item in items]


@pytest.fixture
def sentry():
    """Start Sentry in this process without integrations, which patch nothing then, and take it away again."""
    with sentry_sdk.isolation_scope(), sentry_sdk.new_scope(), ExitStack() as stack:

        def start(**options) -> Kept:
            kept = Kept()
            started = start_sentry(
                "http://public@127.0.0.1:9/1",
                transport=kept,
                default_integrations=False,
                auto_enabling_integrations=False,
                **options,
            )
            stack.callback(started.close)
            return kept

        yield start
    assert not sentry_sdk.is_initialized()


def failed(error, exception=None, *, status=None, unexpected=False, request=None) -> RequestFailed:
    return RequestFailed("asgi", error, exception or error, status or error.status_code, unexpected, request)


# One failed request, one event ---------------------------------------------------------------------------------------

REPORTED = {
    "/bug": ("INTERNAL_ERROR", None),
    "/sync-bug": ("INTERNAL_ERROR", None),
    "/grave/{number}": ("DATABASE_ERROR", ["DATABASE_ERROR", "/grave/{number}"]),
    "/mapped": ("UPSTREAM_UNAVAILABLE", ["UPSTREAM_UNAVAILABLE", "/mapped"]),
    "/http-500": (None, None),
    "/logged": ("DATABASE_ERROR", ["DATABASE_ERROR", "/logged"]),
    "/group": ("INTERNAL_ERROR", None),
    "/stream": ("INTERNAL_ERROR", None),
    "/background": ("INTERNAL_ERROR", None),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "wrapped", "raising"])
def test_one_failed_request_is_one_event(run_script, kind):
    """With Sentry's own integrations on, behind a middleware with tasks of its own, and where bugs are raised again."""
    events = run_script("web")["told"][kind]["events"]
    assert Counter(event["transaction"] for event in events) == dict.fromkeys(REPORTED, 1)
    found = {event["transaction"]: (event["tags"].get("code"), event.get("fingerprint")) for event in events}
    assert found == REPORTED


@pytest.mark.slow
def test_events_of_requests_can_be_found_by_what_the_client_was_told(run_script):
    """Request id and error id of the answer are tags; our own log lines are breadcrumbs, not events."""
    told = run_script("web")
    for event in told["told"]["plain"]["events"]:
        assert event["tags"]["request_id"]
        assert "error_id" in event["tags"] or event["transaction"] == "/http-500"
        assert not event.get("logger", "").startswith("creatormate_resilience")
    assert not told["initialized"]


@pytest.mark.slow
def test_the_lifespan_starts_sentry_where_there_is_a_dsn(run_script):
    """A bug is reported under the id that the client was told; at the end Sentry is closed, with everything sent."""
    told = run_script("lifespan")
    (event,) = told["events"]
    assert event["tags"]["error_id"] == told["answer"]["error_id"]
    assert "hunter2" not in json.dumps(told)
    assert told["running"] is False


# Secrets -------------------------------------------------------------------------------------------------------------

SCRUBBED_BY_SENTRY = {"header_authorization", "body_json", "cookie", "frame_var"}


@pytest.mark.slow
def test_no_secret_arrives_in_anything_that_is_sent(run_script):
    """Exception texts, chains, groups, notes, frames, bodies, headers, spans, logs: not in the bytes that arrive."""
    sent = run_script("secrets")["ours"]
    assert [name for name, secret in sent["secrets"].items() if secret in sent["raw"]] == []
    assert len(sent["secrets"]) >= 30
    assert (len(sent["events"]), len(sent["transactions"]), len(sent["logs"])) == (2, 1, 1)


@pytest.mark.slow
def test_without_the_hooks_these_secrets_do_arrive(run_script):
    """The test above can fail: Sentry by itself sends all but a few of them."""
    sent = run_script("secrets")["bare"]
    kept_back = {name for name, secret in sent["secrets"].items() if secret not in sent["raw"]}
    assert kept_back <= SCRUBBED_BY_SENTRY


@pytest.mark.slow
def test_what_sentry_needs_arrives_whole(run_script):
    """Ids, stacks, the chain of exceptions, the trace and its spans are as the SDK made them."""
    sent = run_script("secrets")["ours"]
    event = sent["events"][-1]
    assert [exc["type"] for exc in event["exception"]["values"]] == [
        "KeyError", "ValueError", "ConnectionError", "PermissionError", "RuntimeError", "ExceptionGroup",
    ]  # fmt: skip
    frame = event["exception"]["values"][-1]["stacktrace"]["frames"][-1]
    assert frame["function"] == "leak"
    assert isinstance(frame["lineno"], int)
    assert "ExceptionGroup" in frame["context_line"]
    assert uuid.UUID(event["event_id"])
    assert datetime.datetime.fromisoformat(event["timestamp"])
    [transaction] = sent["transactions"]
    trace = transaction["contexts"]["trace"]
    assert trace["trace_id"] == event["contexts"]["trace"]["trace_id"]
    assert {span["trace_id"] for span in transaction["spans"]} == {trace["trace_id"]}
    assert event["request"]["query_string"] == "access_token=[REDACTED]&page=1"
    assert event["sdk"]["name"] == "sentry.python.fastapi"


def test_numbers_of_the_sdk_are_no_card_numbers():
    """An id of digits that pass Luhn's check stays, in the event, its trace and its spans; the same in a text goes."""
    card = "4111111111111111"
    span = {"span_id": card, "trace_id": card * 2, "description": card}
    trace = {"trace_id": card * 2, "span_id": card, "dynamic_sampling_context": {"trace_id": card * 2}}
    now = datetime.datetime.now(datetime.UTC)
    event = {"event_id": card * 2, "timestamp": now, "contexts": {"trace": trace}, "spans": [span], "message": card}
    event["extra"] = {"span_id": card}
    redacted = make_before_send()(event, {})
    assert redacted["event_id"] == card * 2
    assert redacted["timestamp"] is now
    assert redacted["contexts"]["trace"] == trace
    assert redacted["spans"] == [span | {"description": "[REDACTED]"}]
    assert redacted["message"] == "[REDACTED]"
    assert redacted["extra"] == {"span_id": "[REDACTED]"}


def test_a_large_section_costs_no_other_its_place():
    """Over budget is cut, within its own section; the trace stays a mapping, or the SDK itself would fail."""
    large: dict = {str(number): {"password": f"hunter{number}", "text": "short"} for number in range(60_000)}
    large["7"] = "x" * 1_000_000
    trace = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
    event = {"extra": large, "contexts": {"large": large, "trace": trace}, "platform": "python"}
    redacted = make_before_send()(event, {})
    assert redacted["contexts"]["trace"] == trace
    assert redacted["platform"] == "python"
    text = json.dumps(redacted)
    assert "hunter" not in text
    assert "x" * 10_000 not in text
    assert redacted["extra"].keys() < large.keys() | {"[TRUNCATED]"}


def test_real_events_are_not_cut():
    """A hundred frames with source lines and a thousand spans fit, whatever budgets the given redactor has."""
    frames = [{"function": f"f{n}", "lineno": n, "pre_context": ["line"] * 5, "vars": {"n": "1"}} for n in range(100)]
    spans = [{"span_id": f"{n:016x}", "op": "db", "data": {"n": n}} for n in range(1000)]
    event = {"exception": {"values": [{"type": "E", "stacktrace": {"frames": frames}}]}, "spans": spans}
    assert make_before_send(Redactor(max_depth=2, max_nodes=10, max_items=1, max_text=10))(event, {}) == event


@pytest.mark.parametrize(
    "event",
    [
        {"logentry": {"message": "password=%s", "params": ["hunter2"], "formatted": "password=hunter2"}},
        {"extra": {"sys.argv": ["service", "--password", "hunter2"]}},
        {"breadcrumbs": {"values": [{"message": "q", "data": {"db.params": ["hunter2"]}}]}},
        {"spans": [{"data": {"db.params": ["hunter2"]}}]},
        {"data": {"db.params": ["hunter2"]}},
        {"body": "password=hunter2", "attributes": {"sentry.message.parameter.0": "hunter2"}},
        {"request": {"headers": [["Authorization", "hunter2"], ["accept", "*/*"]]}},
        {"request": {"query_string": [["token", "hunter2"]], "cookies": [["sid", "hunter2"]]}},
        {"tags": [["api_key", "hunter2"]]},
        {"exception": {"values": [{"value": "no [SQL: x] [parameters: ('hunter2',)]"}]}},
        {"exception": {"values": [{"value": "duplicate key\nDETAIL:  Key (name)=(hunter2) already exists."}]}},
        {"_meta": {"extra": {"": {"val": "hunter2"}}}},
        {"exception": {"values": [{"stacktrace": {"frames": [{"vars": {"e": "'[parameters: (hunter2)'"}}]}}]}},
    ],
)
def test_values_that_have_lost_their_names_are_not_sent(event):
    """Log arguments, SQL parameters, rows in errors, the command line; and pairs are judged by their names."""
    redacted = make_before_send()(event, {})
    assert "hunter2" not in json.dumps(redacted)


def test_breadcrumbs_are_redacted_when_they_are_made():
    """Their time stays a time, for Sentry sorts by it."""
    now = datetime.datetime.now(datetime.UTC)
    crumb = {
        "timestamp": now,
        "type": "log",
        "message": "token=abc123xyz",
        "data": {"password": "x", "object": object()},
    }
    assert make_before_breadcrumb()(crumb, {}) == {
        "timestamp": now,
        "type": "log",
        "message": "token=[REDACTED]",
        "data": {"password": "[REDACTED]", "object": "[object]"},
    }


# What is sent, and under which labels --------------------------------------------------------------------------------


def test_errors_below_the_severity_are_dropped_and_foreign_ones_never():
    """The error itself counts, or a group with nothing foreign in it."""
    mild, grave, foreign = CacheUnavailableError("mild"), DatabaseError("grave"), ValueError("foreign")
    passes = [mild, grave, foreign, ExceptionGroup("", [mild, mild]), ExceptionGroup("", [mild, foreign])]
    sent = [make_before_send()({}, hint_of(exc)) is not None for exc in passes]
    assert sent == [False, True, True, False, True]
    assert make_before_send(min_severity=Severity.WARNING)({}, hint_of(mild))["level"] == "warning"
    assert make_before_send(min_severity=Severity.CRITICAL)({}, hint_of(DatabaseError())) is None


def test_a_foreign_exception_deep_in_a_large_group_passes():
    """However many mild errors stand before it."""
    mild = [CacheUnavailableError() for _ in range(50)]
    nested = ExceptionGroup("", [*mild, ExceptionGroup("", [ExceptionGroup("", [ExceptionGroup("", [ValueError()])])])])
    huge = ExceptionGroup("", [CacheUnavailableError()] * 5_000)
    assert make_before_send()({}, hint_of(nested)) is not None
    assert make_before_send()({}, hint_of(huge)) is not None  # too many to look at: rather once too often


def test_errors_of_this_library_are_labelled_and_grouped():
    """Tags of the error and the request; the route as it was declared, not the path."""
    error = DatabaseUnavailableError("away")
    with serving(Route):
        event = make_before_send()({"tags": {"team": "blue"}}, hint_of(error))
    assert event["tags"] == {
        "team": "blue",
        "request_id": "request-0001",
        "error_id": error.error_id,
        "code": "DATABASE_UNAVAILABLE",
        "category": "database",
    }
    assert event["fingerprint"] == ["DATABASE_UNAVAILABLE", "/items/{id}"]
    assert event["level"] == "fatal"


def test_sentry_groups_what_it_groups_better():
    """Bugs, foreign exceptions, what happened outside requests; and a fingerprint of the application's own stays."""
    with serving(Route):
        assert "fingerprint" not in make_before_send()({}, hint_of(InternalError("bug")))
        assert "fingerprint" not in make_before_send()({}, hint_of(ValueError()))
        own = make_before_send()({"fingerprint": ["mine"]}, hint_of(DatabaseError()))
    assert own["fingerprint"] == ["mine"]
    assert "fingerprint" not in make_before_send()({}, hint_of(DatabaseError()))


def test_the_same_exception_is_sent_once_a_second():
    """Whoever reports it on its way out; raised again later it is told again."""
    clock, error = FakeClock(), RuntimeError("one object")
    hook = make_before_send(clock=clock)
    assert hook({}, hint_of(error)) is not None
    assert hook({}, hint_of(error)) is None
    assert hook({}, hint_of(RuntimeError("another"))) is not None
    clock.advance(1.0)
    assert hook({}, hint_of(error)) is not None


@pytest.mark.parametrize(
    ("logger", "sent"),
    [
        ("creatormate_resilience", False),
        ("creatormate_resilience.db", False),
        ("creatormate_resilience_app", True),
        ("app", True),
    ],
)
def test_lines_of_our_own_log_are_no_events(logger, sent):
    """Their errors are reported already; they stay breadcrumbs."""
    hint = {"log_record": logging.LogRecord(logger, logging.ERROR, "", 1, "away", (), None)}
    assert (make_before_send()({}, hint) is not None) is sent
    assert make_before_breadcrumb()({"message": "away"}, hint) == {"message": "away"}


# It never raises -----------------------------------------------------------------------------------------------------


class Hostile(dict):
    def items(self):
        raise RuntimeError("hunter2")


class HostileName(str):
    __slots__ = ()

    def __format__(self, spec):
        raise LookupError("hunter2")


@pytest.mark.parametrize("make", [make_before_send, make_before_breadcrumb])
def test_what_cannot_be_redacted_is_dropped_and_logged_once_for_each_kind(make, caplog):
    """Never passed as it is; the line says what kind of failure it was, not its text."""
    hook = make()
    events = [Hostile(password="hunter2"), None, 7, "text", {HostileName("x"): "hunter2"}, {"tags": [["x"]]}] * 3
    assert [hook(event, {}) for event in events] == [None] * len(events)
    assert "hunter2" not in caplog.text
    assert sorted(record.resilience["failure"] for record in caplog.records) == [
        "AttributeError", "IndexError", "LookupError", "RuntimeError",
    ]  # fmt: skip


def test_hostile_values_are_shown_as_their_types(caplog):
    """One bad value does not cost the event."""

    class Bad:
        def __repr__(self):
            raise RuntimeError("hunter2")

        __str__ = __repr__

    cycle: dict = {}
    cycle["self"] = cycle
    event = make_before_send()({"extra": {"bad": Bad(), "cycle": cycle, "fine": 1}}, {})
    assert event["extra"]["fine"] == 1
    assert event["extra"]["bad"] == "[Bad]"
    assert json.dumps(event)
    assert caplog.records == []


# start_sentry ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "hunter2",
        "ftp://hunter2@h/1",
        "https://hunter2@h/hunter2",
        "https://h/1",
        "https://hunter2@h:hunter2/1",
        None,
    ],
)
def test_a_malformed_dsn_is_refused_and_not_shown(dsn):
    """At the call, with what is accepted; nothing is started."""
    with pytest.raises(ConfigurationError, match="dsn is malformed; accepted is") as caught:
        start_sentry(dsn)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)).replace(repr(dsn), "")
    assert not sentry_sdk.is_initialized()


def test_a_severity_that_is_none_is_refused():
    """By everything that takes one."""
    for take in (make_before_send, SentryListener, lambda **options: start_sentry("http://k@h/1", **options)):
        with pytest.raises(ConfigurationError, match="min_severity is 'high'; accepted is a Severity"):
            take(min_severity="high")


def test_local_variables_and_bodies_are_sent_only_if_asked_for(sentry):
    """The safe defaults hold, and can be changed."""
    sentry()
    options = sentry_sdk.get_client().options
    assert options["include_local_variables"] is False
    assert not options["send_default_pii"]
    assert options["max_request_body_size"] == "never"
    sentry(include_local_variables=True, max_request_body_size="small")
    assert sentry_sdk.get_client().options["include_local_variables"] is True
    assert sentry_sdk.get_client().options["max_request_body_size"] == "small"


def test_hooks_of_the_application_run_first_and_what_they_add_is_redacted(sentry):
    """Also those given as experiments; None from them drops the event, and what they raise does too."""

    def add(event, hint):
        if "drop" in event["message"]:
            return None
        return event | {"extra": {"seen": event["message"], "password": "hunter2"}, "breadcrumbs": {}}

    kept = sentry(before_send=add, before_breadcrumb=lambda crumb, hint: 1 / 0)
    sentry_sdk.add_breadcrumb(message="hunter2")
    for message in ("hello", "drop me"):
        sentry_sdk.capture_message(message)
    [event] = kept.take()
    assert event["extra"] == {"seen": "hello", "password": "[REDACTED]"}

    kept = sentry(before_send=lambda event, hint: 1 / 0)
    sentry_sdk.capture_message("hello")
    assert kept.take() == []


@pytest.mark.skipif("before_send_span" not in DEFAULT_OPTIONS, reason="this sentry-sdk streams no spans")
def test_streamed_spans_and_logs_and_metrics_are_redacted(sentry):
    """They do not pass `before_send`; spans that a hook breaks lose everything, for Sentry lets none be dropped."""

    def broken(span, hint):
        raise RuntimeError("hunter2")

    for hook in (None, broken):
        kept = sentry(
            enable_logs=True,
            traces_sample_rate=1.0,
            trace_lifecycle="stream",
            _experiments={"before_send_span": hook},
        )
        spans, logs, metrics = (import_module(f"sentry_sdk.{name}") for name in ("traces", "logger", "metrics"))
        with spans.start_span(name="GET /x?token=hunter2", attributes={"api_key": "hunter2", "n": 1}):
            logs.error("password=hunter2", attributes={"client_secret": "hunter2"})
            metrics.count("calls", 1, attributes={"client_secret": "hunter2"})
        sentry_sdk.flush()
        sent = {kind: kept.envelopes and json.dumps(_items(kept, kind)) for kind in ("span", "log", "trace_metric")}
        assert all(len(text) > 50 for text in sent.values()), sent
        assert "hunter2" not in "".join(sent.values())
        assert ("[TRUNCATED]" in sent["span"]) is (hook is broken)


def _items(kept: Kept, kind: str) -> list[dict]:
    return [json.loads(i.get_bytes()) for envelope in kept.envelopes for i in envelope.items if i.type == kind]


# SentryListener ------------------------------------------------------------------------------------------------------


def test_the_listener_reports_with_labels_and_changes_no_scope(sentry):
    """The mapped error's labels on the foreign exception that was raised."""
    kept = sentry()
    error, exception = DatabaseUnavailableError("away"), ConnectionRefusedError("db")
    with serving(Route) as request:
        SentryListener()(failed(error, exception, request=request))
    sentry_sdk.capture_message("later")
    reported, later = kept.take()
    assert reported["exception"]["values"][0]["type"] == "ConnectionRefusedError"
    assert reported["exception"]["values"][0]["mechanism"] == {"type": "creatormate_resilience", "handled": True}
    assert reported["tags"]["code"] == "DATABASE_UNAVAILABLE"
    assert reported["tags"]["error_id"] == error.error_id
    assert reported["tags"]["request_id"] == "request-0001"
    assert reported["fingerprint"] == ["DATABASE_UNAVAILABLE", "/items/{id}"]
    assert "tags" not in later


@pytest.mark.parametrize(
    "event",
    [
        Event("cache"),
        failed(NotFoundError()),
        failed(CacheUnavailableError()),
        failed(DatabaseError(), status=499),
    ],
)
def test_the_listener_leaves_alone_what_is_not_for_it(sentry, event):
    """Other events, 4xx, what is not severe enough."""
    kept = sentry()
    SentryListener()(event)
    assert kept.take() == []


def test_the_listener_reports_what_nobody_expected_whatever_the_status(sentry):
    """As not handled; and what is mild, if it is asked to."""
    kept = sentry(min_severity=Severity.WARNING)
    SentryListener()(failed(InternalError(), RuntimeError(), status=400, unexpected=True))
    SentryListener(min_severity=Severity.WARNING)(failed(CacheUnavailableError()))
    bug, mild = kept.take()
    assert bug["exception"]["values"][0]["mechanism"]["handled"] is False
    assert mild["level"] == "warning"


def test_a_group_whose_gravest_error_has_it_as_its_cause_is_reported(sentry):
    """A circle of causes, which an application may make, ends."""
    kept = sentry()
    group = ExceptionGroup("both", [DatabaseError("a"), DatabaseUnavailableError("b")])
    error = map_exception(group)
    error.__cause__ = group
    SentryListener()(failed(error, group))
    [event] = kept.take()
    assert {exc["type"] for exc in event["exception"]["values"]} == {
        "DatabaseError", "DatabaseUnavailableError", "ExceptionGroup",
    }  # fmt: skip


def test_the_listener_does_nothing_where_sentry_is_not_started(monkeypatch):
    """It costs a look and captures nothing."""
    called = []
    monkeypatch.setattr(sentry_sdk, "capture_event", lambda *args, **options: called.append(args))
    SentryListener()(failed(DatabaseError()))
    assert called == []


def test_without_the_package_the_listener_is_silent_and_starting_says_what_to_install():
    """`setup_error_handlers` may always have a listener."""
    code = """
import sys
sys.modules["sentry_sdk"] = None
from creatormate_resilience.exceptions import DatabaseError, MissingDependencyError
from creatormate_resilience.integrations.asgi import RequestFailed
from creatormate_resilience.integrations.sentry import SentryListener, make_before_send, start_sentry
error = DatabaseError()
SentryListener()(RequestFailed("asgi", error, error, 500, False, None))
assert make_before_send()({"extra": {"password": "x"}}, {}) == {"extra": {"password": "[REDACTED]"}}
try:
    start_sentry("https://key@host/1")
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "creatormate-resilience[sentry]"' in done.stdout, done.stderr


if __name__ == "__main__":
    script, target = sys.argv[1:]
    Path(target).write_text(
        json.dumps({"web": web_script, "secrets": secrets_script, "lifespan": lifespan_script}[script]())
    )
