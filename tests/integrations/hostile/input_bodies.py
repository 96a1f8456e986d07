"""Hostile request bodies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from tests.integrations.hostile.app import FORMS
from tests.integrations.hostile.marks import Words
from tests.integrations.hostile.rows import Row, request

JSON = "application/json"
BOUNDARY = "multipart/form-data; boundary=b"


def post(
    name: str,
    target: str,
    body: Callable[[Words], bytes | str | dict[str, Any]],
    *statuses: int,
    kind: str = JSON,
    code: str | None = None,
) -> Callable[[Words], Row]:
    """A row that posts a body."""

    def make(words: Words) -> Row:
        made = body(words)
        text = json.dumps(made) if isinstance(made, dict) else made
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return Row(name, request(target, method="POST", body=raw, kind=kind), statuses, code)

    return make


def _field(name: str, value: Callable[[Words], Any], **others: Any) -> Callable[[Words], Row]:
    def body(words: Words) -> dict[str, Any]:
        return {"name": "a", **others, name.partition(":")[0]: value(words)}

    return post(f"field-{name}", "/accounts", body, 422, code="VALIDATION_FAILED")


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"name": 1}
    for _ in range(depth):
        value = {"name": 1, "inner": value, "limit": "x", "amount": "x", "colour": "x"}
    return value


BODIES: Iterable[Callable[[Words], Row]] = (
    post("nan", "/accounts", lambda w: '{"name": "a", "limit": NaN}', 400, 422),
    post("infinity", "/accounts", lambda w: f'{{"name": "{w.secret}", "limit": -Infinity}}', 400, 422),
    post("overflow", "/numbers", lambda w: "[1e309]", 200, 422),
    post("nan-in-a-list", "/numbers", lambda w: "[NaN, Infinity]", 200, 400, 422),
    post("utf-16", "/accounts", lambda w: b'\xff\xfe{"name": "' + w.secret.encode() + b'"}', 400, 422),
    post("body-not-utf-8", "/accounts", lambda w: b'{"name": "\xff\xfe' + w.secret.encode() + b'"}', 400, 422),
    post("bom", "/accounts", lambda w: b"\xef\xbb\xbf{}", 400, 422),
    post("lone-surrogate", "/accounts", lambda w: f'{{"name": "\\ud800{w.secret}"}}', 400, 422),
    post("lone-surrogate-bytes", "/accounts", lambda w: f'{{"name": "\ud800{w.secret}"}}', 400, 422),
    post("lone-surrogate-key", "/accounts", lambda w: '{"name": "a", "\\udfff": 1}', 400, 422),
    post("nul", "/accounts", lambda w: f'{{"name": "\\u0000{w.secret}"}}', 422),
    post("int-of-5000-digits", "/accounts", lambda w: '{"name": "a", "limit": ' + "9" * 5000 + "}", 400, 422),
    post("int-of-4000-digits", "/accounts", lambda w: '{"name": "a", "limit": ' + "9" * 4000 + "}", 400, 422),
    post("float-of-5000-digits", "/numbers", lambda w: "[1." + "9" * 5000 + "]", 200, 400, 422),
    post("brackets", "/accounts", lambda w: "[" * 100_000, 400, 422),
    post("braces", "/accounts", lambda w: '{"a":' * 100_000, 400, 422),
    post("closed-brackets", "/numbers", lambda w: "[" * 100_000 + "]" * 100_000, 400, 422),
    post("long-string", "/accounts", lambda w: {"name": (w.dsn + " ") * 4000}, 422),
    post("long-key", "/accounts", lambda w: {"name": "a", w.secret * 10_000: 1}, 422),
    post("many-keys", "/accounts", lambda w: {"name": "a"} | {f"k{n}-{w.jwt}": n for n in range(3000)}, 422),
    post("many-bad-scores", "/accounts", lambda w: {"name": "a", "scores": {f"k{n}": w.dsn for n in range(3000)}}, 422),
    post("long-pointers", "/accounts", lambda w: _nested(60), 422),
    post("a-string", "/accounts", lambda w: json.dumps(w.dsn), 422),
    post("a-number", "/accounts", lambda w: "7", 422),
    post("null", "/accounts", lambda w: "null", 422),
    post("nothing", "/accounts", lambda w: "", 422),
    post("spaces", "/accounts", lambda w: " \r\n\t", 400, 422),
    post("half", "/accounts", lambda w: f'{{"name": "{w.secret}', 400, 422),
    post("two-documents", "/accounts", lambda w: f'{{"name": "{w.secret}"}} {{}}', 400, 422),
    post("comment", "/accounts", lambda w: f"/* {w.secret} */ {{}}", 400, 422),
    post("prototype", "/accounts", lambda w: {"__proto__": w.dsn, "constructor": w.dsn, "name": "a"}, 422),
    _field("name", lambda w: w.dsn),
    _field("name:jwt", lambda w: w.jwt),
    _field("name:list", lambda w: [w.dsn]),
    _field("name:bytes", lambda w: w.secret.encode().hex()),
    _field("limit", lambda w: w.dsn),
    _field("limit:great", lambda w: 10**30),
    _field("amount", lambda w: w.bearer),
    _field("scores", lambda w: {w.key: "x", w.dsn: "x", w.jwt: w.secret, "a.b": {w.secret: 1}}),
    _field("when", lambda w: w.dsn),
    _field("ident", lambda w: w.secret),
    _field("url", lambda w: f"http://u:{w.secret}@[::1"),
    _field("url:scheme", lambda w: f"postgresql://u:{w.secret}@h/d"),
    _field("colour", lambda w: w.secret),
    _field("pet", lambda w: {"kind": w.secret}),
    _field("pet:list", lambda w: [w.secret]),
    _field("pet:key", lambda w: {"kind": {w.secret: 1}}),
    _field("more", lambda w: w.dsn),
    *(
        post(f"echo-{how}", "/echo", lambda w, how=how: {"how": how, "value": f"it is\n{w.secret}"}, 422)
        for how in (
            "as-it-is", "repr", "upper", "word", "start", "strip", "assertion", "custom", "custom-without-context",
        )
    ),
    post("echo-list", "/echo", lambda w: {"how": "repr", "value": [[[[[[w.secret]]]]]]}, 422),
    post("echo-dict-key", "/echo", lambda w: {"how": "as-it-is", "value": {w.secret: 1}}, 422),
    post("echo-behind-a-long-text", "/echo", lambda w: {"how": "word", "value": "a " * 5000 + w.secret}, 422),
    post("echo-of-an-unknown-kind", "/echo", lambda w: {"how": w.secret, "value": 1}, 422, 500),
)  # fmt: skip

TYPES: Iterable[Callable[[Words], Row]] = tuple(
    post(f"type-{kind or 'none'}", "/accounts", lambda w: f'{{"name": "{w.secret}"}}', 400, 415, 422, kind=kind)
    for kind in (
        "", "text/plain", "application/xml", "application/JSON; charset=utf-16", "application/json; charset=nonsense",
        "application/x-www-form-urlencoded", BOUNDARY, "multipart/form-data", "application/problem+json", ";;;", "\xff",
        "application/json" + "a" * 3000, "multipart/form-data; boundary=" + "b" * 3000,
    )
)  # fmt: skip


def _part(head: str, content: str, end: str = "\r\n--b--\r\n") -> Callable[[Words], bytes]:
    return lambda w: f"--b\r\n{head}\r\n\r\n{content}{w.secret}{end}".encode()


_NAMED = 'Content-Disposition: form-data; name="file"; filename="a"'

UPLOADS: Iterable[Callable[[Words], Row]] = () if not FORMS else (
    post("upload-as-json", "/upload", lambda w: {"file": w.secret}, 400, 422),
    post("upload-without-boundary", "/upload", _part(_NAMED, "x"), 400, 422, kind="multipart/form-data"),
    post("upload-other-boundary", "/upload", _part(_NAMED, "x"), 400, 422, kind="multipart/form-data; boundary=c"),
    post("upload-cut-off", "/upload", _part(_NAMED, "x", ""), 200, 400, 422, kind=BOUNDARY),
    post("upload-no-disposition", "/upload", _part("X: y", "x"), 400, 422, kind=BOUNDARY),
    post("upload-bad-header", "/upload", _part("\x00\x01: \x02", "x"), 400, 422, kind=BOUNDARY),
    post("upload-no-name", "/upload", _part("Content-Disposition: form-data", "x"), 400, 422, kind=BOUNDARY),
    post("upload-many-parts", "/upload", lambda w: b"--b\r\n\r\n\r\n" * 3000 + b"--b--\r\n", 400, 422, kind=BOUNDARY),
    post("form-many", "/form", lambda w: b"a=1&" * 3000, 400, 422, kind="application/x-www-form-urlencoded"),
    post("form-secret", "/form", lambda w: f"name={w.secret * 9}&age={w.secret}".encode(), 422,
         kind="application/x-www-form-urlencoded"),
    post("form-percent", "/form", lambda w: b"name=%ff%fe%&age=%00", 400, 422,
         kind="application/x-www-form-urlencoded"),
)  # fmt: skip
