"""What a request's context says: ids that are safe to print, the declared route, the caller's trace."""

from __future__ import annotations

import asyncio
import threading
from importlib.metadata import version

import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, WebSocketRoute

from creatormate_resilience.client_ip import ClientIPResolver
from creatormate_resilience.request_context import (
    RequestContext,
    get_request_context,
    read_request_id,
    request_scope,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def nobody(peer, headers):
    return peer


def scope(**members):
    return {
        "type": "http",
        "method": "GET",
        "path": "/orders/42",
        "headers": [],
        "client": ("203.0.113.7", 1),
    } | members


def context(**members) -> RequestContext:
    return RequestContext(scope(**members), nobody)


@pytest.mark.parametrize("given", ["abcdefgh", "A-z_0.9-", "0" * 64, "018f2b1e-7c3a-7d64-9c2e-0242ac120002"])
def test_a_good_request_id_is_kept(given):
    """8 to 64 letters, digits, dots, underscores and dashes."""
    assert context(headers=[(b"x-request-id", given.encode())]).request_id == given


@pytest.mark.parametrize(
    "given",
    [
        b"", b"short12", b"x" * 65, b"abc defgh", b"abcdefgh\n", b"abcdefgh\r\nset-cookie: s=1", b"abcdefgh\x00",
        b"{018f2b1e-7c3a-7d64}", b"urn:uuid:018f2b1e", "\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18".encode(),
        b"<script>1",
        "ÄÖÜäöüßé".encode("latin-1"),
        b"abcdefgh\t", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8",
    ],
)  # fmt: skip
def test_any_other_request_id_is_replaced(given):
    """It would be written into logs and headers."""
    made = context(headers=[(b"x-request-id", given)]).request_id
    assert len(made) == 32
    assert int(made, 16) >= 0


def test_two_request_ids_are_none():
    """Nobody can say which of them other systems believe."""
    headers = [(b"x-request-id", b"abcdefgh"), (b"x-request-id", b"abcdefgh")]
    assert len(read_request_id(headers)) == 32


def test_new_request_ids_differ():
    """Each request has its own."""
    assert len({read_request_id([]) for _ in range(100)}) == 100


@given(st.lists(st.binary(max_size=80), max_size=3))
def test_whatever_comes_the_request_id_is_safe_to_print(values):
    """Between 8 and 64 signs, none of them special."""
    made = read_request_id([(b"x-request-id", value) for value in values])
    assert 8 <= len(made) <= 64
    assert made.isascii()
    assert not set(made) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


@pytest.mark.parametrize(
    ("given", "sampled"),
    [
        (PARENT, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
        (f"cc-{TRACE}-{SPAN}-01-", True),
    ],
)
def test_a_valid_traceparent_is_read(given, sampled):
    """Of a later version the part that version 00 has."""
    request = context(headers=[(b"traceparent", given.encode())])
    assert (request.trace_id, request.parent_id, request.sampled) == (TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "given",
    [
        "", "00", PARENT.upper(), f"00-{TRACE.upper()}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"{PARENT}-", f"{PARENT}-extra", f"{PARENT} ", f" {PARENT}", f"{PARENT}\n",
        f"00-{TRACE[:-1]}-{SPAN}-01", f"00-{TRACE}0-{SPAN}-01", f"00-{TRACE}-{SPAN[:-1]}-01", f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g", f"0-{TRACE}-{SPAN}-01", f"00_{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01x",
        f"cc-{TRACE}-{SPAN}-01x", f"cc-{TRACE}-{SPAN}-01.x", f"cc-{TRACE}-{SPAN}-01-\n", f"cc-{TRACE}-{SPAN}",
        "00-" + "\uff11" * 32 + f"-{SPAN}-01", "cc-" + "0" * 1000,
    ],
)  # fmt: skip
def test_any_other_traceparent_is_none(given):
    """https://www.w3.org/TR/trace-context/: what is not valid is not used."""
    request = context(headers=[(b"traceparent", given.encode())])
    assert (request.trace_id, request.parent_id, request.sampled) == (None, None, None)


def test_two_traceparents_are_none():
    """Even where they say the same."""
    assert context(headers=[(b"traceparent", PARENT.encode())] * 2).trace_id is None


def test_the_client_is_resolved_once_and_only_when_asked():
    """By the given resolver, from the peer and the headers."""
    calls = []

    def resolve(peer, headers):
        calls.append((peer, headers))

    request = RequestContext(scope(headers=[(b"a", b"b")]), resolve)
    assert calls == []
    assert request.client_ip is None
    assert request.client_ip is None
    assert calls == [("203.0.113.7", [(b"a", b"b")])]


@pytest.mark.parametrize(("client", "expected"), [(["203.0.113.7", 80], "203.0.113.7"), (None, None), (("x", 0), None)])
def test_the_resolver_of_this_library_fits(client, expected):
    """`ClientIPResolver().resolve` is what the constructor takes."""
    assert RequestContext(scope(client=client), ClientIPResolver().resolve).client_ip == expected


def test_a_scope_without_client_and_headers_says_nothing():
    """ASGI allows to leave the one out, and tests the other."""
    request = RequestContext({"type": "websocket"}, nobody)
    assert (request.client_ip, request.trace_id, len(request.request_id)) == (None, None, 32)


@pytest.mark.parametrize(
    ("members", "method"),
    [
        ({"method": "POST"}, "POST"),
        ({"method": "QUERY"}, "QUERY"),
        ({"method": "X" * 99}, "_OTHER"),
        ({"method": "get"}, "_OTHER"),
    ],
)
def test_a_made_up_method_is_no_label(members, method):
    """A client can send any word as the method."""
    assert context(**members).method == method


def test_a_websocket_is_a_get():
    """It begins as one."""
    assert RequestContext({"type": "websocket", "headers": []}, nobody).method == "GET"


def test_the_repr_shows_ids_only():
    """No path, no address, no header."""
    request = context(headers=[(b"x-request-id", b"abcdefgh"), (b"cookie", b"s=1"), (b"traceparent", PARENT.encode())])
    assert repr(request) == f"<RequestContext request_id='abcdefgh' trace_id='{TRACE}'>"


def test_the_current_request_is_the_one_of_the_block():
    """Also when blocks are nested, and when one raises."""
    outer, inner = context(), context()
    assert get_request_context() is None
    with request_scope(outer):
        with pytest.raises(KeyError), request_scope(inner):
            assert get_request_context() is inner
            raise KeyError
        assert get_request_context() is outer
        with request_scope(None):
            assert get_request_context() is None
    assert get_request_context() is None


def test_tasks_and_threads_of_a_request_know_it_and_others_do_not():
    """A task and a `to_thread` copy the context; a thread of its own has none."""
    request = context()
    elsewhere = []

    async def serve():
        with request_scope(request):
            task = asyncio.create_task(asyncio.to_thread(get_request_context))
            thread = threading.Thread(target=lambda: elsewhere.append(get_request_context()))
            thread.start()
            thread.join()
        assert get_request_context() is None
        return await task

    assert asyncio.run(serve()) is request
    assert elsewhere == [None]


async def endpoint(_request):
    return PlainTextResponse("ok")


async def socket_endpoint(websocket):
    await websocket.accept()


async def declared(value: int):
    return value


def starlette_app() -> Starlette:
    nested = [Route("/x/{y}", endpoint), Mount("/deep/{level}", routes=[Route("/z", endpoint)])]
    return Starlette(
        routes=[
            Route("/items/{id:int}", endpoint),
            WebSocketRoute("/live/{room}", socket_endpoint),
            Mount("/team/{name}", routes=nested),
            Mount("/static", app=PlainTextResponse("file")),
            Mount("/all/{rest:path}", app=PlainTextResponse("file")),
            Host("api.example", app=Starlette(routes=[Route("/hosted/{a}", endpoint)])),
            Mount("/open", routes=[Mount("", routes=[Mount("/in", routes=[Route("/{b}", endpoint)])])]),
        ]
    )


def fastapi_app() -> FastAPI:
    inner, outer = APIRouter(), APIRouter()
    inner.add_api_route("/in/{value}", declared)
    outer.include_router(inner, prefix="/mid")
    outer.add_route("/plain/{a}", endpoint)
    outer.mount("/mounted", starlette_app())
    outer.add_websocket_route("/socket/{a}", socket_endpoint)
    app = FastAPI()
    app.add_api_route("/orders/{value}", declared)
    app.include_router(outer, prefix="/v1/{tenant}")
    app.mount("/sub", starlette_app())
    below = FastAPI()
    below.include_router(inner, prefix="/p")
    app.mount("/below/{shop}", below)
    return app


def route_of(app, path, **members):
    """The route that the context tells once the application has answered."""
    seen = scope(path=path, root_path="", query_string=b"", scheme="http", server=("h", 80), **members)
    request = RequestContext(seen, nobody)
    assert request.route is None

    async def receive():
        return {"type": "websocket.connect" if seen["type"] == "websocket" else "http.request"}

    async def send(_message):
        pass

    asyncio.run(app(seen, receive, send))
    return request.route


WEBSOCKET = {"type": "websocket"}
tells_the_route = pytest.mark.skipif(
    tuple(map(int, version("starlette").split(".")[:2])) < (1, 10), reason="older Starlette names no route in the scope"
)


@tells_the_route
@pytest.mark.parametrize(
    ("path", "members", "route"),
    [
        ("/items/3", {}, "/items/{id:int}"),
        ("/items/3", {"method": "POST"}, "/items/{id:int}"),
        ("/live/7", WEBSOCKET, "/live/{room}"),
        ("/team/secret/x/1", {}, "/team/{name}/x/{y}"),
        ("/team/secret/deep/er/z", {}, "/team/{name}/deep/{level}/z"),
        ("/team/secret/nothing", {}, "/team/{name}"),
        ("/team/secret/deep/er/nothing", {}, "/team/{name}/deep/{level}"),
        ("/static/a/b.css", {}, "/static"),
        ("/all/a/b", {}, "/all/{rest:path}"),
        ("/open/in/1", {}, "/open/in/{b}"),
        ("/open/nothing", {}, "/open"),
        ("/hosted/1", {"headers": [(b"host", b"api.example")]}, "/hosted/{a}"),
    ],
)
def test_the_route_is_what_the_application_declared_in_starlette(path, members, route):
    """With the declared paths of all mounts on the way, never with what the client put into them."""
    assert route_of(starlette_app(), path, **members) == route


@pytest.mark.parametrize(
    ("path", "members", "route"),
    [
        ("/orders/3", {}, "/orders/{value}"),
        ("/orders/three", {}, "/orders/{value}"),
        ("/orders/3", {"method": "POST"}, "/orders/{value}"),
        ("/v1/acme/mid/in/3", {}, "/v1/{tenant}/mid/in/{value}"),
        pytest.param("/v1/acme/plain/3", {}, "/v1/{tenant}/plain/{a}", marks=tells_the_route),
        pytest.param("/v1/acme/socket/3", WEBSOCKET, "/v1/{tenant}/socket/{a}", marks=tells_the_route),
        # an included mount cannot be told, so neither can what is inside
        pytest.param("/v1/acme/mounted/items/4", {}, None, marks=tells_the_route),
        pytest.param("/sub/items/4", {}, "/sub/items/{id:int}", marks=tells_the_route),
        pytest.param("/sub/team/secret/x/1", {}, "/sub/team/{name}/x/{y}", marks=tells_the_route),
        ("/below/9/p/in/3", {}, "/below/{shop}/p/in/{value}"),
    ],
)
def test_the_route_is_what_the_application_declared_in_fastapi(path, members, route):
    """With the prefixes of the routers that include it and of the mounts on the way."""
    assert route_of(fastapi_app(), path, **members) == route


@pytest.mark.parametrize("app", [starlette_app, fastapi_app])
def test_what_matches_nothing_has_no_route(app):
    """The raw path is the client's word, not a route."""
    assert route_of(app(), "/nothing/here") is None


@tells_the_route
def test_the_root_path_of_the_server_is_no_part_of_the_route():
    """It is the deployment's, not the application's."""
    seen = scope(path="/api/team/secret/x/1", root_path="/api", query_string=b"", scheme="http", server=("h", 80))

    async def send(_message):
        pass

    asyncio.run(starlette_app()(seen, lambda: None, send))
    assert RequestContext(seen, nobody).route == "/team/{name}/x/{y}"


def test_a_mount_that_cannot_be_told_makes_no_route():
    """Rather none than the raw path or half of the declared one."""
    assert context(app_root_path="", root_path="/secret", route=Route("/x", endpoint), router=None).route is None
