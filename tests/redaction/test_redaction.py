"""The redactor: secrets are gone, what is left is plain, bounded and harmless."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import json
import re
import sys
import time
import types
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creatormate_resilience.redaction import REDACTED, TRUNCATED, Redactor, plain, redact, redact_text, redact_url

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"
SECRETS_IN_TEXT = [
    ("postgresql://app:hunter2@db.example:5432/x refused", "hunter2"),
    ("redis://:hunter2@cache/0", "hunter2"),
    ("redis://:hun@ter2@cache/0", "ter2"),
    ("redis://:hun/ter2@cache/0", "ter2"),
    ("amqp://u:hun?ter2#x@h", "ter2"),
    (f"token was {JWT} today", "dozjg"),
    (f"{'eyJ' + 'a' * 50}.{'b' * 3000}.{'c' * 900}tail", "tail"),
    ("Authorization: Bearer abcdef.123-456", "abcdef"),
    ("AUTHORIZATION: BEARER abcdef.123-456", "abcdef"),
    ("authorization: basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
    ("using sk-proj-abcDEF123456", "abcDEF"),
    (f"using sk-{'a' * 300}tail", "tail"),
    ("pushed with ghp_abcdefghijklmnopqrstuvwxyz0123", "abcdefghij"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEhunter2\n-----END RSA PRIVATE KEY-----", "hunter2"),
    ("GET /x?api_key=hunter2&page=2", "hunter2"),
    ("password=hunter2", "hunter2"),
    ("(password=hunter2)", "hunter2"),
    ("x-session-id=hunter2;", "hunter2"),
    (f"token={'a' * 2000}tail", "tail"),
    ('{"password": "hunter2", "page": 2}', "hunter2"),
    ("{'api_key':'hunter2'}", "hunter2"),
    ("write to jane.doe@example.com please", "jane.doe"),
    ("paid with 4111 1111 1111 1111 now", "1111 1111"),
    ("paid with 4111-1111-1111-1111.", "1111-1111"),
]
HARMLESS = [
    "order 12345678901234 shipped",
    "took 12.5 s, 3 of 5 attempts",
    "https://api.example/v1/items?page=2",
    "redis://cache.example:6379/0",
    "key=value",
    "the task is done",
]
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.decimals(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner)
        | st.frozensets(st.text())
        | st.tuples(inner)
    ),
)
SECRETIVE_TEXT = st.lists(
    st.sampled_from(
        ["a", "4111", " ", "-", "1", "@", ".c", "://", "eyJ", "=", "token", "password", "'", '"', ":", "bearer ", "sk-",
         "/", "?", "[REDACTED]", "[TRUNCATED]", "-----BEGIN PRIVATE KEY-----", "AKIA", "\ud800", "x" * 20]
    )
).map("".join)  # fmt: skip


@pytest.mark.parametrize(("text", "secret"), SECRETS_IN_TEXT)
def test_secrets_in_text_are_replaced(text, secret):
    """What looks like a secret is gone, in text and in values; the rest of the text stays."""
    assert secret not in redact_text(text)
    assert REDACTED in redact_text(text)
    assert secret not in str(redact({"message": [text]}))


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_left_alone(text):
    """An order number is no card number, and a URL without a password may be read."""
    assert redact_text(text) == text


def test_the_context_of_a_secret_stays_readable():
    """An operator still sees which host, and which parameter."""
    assert redact_text("postgresql://app:hunter2@db:5432/x") == f"postgresql://{REDACTED}@db:5432/x"
    assert redact_text("GET /x?api_key=hunter2&page=2") == f"GET /x?api_key={REDACTED}&page=2"
    assert redact_text('{"password": "hunter2", "page": 2}') == f'{{"password": "{REDACTED}", "page": 2}}'


@pytest.mark.parametrize(
    "key",
    ["password", "PASSWORD", "db-password", "api key", "apikey", "X-Api-Key", "Authorization", "set-cookie",
     "session_id", "private_key", "aws_secret_access_key", "dsn", "connection_string", "card_number", "cvv", "pin",
     "otp", "auth", b"password", enum.Enum("Key", {"P": "password"}).P],
)  # fmt: skip
def test_values_under_secret_keys_are_replaced(key):
    """Whatever the value is, and however the key is written."""
    assert "hunter2" not in json.dumps(redact({"outer": [{key: {"deep": "hunter2"}}]}))


@pytest.mark.parametrize("name", ["x-api-key", "Authorization", b"cookie", "b'set-cookie'", "password"])
@pytest.mark.parametrize("kind", [list, tuple])
def test_values_in_pairs_under_secret_names_are_replaced(name, kind):
    """Headers and form fields come as pairs; how long a token lives may be read."""
    shown = redact({"headers": [kind([name, "Zq38c69ac1"]), kind(["accept", "text/html"]), kind(["token_ttl", 60])]})
    assert "Zq38c69ac1" not in str(shown)
    assert shown["headers"][1:] == [["accept", "text/html"], ["token_ttl", 60]]
    assert redact(shown) == shown


def test_a_key_that_is_a_secret_is_replaced():
    """A token used as a key of a mapping is a token."""
    assert JWT not in json.dumps(redact({JWT: 1}))


@given(DATA)
def test_any_value_becomes_strict_json(value):
    """Never raises; no NaN, no lone surrogate, no huge integer."""
    for result in (redact(value), plain(value)):
        json.dumps(result, allow_nan=False, ensure_ascii=False).encode("utf-8")


@given(DATA)
def test_redacting_again_changes_nothing(value):
    """The log's redactor may see what the error's redactor has seen."""
    assert redact(redact(value)) == redact(value)
    assert plain(plain(value)) == plain(value)


@given(SECRETIVE_TEXT)
def test_redacting_text_again_changes_nothing(text):
    """Also where the pieces of secrets stand close together."""
    once = redact_text(text)
    assert redact_text(once) == once


@given(st.text(alphabet="ab ", min_size=0, max_size=60), st.integers(5, 30))
def test_cut_text_is_bounded_and_stays_as_it_is(text, limit):
    """What is over the limit is cut and says so, once."""
    once = redact_text(text, limit)
    assert len(once) <= limit + len(TRUNCATED)
    assert once.endswith(TRUNCATED) == (len(text) > limit)
    assert redact_text(once, limit) == once


class Raising(Mapping[str, object]):
    """Fails wherever it is touched."""

    def __getitem__(self, key: str) -> object:
        raise RuntimeError("no")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no")

    def __len__(self) -> int:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        return "hunter2"


class Endless(Mapping[str, int]):
    """Has no last item, and counts how many were taken."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.taken = 0

    def __getitem__(self, key: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        while True:
            self.taken += 1
            yield f"{self.key}{self.taken}"

    def __len__(self) -> int:
        return sys.maxsize


class LyingDate(datetime.date):
    """Fails whoever prints it."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("hostile", [Raising(), LyingDate(2020, 1, 1)], ids=lambda value: type(value).__name__)
def test_one_hostile_value_does_not_hide_its_neighbours(hostile):
    """It is named by its type; the rest of the record is still told."""
    assert redact({"a": 1, "bad": hostile, "z": [2]}) == {"a": 1, "bad": f"[{type(hostile).__name__}]", "z": [2]}


@pytest.mark.parametrize("key", ["item", "token"])
def test_an_endless_mapping_costs_bounded_time(key):
    """The budget counts every entry, also those under secret keys."""
    endless = Endless(key)
    result = redact({"a": endless})
    assert endless.taken <= Redactor().max_nodes + 1
    assert result["a"][TRUNCATED] == TRUNCATED


def test_objects_appear_by_type_never_by_repr():
    """A repr may show anything."""
    value = {"o": object(), "e": ValueError("hunter2"), "b": b"hunter2", "m": types.SimpleNamespace(password="hunter2")}
    assert redact(value) == {"o": "[object]", "e": "[ValueError]", "b": "[bytes]", "m": "[SimpleNamespace]"}


def test_well_known_values_are_told_as_text():
    """Dates, decimals, ids and enumerations are data; long ones are cut like any text."""
    number = uuid.UUID("6f9619ff-8b86-d011-b42d-00cf4fc964ff")
    value = [datetime.date(2020, 1, 2), decimal.Decimal("1.50"), number, enum.IntEnum("Colour", "RED").RED]
    assert redact(value) == ["2020-01-02", "1.50", str(number), 1]
    assert len(redact(decimal.Decimal("1" * 100_000))) <= 4096 + len(TRUNCATED)


def test_depth_items_and_cycles_are_cut():
    """Each budget leaves a mark where it struck."""
    deep: Any = "bottom"
    for _ in range(3000):
        deep = [deep]
    assert TRUNCATED in json.dumps(redact(deep))
    assert "bottom" not in json.dumps(redact(deep))
    assert redact(list(range(1000)))[-1] == TRUNCATED
    assert len(redact(list(range(1000)))) == 201
    ring: list[Any] = [1]
    ring.append(ring)
    assert redact(ring) == [1, "[CYCLE]"]
    shared = [1]
    assert redact([shared, shared]) == [[1], [1]]


def test_plain_keeps_what_looks_like_a_secret():
    """What an application has declared public is only flattened and bounded."""
    assert plain({"token": "page-2", "mail": "a@b.example"}) == {"token": "page-2", "mail": "a@b.example"}


@pytest.mark.parametrize(
    "piece",
    ["a@", "a.", "eyJ", "eyJ-", "://", "a://", "a://b", "1 ", "1-", "11", "token=", "token", "'token':", "bearer ",
     "-----BEGIN ", "sk-", "AKIA", "a://a:a", "@@", "x@a.", "=", "password", "password-", "-----BEGIN PRIVATE KEY-----",
     "PRIVATE KEY-----", "-----END PRIVATE KEY", "_", "-", ".", "%40", "a%40", "%3A%2F%2F", "4111 1111 1111 1111 ", "4",
     "4-", "cookie: a;", "authorization: a ", "password '", "identified by ", "identified with a ", "'password': '",
     "\\", "password=\"\\", "password=\"''", "secrets=[", "tokens=1 ", "eyJ.", "SG.", "xoxb-", "ghp_", "sk_", "basic ",
     "\ud800", "é", "@example.com", "a.b@c.d", "key", "api_", "\n", "password=[REDACTED]"],
)  # fmt: skip
def test_hostile_text_costs_linear_work(piece):
    """Four times the hostile text costs about four times the work, where a quadratic pattern would take sixteen."""
    redactor = Redactor(max_text=1_000_000)

    def cost(size: int) -> float:
        text = piece * (size // len(piece))
        return min(_seconds_of(redactor, text) for _ in range(3))

    small, large = cost(8000), cost(32_000)
    assert large <= 12 * small + 0.01  # linear is 4, quadratic 16


def _seconds_of(redactor: Redactor, text: str) -> float:
    start = time.thread_time()
    redactor.redact(text)
    return time.thread_time() - start


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:hunter2@cache:6379/0?ssl=1#x", "redis://cache:6379/0"),
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("unix:///run/redis.sock?password=hunter2", "unix:///run/redis.sock"),
        ("postgresql+asyncpg://u:hunter2@[::1]:5432/x", "postgresql+asyncpg://[::1]:5432/x"),
        ("redis://h1:1,h2:2/0", "redis://h1:1,h2:2/0"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    """Scheme, host, port and path are what an operator needs."""
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    "url",
    ["redis://:hun/ter2@h:1/0", "redis://u:hun?ter2@h", "redis://u:hun#ter2@h", "redis://u:hun@ter2@h",
     "redis://u:12/hunter2@h", "u:hunter2@h", "redis:/u:hunter2@h", "redis://a:hunter2@h1,redis://b:hunter2@h2",
     "://u:hunter2@h", "redis://u:hunter2@", "redis://hunter2@h?x=hunter2"],
)  # fmt: skip
def test_a_malformed_url_shows_no_password_either(url):
    """A password with a slash is the commonest mistake there is, and its URL lands in an error message."""
    shown = redact_url(url)
    assert not re.search("hun|ter2", shown)


@given(st.text())
def test_showing_a_url_never_raises(text):
    """Whatever was given as a URL, and without showing what stands before the last @."""
    shown = redact_url(text)
    assert "@" not in text or len(shown) <= len(text) + len(REDACTED)


def test_ordered_containers_keep_their_order():
    """A record is read from top to bottom."""
    assert list(redact(collections.OrderedDict(b=1, a=2))) == ["b", "a"]
