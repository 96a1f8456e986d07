"""Hostile request headers and methods, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.integrations.hostile.marks import Words
from tests.integrations.hostile.rows import Header, Row, request

GOOD_IDS = (
    "abcdefgh", "ABC-123.x_y", "0" * 64, "........", "--------", "________", "550e8400-e29b-41d4-a716-446655440000",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV", "-.-.-.-.", "constructor",
)  # fmt: skip

BAD_IDS = (
    "", " ", "a", "1234567", "a" * 65, "-" * 500, "a" * 8000, "{550e8400-e29b-41d4-a716-446655440000}", "{..........}",
    "urn:uuid:550e8400-e29b-41d4-a716-446655440000", "a b c d e f g", "abcd\tefgh", "abcdefgh,ijklmnop", "abcd/efgh",
    "../../etc/passwd", "abcdefgh;x=1", "abcdefgh\"", "'abcdefgh'", "<script>alert(1)</script>", "${jndi:ldap://x/a}",
    "%0d%0aSet-Cookie:%20s=1", "abcdefgh%00", "\\r\\nabcdefgh", "abcd\x85efgh", "abcdefgh\xa0", "\xffabcdefgh",
    "\xe9t\xe9s-\xe9t\xe9s", "abcdefgh=", "abcdefgh+", "abcd:efgh", "abcd@efgh", "abcdefgh!", "abcd$efgh", "abcd&efgh",
    "abcd|efgh", "abcd`id`efgh", "abcd~efgh", "#abcdefgh", "?abcdefgh", "(abcdefgh)", "[abcdefgh]", "abcd\x80efgh",
    "\xef\xbc\x91" * 8, "abcdefgh\xe2\x80\xa8",
)  # fmt: skip

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD_TRACES = (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"01-{TRACE}-{SPAN}-01-more", f"cc-{TRACE}-{SPAN}-09")
BAD_TRACES = (
    "", "00", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-01-", f"00-{TRACE}-{SPAN}-01-more", f"ff-{TRACE}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01",
    f"00-{TRACE[:-1]}-{SPAN}-01",
    f"00-{TRACE}{SPAN}-01", f"0-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}-{SPAN}-zz",
    f"00 {TRACE} {SPAN}",
    f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01", "a" * 8000, f"00-{TRACE}-{SPAN}-01\x85", f"\xff0-{TRACE}-{SPAN}-01",
)  # fmt: skip

METHODS = ("TRACE", "OPTIONS", "PROPFIND", "get", "X" * 2000, "__INIT__", "GET'", "M-SEARCH", "QUERY")


def _header(name: str, target: str, *headers: Callable[[Words], Header], statuses: tuple[int, ...] = ()):
    return lambda words: Row(name, request(target, headers=[make(words) for make in headers]), statuses)


HEADERS: Iterable[Callable[[Words], Row]] = (
    _header("secret-authorization", "/nowhere", lambda w: ("Authorization", w.bearer), statuses=(404,)),
    _header("secret-basic", "/raise/dsn", lambda w: ("Authorization", f"Basic {w.secret}"), statuses=(500,)),
    _header("secret-cookie", "/raise/family", lambda w: ("Cookie", f"session={w.secret}; a={w.jwt}"), statuses=(404,)),
    _header("secret-cookie-validated", "/typed/1", lambda w: ("Cookie", f"session={w.secret}"), statuses=(422,)),
    _header("secret-header-validated", "/typed/1", lambda w: ("X-Count", w.dsn), statuses=(422,)),
    _header("header-validated-huge", "/typed/1", lambda w: ("X-Count", "9" * 5000), statuses=(422,)),
    _header("secret-request-id", "/nowhere", lambda w: ("X-Request-ID", w.bearer), statuses=(404,)),
    _header("secret-traceparent", "/raise/dsn", lambda w: ("traceparent", w.jwt), statuses=(500,)),
    _header("secret-forwarded", "/raise/dsn", lambda w: ("X-Forwarded-For", w.key), statuses=(500,)),
    _header("secret-language", "/nowhere", lambda w: ("Accept-Language", f"{w.key};q=1"), statuses=(404,)),
    _header("long-language", "/nowhere", lambda _: ("Accept-Language", "de;q=0.1," * 2000), statuses=(404,)),
    _header("secret-origin", "/raise/dsn", lambda w: ("Origin", f"https://u:{w.secret}@a.example"), statuses=(500,)),
    _header("origin", "/raise/dsn", lambda _: ("Origin", "https://app.example.com"), statuses=(500,)),
    _header("gzip", "/raise/huge-errors", lambda _: ("Accept-Encoding", "gzip"), statuses=(404,)),
    _header("gzip-of-a-validation", "/typed/x", lambda _: ("Accept-Encoding", "gzip, br"), statuses=(422,)),
    _header("very-long", "/raise/dsn", lambda w: ("X-Long", (w.dsn + " ") * 1000), statuses=(500,)),
    _header("thousand-headers", "/nowhere", *(
        lambda w, n=n: (f"X-{n}", w.jwt) for n in range(1000)
    ), statuses=(404,)),
    _header("user-agent", "/nowhere", lambda w: ("User-Agent", w.bearer), statuses=(404,)),
    _header("two-request-ids", "/nowhere", lambda _: ("X-Request-ID", "abcdefgh"),
            lambda _: ("X-Request-ID", "ijklmnop"), statuses=(404,)),
    _header("two-hosts-forwarded", "/nowhere", lambda w: ("X-Forwarded-Host", w.key), statuses=(404,)),
    _header("forwarded-proto", "/ok", lambda _: ("X-Forwarded-Proto", "javascript"), statuses=(200,)),
    _header("upgrade-to-nothing", "/ok", lambda _: ("Upgrade", "h2c"), lambda _: ("Connection", "Upgrade"),
            statuses=(200,)),
    _header("range", "/raise/dsn", lambda _: ("Range", "bytes=0-1"), statuses=(500,)),
    _header("if-none-match", "/raise/dsn", lambda _: ("If-None-Match", "*"), statuses=(500,)),
    *(
        lambda words, method=method: Row(
            f"method-{method[:9]}", request("/raise/dsn", method=method, headers=[("X-Secret", words.secret)]), (405,),
        )
        for method in METHODS
    ),
)  # fmt: skip
