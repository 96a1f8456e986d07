"""Websockets that fail before and after they are accepted: a refusal or a close frame, short and without secrets."""

from __future__ import annotations

import json

import pytest
import websockets
from tests.integrations.hostile.marks import internals_in, secrets_in
from websockets.sync.client import connect

from creatormate_resilience.redaction import redact_text

NAMES = (
    "dsn", "jwt", "str-exits", "attributes-raise", "lies-about-its-class", "takes-no-attributes", "hostile-context",
    "family", "upstream", "outside-raises", "code-raises", "status-600", "status-raises", "id-raises", "http-503",
    "http-dict", "http-status-None", "http-status-204", "group-of-many", "ten-thousand-causes",
    "ten-megabytes-without-a-break",
)  # fmt: skip


@pytest.fixture
def logged(server):
    """What is logged during one test."""
    begin = len(server.lines())
    yield lambda: server.lines()[begin:]
    for line in server.lines()[begin:]:
        assert secrets_in(line.encode()) == []
        json.loads(line)


@pytest.mark.parametrize("name", NAMES)
def test_a_handshake_that_fails_is_refused(server, logged, name):
    """With a problem document and a status for errors."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{server.port}/ws/before/{name}")
    response = refused.value.response
    document = json.loads(response.body or b"")
    assert 400 <= response.status_code == document["status"] <= 599
    assert internals_in(response.body or b"") == []
    assert [line for line in logged() if redact_text(document["error_id"]) in line]


@pytest.mark.parametrize("name", NAMES)
def test_an_open_websocket_that_fails_is_closed(server, logged, name):
    """With a code for errors and at most 123 bytes of reason."""
    with (
        connect(f"ws://127.0.0.1:{server.port}/ws/after/{name}") as socket,
        pytest.raises(websockets.ConnectionClosed) as closed,
    ):
        socket.recv(10)
    received = closed.value.rcvd
    assert received is not None
    assert received.code in {1008, 1011, 1013}
    assert received.reason.isascii()
    assert len(received.reason) <= 123
    assert internals_in(received.reason.encode()) == []


@pytest.mark.parametrize("path", ["S3cr3tM4rk-9999-xyzzyplover", "1?limit=sk-proj-S3cr3tM4rk-9999-xyzzyplover"])
def test_a_handshake_with_invalid_input_is_refused_without_it(server, path):
    """422, and nothing of what was sent."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{server.port}/ws/validated/{path}")
    assert refused.value.response.status_code == 422
    assert internals_in(refused.value.response.body or b"") == []
