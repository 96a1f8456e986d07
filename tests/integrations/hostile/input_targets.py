"""Hostile paths and queries, framing that HTTP forbids, and clients that go before they are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.integrations.hostile.marks import Words
from tests.integrations.hostile.rows import Row, request


def _get(name: str, target: Callable[[Words], str], *statuses: int, method: str = "GET") -> Callable[[Words], Row]:
    return lambda words: Row(name, request(target(words), method=method), statuses)


TARGETS: Iterable[Callable[[Words], Row]] = (
    _get("secret-jwt-in-a-path", lambda w: f"/reset/{w.jwt}", 404),
    _get("secret-key-in-a-path", lambda w: f"/keys/{w.key}/x", 404),
    _get("secret-in-a-query", lambda w: f"/nowhere?token={w.secret}&a=1", 404),
    _get("secret-in-a-query-of-a-bug", lambda w: f"/raise/dsn?api_key={w.secret}", 500),
    _get("secret-in-a-query-of-an-answer", lambda w: f"/ok?access_token={w.secret}&password={w.secret}", 200),
    _get("secret-dsn-in-a-path", lambda w: f"/go/{w.dsn}", 404),
    _get("secret-dsn-in-a-query", lambda w: f"/ok?to={w.dsn}", 200),
    _get("secret-path-validated", lambda w: f"/typed/{w.key}", 422),
    _get("secret-query-validated", lambda w: f"/typed/1?limit={w.jwt}", 422),
    _get("secret-in-a-fragment", lambda w: f"/ok#token={w.secret}"),
    _get("wrong-date", lambda w: "/typed/1?when=yesterday", 422),
    _get("huge-number", lambda w: "/typed/" + "9" * 5000, 422),
    _get("huge-query-number", lambda w: "/typed/1?limit=" + "9" * 5000, 422),
    _get("number-in-full-width", lambda w: "/typed/%EF%BC%91", 200, 422),
    _get("no-number", lambda w: "/typed/NaN?limit=Infinity", 422),
    _get("crlf-in-the-path", lambda w: "/nowhere%0d%0aSet-Cookie:%20s=1", 404),
    _get("crlf-in-the-query", lambda w: "/nowhere?a=%0d%0a%0d%0a<script>", 404),
    _get("crlf-in-a-parameter", lambda w: "/typed/1%0d%0aX:%20y", 422),
    _get("nul-in-the-path", lambda w: "/nowhere%00", 404),
    _get("nul-in-a-parameter", lambda w: "/typed/%00?limit=%00", 422),
    _get("dots", lambda w: "/../../../etc/passwd", 404),
    _get("encoded-dots", lambda w: "/%2e%2e/%2e%2e/etc/passwd", 404),
    _get("encoded-slash", lambda w: "/typed%2f1", 200, 404),
    _get("dots-into-a-mount", lambda w: "/inner/../ok", 404),
    _get("backslashes", lambda w: "/..%5c..%5cwindows", 404),
    _get("double-encoding", lambda w: "/%252e%252e%252fok", 404),
    _get("long-path", lambda w: "/" + "a" * 8000, 404),
    _get("long-path-of-a-bug", lambda w: "/raise/dsn?" + "a" * 8000, 500),
    _get("long-path-of-many-parts", lambda w: "/a" * 4000, 404),
    _get("many-parameters", lambda w: "/typed/1?" + "limit=x&" * 1500, 422),
    _get("empty-parameters", lambda w: "/typed/1?&&&=&=&limit", 422, 200),
    _get("unicode", lambda w: "/%F0%9F%98%80/%E2%80%AE/%E2%80%A8", 404),
    _get("not-utf-8", lambda w: "/%ff%fe%80", 404),
    _get("surrogate", lambda w: "/%ED%A0%80", 404),
    _get("half-an-escape", lambda w: "/nowhere%/%4/%zz", 404),
    _get("escapes-of-a-terminal", lambda w: "/%1b%5b31m%07%08", 404),
    _get("format", lambda w: "/%25s%25d%7B0%7D%7Bname%7D", 404),
    _get("template", lambda w: "/$%7Bjndi:ldap://x/a%7D?q={{7*7}}", 404),
    _get("absolute", lambda w: "http://other.example/ok"),
    _get("double-slash", lambda w: "//other.example/nowhere", 404),
    _get("asterisk", lambda w: "*", 400, 404, 405, method="OPTIONS"),
    _get("slash-redirect", lambda w: "/ok/?page=1", 307),
    _get("empty-mount", lambda w: "/inner", 307, 404),
    _get("version", lambda w: "/ok HTTP/9.9\r\nX-Rest:", 200),
    _get("nothing-in-the-mount", lambda w: "/inner/nowhere", 404),
    _get("head-of-nothing", lambda w: f"/nowhere?token={w.secret}", 404, method="HEAD"),
    _get("head-of-a-bug", lambda w: "/raise/dsn", 500, method="HEAD"),
    _get("head-of-an-error", lambda w: "/raise/family", 404, method="HEAD"),
    _get("head-of-a-wrong-method", lambda w: "/ok", 405, method="HEAD"),
)

_NO_HTTP = "the server answers and ends the connection: this is not HTTP"


def _wrong(name: str, raw: Callable[[Words], bytes], *, ends: bool = False) -> Callable[[Words], Row]:
    return lambda words: Row(name, raw(words), (400, 431), bare=_NO_HTTP, closes=_NO_HTTP, ends=ends)


def _lines(*lines: str) -> Callable[[Words], bytes]:
    return lambda words: ("\r\n".join(lines).replace("SECRET", words.bearer) + "\r\n\r\n").encode("latin-1")


POST = "POST /accounts HTTP/1.1"
HOST = "Host: a"
CHUNKED = "Transfer-Encoding: chunked"

FRAMING: Iterable[Callable[[Words], Row]] = (
    _wrong("no-http", _lines("SECRET")),
    _wrong("tls", lambda w: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + w.secret.encode() + b"\r\n\r\n"),
    _wrong("no-host", _lines("GET /ok HTTP/1.1", "Authorization: SECRET")),
    _wrong("two-hosts", _lines("GET /ok HTTP/1.1", HOST, HOST)),
    _wrong("raw-crlf-in-an-id", _lines("GET /ok HTTP/1.1", HOST, "X-Request-ID: abcdefgh\r\nSECRET")),
    _wrong("raw-nul-in-an-id", _lines("GET /ok HTTP/1.1", HOST, "X-Request-ID: abcdefgh\x00SECRET")),
    _wrong("bare-cr-in-an-id", _lines("GET /ok HTTP/1.1", HOST, "X-Request-ID: abcdefgh\rSECRET")),
    _wrong("raw-utf-8-in-the-target", _lines("GET /\xc3\xa9t\xc3\xa9 HTTP/1.1", HOST)),
    _wrong("space-in-the-target", _lines("GET /a b c HTTP/1.1", HOST)),
    _wrong("space-in-a-name", _lines("GET /ok HTTP/1.1", HOST, "X Secret: SECRET")),
    _wrong("space-before-a-colon", _lines("GET /ok HTTP/1.1", HOST, "Content-Length : 5")),
    _wrong("empty-name", _lines("GET /ok HTTP/1.1", HOST, ": SECRET")),
    _wrong("length-no-number", _lines(POST, HOST, "Content-Length: SECRET")),
    _wrong("length-negative", _lines(POST, HOST, "Content-Length: -1")),
    _wrong("length-with-a-sign", _lines(POST, HOST, "Content-Length: +5")),
    _wrong("two-lengths", _lines(POST, HOST, "Content-Length: 2", "Content-Length: 3")),
    _wrong("encoding-unknown", _lines(POST, HOST, "Transfer-Encoding: gzip, chunked")),
    _wrong("control-in-the-method", _lines("GE\x01T /ok HTTP/1.1", HOST)),
)

_GONE = "the client announced more and closed: there is nobody to answer"
_ODD = "the rest of what came is not HTTP, so the server ends the connection"
_ASKED = "HTTP ends it: the client asked for that"
_JSON = "Content-Type: application/json"


def _chunks(*chunks: bytes) -> Callable[[Words], bytes]:
    head = f"{POST}\r\n{HOST}\r\n{_JSON}\r\n{CHUNKED}\r\n\r\n".encode()
    return lambda words: (head + b"".join(chunks)).replace(b"SECRET", words.secret.encode())


def _body(name: str, raw: Callable[[Words], bytes], *statuses: int, **expected: Any) -> Callable[[Words], Row]:
    return lambda words: Row(name, raw(words), statuses, **expected)


CHUNKS: Iterable[Callable[[Words], Row]] = (
    _body("chunks-of-a-byte", _chunks(*(b"1\r\n%c\r\n" % byte for byte in b'{"name": 1}'), b"0\r\n\r\n"), 422),
    _body("chunk-extension", _chunks(b'b;a="SECRET"\r\n{"name": 1}\r\n', b"0\r\n\r\n"), 422),
    _body("trailer", _chunks(b'b\r\n{"name": 1}\r\n', b"0\r\nX-Secret: SECRET\r\n\r\n"), 422),
    _body("leading-zeros", _chunks(b'0000b\r\n{"name": 1}\r\n', b"0\r\n\r\n"), 422),
    _body("chunk-size-no-number", _chunks(b"SECRET\r\n{}\r\n0\r\n\r\n"), 400, bare=_NO_HTTP, closes=_NO_HTTP),
    _body("chunk-size-negative", _chunks(b"-1\r\n{}\r\n0\r\n\r\n"), 400, bare=_NO_HTTP, closes=_NO_HTTP),
    _body("chunk-too-long", _chunks(b"2\r\n{}SECRET\r\n0\r\n\r\n"), 400, bare=_NO_HTTP, closes=_NO_HTTP),
    _body("chunks-cut-off", _chunks(b"ff\r\nSECRET"), aborted=_GONE, closes=_GONE, ends=True),
    _body("length-too-great", lambda w: request("/accounts", method="POST", headers=[("Content-Length", "99999")])
          + w.secret.encode(), aborted=_GONE, closes=_GONE, ends=True),
    _body("length-too-small", _lines(POST, HOST, _JSON, "Content-Length: 2\r\n\r\n{}SECRET"), 422, closes=_ODD),
    _body("length-and-chunks", _lines(POST, HOST, _JSON, "Content-Length: 3", CHUNKED + "\r\n\r\n0"), 422),
    _body("expects-a-go-ahead", lambda w: request(
        "/accounts", method="POST", headers=[("Expect", "100-continue")], body=b"{}", kind="application/json",
    ), 422),
    _body("http-1.0", _lines("GET /raise/dsn HTTP/1.0", "Authorization: SECRET"), 500, closes=_ASKED),
    _body("connection-close", _lines("GET /raise/dsn HTTP/1.1", HOST, "Connection: close"), 500, closes=_ASKED),
)  # fmt: skip
