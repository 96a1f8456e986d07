"""An upstream's answer as an error: its status decides, its body is bounded and believed in nothing."""

from __future__ import annotations

import json

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from creatormate_resilience.exceptions import (
    ExternalAPIAuthError,
    ExternalAPIError,
    ExternalAPIRateLimitedError,
    ExternalAPIRejectedError,
    ExternalAPIUnavailableError,
)

PROBLEM = "application/problem+json"


def answered(status: int, body: object = None, kind: str = PROBLEM, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = httpx.Request("GET", "https://api.example.com/v1")
    return httpx.Response(status, request=request, content=content, headers={"content-type": kind, **headers})


def test_the_status_decides_and_the_document_is_kept_for_code():
    """Type, retry advice, upstream status and document; nothing of it is in our own answer."""
    document = {
        "title": "Quota",
        "detail": "SECRET",
        "code": "QUOTA",
        "error_id": "e-7",
        "status": 200,
        "retry_after": 1e309,
    }
    error = ExternalAPIError.from_response(answered(429, document, **{"retry-after": "7"}))
    assert type(error) is ExternalAPIRateLimitedError
    assert (error.service, error.upstream_status, error.retry_after) == ("api.example.com", 429, 7.0)
    assert error.problem is not None
    assert error.problem["code"] == "QUOTA"
    assert error.detail == "answered 429 Quota QUOTA"
    assert error.context == {"upstream_error_id": "e-7"}
    assert "SECRET" not in json.dumps(error.to_problem())
    assert error.status_code == 503


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, ExternalAPIAuthError),
        (404, ExternalAPIRejectedError),
        (503, ExternalAPIUnavailableError),
        (500, ExternalAPIError),
    ],
)
def test_no_body_can_change_what_a_status_means(status, expected):
    """A document that names a type of ours with another status is wrapped all the same."""
    error = ExternalAPIError.from_response(answered(status, {"code": "UNAUTHENTICATED", "status": 401}), service="S")
    assert type(error) is expected
    assert error.service == "S"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", PROBLEM), (b"\xff\xfe", PROBLEM), (b"[" * 60_000, PROBLEM), (b"1" * 5000, PROBLEM),
        (b'{"a":' * 10_000, PROBLEM), (b" " * 65_537, PROBLEM), (b'{"x":"' + b"a" * 70_000 + b'"}', PROBLEM),
        ({"title": "x"}, "text/html"), ({"message": "x"}, "application/json"), (b"", PROBLEM), ([1], PROBLEM),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_what_is_no_problem_document_is_left_alone(body, kind):
    """No JSON, too large, too deep, of another type: the status alone speaks."""
    error = ExternalAPIError.from_response(answered(500, body, kind))
    assert (error.problem, error.detail) == (None, "answered 500")


def test_a_document_is_cut_to_its_bounds():
    """32 members, eight levels, texts of 2,048 characters."""
    deep: object = "x"
    for _ in range(20):
        deep = {"d": deep}
    body = {"type": "about:blank", "deep": deep, "text": "t" * 9000} | {f"m{n}": n for n in range(100)}
    problem = ExternalAPIError.from_response(answered(500, body, "application/json; charset=utf-8")).problem
    assert problem is not None
    assert len(problem) == 32
    assert json.dumps(problem).count('{"d":') < 9
    assert len(problem["text"]) < 2100


@given(st.binary(max_size=200), st.sampled_from([400, 429, 500, 599]))
def test_any_body_gives_an_error(body, status):
    """Whatever the upstream sends."""
    assert ExternalAPIError.from_response(answered(status, body)).upstream_status == status


def test_a_stream_that_was_not_read_is_not_read_here():
    """It could be gigabytes, or never end."""

    class Endless(httpx.SyncByteStream):
        def __iter__(self):
            raise AssertionError("read")

    response = httpx.Response(500, stream=Endless(), headers={"content-type": PROBLEM})
    assert ExternalAPIError.from_response(response).problem is None
    unread = requests.Response()
    unread.status_code, unread.url = 500, "https://api.example.com:8443/x"
    unread.headers["Content-Type"] = PROBLEM
    error = ExternalAPIError.from_response(unread)
    assert (error.problem, error.service) == (None, "api.example.com")
    assert ExternalAPIError.from_response(unread, body=b'{"title":"x"}').problem == {"title": "x"}


@pytest.mark.parametrize("thing", [None, "503", object(), type("R", (), {"status_code": "503"})()])
def test_what_is_no_response_is_refused(thing):
    """With what is accepted."""
    with pytest.raises(TypeError, match="accepted is one with a status_code or status"):
        ExternalAPIError.from_response(thing)


def test_an_answer_that_is_no_failure_is_refused():
    """There is no error to make of it."""
    with pytest.raises(ValueError, match="accepted are 400 to 599"):
        ExternalAPIError.from_response(answered(200))
