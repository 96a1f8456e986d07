"""Random requests over a socket: always a whole answer, never a fault of the server's, never an echo."""

from __future__ import annotations

import string

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integrations.hostile.rows import request
from tests.integrations.hostile.wire import Connection

NASTY = "\x80\x85\xa0\xff\"'`${}[]()<>|\\^~;:,=&?#@!*+-._ %/0aZ\t"
JSON_BITS = ["{", "}", "[", "]", ",", ":", '"', "null", "NaN", "1e999", "-0", '"name"', '"limit"', '"\\ud800"', "\x00"]
TEXTS = st.text(NASTY, max_size=40)
MARKS = st.text(string.ascii_letters + string.digits, min_size=16, max_size=24).map("mark".__add__)
NAMES = ("Cookie", "Authorization", "X-Count", "X-Request-ID", "X-Forwarded-For", "Forwarded", "traceparent", "Accept",
         "Accept-Language", "Origin", "Content-Type", "If-None-Match", "Range", "X-Custom", "User-Agent")  # fmt: skip
TARGETS = (
    "/ok",
    "/typed/",
    "/typed/1?limit=",
    "/typed/1?when=",
    "/accounts",
    "/echo",
    "/numbers",
    "/read",
    "/inner/",
    "/",
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "FOO", "get"])


@st.composite
def requests(draw):
    """A mark, and a request with valid framing that carries it."""
    mark = draw(MARKS)
    put = st.one_of(TEXTS, TEXTS.map(lambda text: f"{text}{mark}"))
    target = draw(st.sampled_from(TARGETS)) + draw(st.text("/%0aZ.~_-=&?+:@!$'()*,;", max_size=30))
    target += draw(st.sampled_from(["", mark, f"%20{mark}", f"?token={mark}"]))
    headers = [(name, f"/{draw(put).strip()}") for name in draw(st.lists(st.sampled_from(NAMES), max_size=5))]
    pieces = st.one_of(st.sampled_from(JSON_BITS), st.just(f'"{mark}"'), TEXTS)
    body = "".join(draw(st.lists(pieces, max_size=12))).encode("utf-8", "surrogatepass")
    method = draw(METHODS)
    return mark, request(
        target, method=method, headers=headers, body=None if method in {"GET", "HEAD"} else body,
        kind=draw(st.sampled_from(["", "application/json", "text/plain", "application/x+json; charset=x"])),
    )  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=requests())
def test_random_requests_are_answered(server, drawn):
    """Validation is the client's fault, never a 500; what was sent does not come back."""
    mark, raw = drawn
    with Connection(server.port) as connection:
        answer = connection.exchange(raw)
        assert answer.whole
        assert answer.status is not None
        assert answer.status < 500
        assert mark.encode() not in answer.raw or answer.status in {307, 308}  # a redirect repeats the client's query
        if answer.status >= 400 and answer.header("content-type") != "text/plain; charset=utf-8":
            assert answer.header("content-type") == "application/problem+json"
        if answer.header("connection") != "close":
            assert connection.exchange(request("/ok")).status == 200
