"""Problem documents: what leaves the process, and what is believed of what comes in."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creatormate_resilience.exceptions import (
    CircuitOpenError,
    NotFoundError,
    RateLimitExceededError,
    ResilienceError,
    parse_retry_after,
)


class Unprintable:
    """Fails whoever prints it."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


def sent(document: dict[str, Any]) -> dict[str, Any]:
    """The document as strict JSON in UTF-8, and back."""
    return json.loads(json.dumps(document, allow_nan=False, ensure_ascii=False).encode("utf-8"))


def cycle() -> list[Any]:
    """A list in itself."""
    ring: list[Any] = []
    ring.append(ring)
    return ring


def deep(levels: int = 5000) -> Any:
    """Lists in lists."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


HOSTILE = [
    float("nan"), float("inf"), 2**80, -(10**400), "\ud800", "\x00\x1b[31m", b"\xff", cycle(), deep(), Unprintable(),
    {Unprintable(): 1}, {"\ud800": "\udfff"}, {2**80: 1, float("nan"): 2, None: 3, (): 4}, {1, 2}, range(10**9), object,
    "x" * 100_000,
]  # fmt: skip


def test_a_round_trip_is_the_identity(error_type, make_error):
    """A trusted peer's document becomes the same error again: type, code, status, messages, public data, advice, id."""
    error = make_error(error_type, "why", public={"limit": 3}, errors=[{"pointer": "#/a", "code": "X"}])
    document = sent(error.to_problem(domain="orders", request_id="r-1"))
    other = ResilienceError.from_problem(document, trusted_domain="orders")
    assert type(other) is error_type
    assert (other.code, other.status_code, other.user_message) == (error.code, error.status_code, error.user_message)
    assert (other.public, other.errors, other.error_id) == (error.public, error.errors, error.error_id)
    assert (other.retryable, other.retry_after) == (error.retryable, error.retry_after)
    assert sent(other.to_problem(domain="orders", request_id="r-1")) == document
    assert isinstance(str(other), str)


def test_nothing_internal_is_in_a_document(error_type, make_error):
    """Neither detail nor context nor a cause's text is rendered, for any type."""
    error = make_error(error_type, "SECRET detail", context={"SECRET": "SECRET"})
    error.__cause__ = ValueError("SECRET")
    if isinstance(error, CircuitOpenError):
        assert error.last_failure == "SECRET detail"
    assert "SECRET" not in json.dumps(error.to_problem(type_base_uri="https://e/", domain="d", request_id="r"))


def test_a_document_has_the_members_of_rfc_9457():
    """Type, title, status, detail and instance, and our own extensions."""
    document = NotFoundError("x", error_id="1").to_problem(type_base_uri="https://e.example/errors/")
    assert document["type"] == "https://e.example/errors/resource-not-found"
    assert (document["title"], document["status"]) == ("Not Found", 404)
    assert (document["instance"], document["code"]) == ("urn:uuid:1", "RESOURCE_NOT_FOUND")
    assert NotFoundError().to_problem()["type"] == "about:blank"


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: type(value).__name__)
def test_rendering_never_fails(value):
    """Whatever the application put into an error, strict JSON goes out, and not much of it."""
    error = ResilienceError("x", public={"value": value, "good": 1}, errors=[{"value": value}])
    error.user_message = value
    error._retry_after = value
    error._error_id = value
    document = sent(error.to_problem(domain=value, request_id=value))
    assert document["context"]["good"] == 1
    assert "no text for you" not in str(document)
    assert len(json.dumps(document)) < 60_000


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_rendering_any_data_gives_strict_json(value):
    """The property behind the examples above."""
    sent(ResilienceError("x", public={"value": value}).to_problem())


@pytest.mark.parametrize("domain", ["orders", "orders.evil", "", None, 7, ["billing"]])
def test_a_document_of_another_domain_is_refused(domain):
    """Only the domain that the caller trusts may decide which error is raised here."""
    document = NotFoundError().to_problem() | {"domain": domain}
    with pytest.raises(ValueError, match="billing"):
        ResilienceError.from_problem(document, trusted_domain="billing")


@pytest.mark.parametrize("document", [[], "x", None, 7])
def test_what_is_no_document_is_refused(document):
    """JSON may be anything."""
    with pytest.raises(TypeError, match="accepted is a mapping"):
        ResilienceError.from_problem(document, trusted_domain="d")
    with pytest.raises(TypeError, match="accepted is the peer's domain"):
        ResilienceError.from_problem({}, trusted_domain=None)


def test_an_unknown_code_is_an_error_of_the_root_type():
    """A peer with newer codes is understood as far as possible."""
    error = ResilienceError.from_problem({"code": "BRAND_NEW", "detail": "Hm."}, trusted_domain="*")
    assert type(error) is ResilienceError
    assert error.user_message == "Hm."


@pytest.mark.parametrize("value", [*HOSTILE, "1", True, [], {}], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("member", ["code", "detail", "context", "errors", "retryable", "retry_after", "error_id"])
def test_a_hostile_member_is_survived(member, value):
    """What is not of the expected kind is left out, and the error can be rendered again."""
    document = {"code": "RATE_LIMIT_EXCEEDED", "domain": "d", member: value}
    error = ResilienceError.from_problem(document, trusted_domain="d")
    assert error.retry_after is None or 0 <= error.retry_after <= 3600
    sent(error.to_problem())


def test_a_wait_from_outside_is_clamped():
    """A peer cannot make us wait longer than an hour."""
    document = RateLimitExceededError().to_problem() | {"retry_after": 1e9}
    assert ResilienceError.from_problem(document, trusted_domain="*").retry_after == 3600.0


def test_a_large_document_is_refused():
    """More members than any of ours has is not ours."""
    with pytest.raises(ValueError, match="members"):
        ResilienceError.from_problem({str(number): 1 for number in range(33)}, trusted_domain="*")


def test_a_subclass_with_required_arguments_can_be_rebuilt():
    """Its constructor is not called; its class attributes speak."""

    class SeatTakenError(NotFoundError):
        code = "PROBLEM_SEAT_TAKEN"

        def __init__(self, seat: str) -> None:
            super().__init__(seat)

    error = ResilienceError.from_problem(SeatTakenError("4A").to_problem(), trusted_domain="*")
    assert type(error) is SeatTakenError


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 5.0), (" 7 ", 7.0), ("0", 0.0), ("99999999", 3600.0), ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0), ("Thu, 01 Jan 1970 00:01:40", 40.0),
        ("Thu, 01 Jan 1970 01:01:40 +0100", 40.0), ("soon", None), ("", None), (None, None),
        ("-5", None), ("1e309", None), ("nan", None), ("\u0665", None), ("Thu, 01 Jan 99999 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_headers_are_read(header, seconds, monkeypatch):
    """Seconds and HTTP dates (always GMT, whatever the machine's zone) are understood, the rest says nothing."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert parse_retry_after(header, now=60.0) == seconds
    finally:
        monkeypatch.undo()
        time.tzset()
