"""Errors are answered while every thread of the pool is blocked: no layer of ours needs one."""

from __future__ import annotations

import pytest
from tests.integrations.hostile.app import Gate, make_app
from tests.integrations.hostile.rows import request
from tests.integrations.hostile.server import served
from tests.integrations.hostile.wire import Connection

POOL, BLOCKED = 40, 80
JSON = "application/json"
ERRORS = (
    (request("/raise/dsn"), 500), (request("/raise/family"), 404), (request("/raise/limit"), 429),
    (request("/raise/http-503"), 503), (request("/raise/group-of-many"), 500), (request("/dependency/dsn"), 500),
    (request("/middleware/dsn"), 500), (request("/inner/raise/dsn"), 500), (request("/nowhere"), 404),
    (request("/ok", method="POST"), 405), (request("/typed/x"), 422), (request("/raise/dsn", method="HEAD"), 500),
    (request("/accounts", method="POST", kind=JSON, body=b"{"), 422),
    (request("/accounts", method="POST", kind=JSON, body=b'{"name": 1}'), 422),
)  # fmt: skip


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.opened.set()


def test_errors_are_answered_while_eighty_requests_block_all_threads(gate):
    """Each kind of error arrives before the threads are released; then all eighty are answered."""
    with served(make_app(gate)) as server, Connection(server.port) as free:
        blocked = [Connection(server.port) for _ in range(BLOCKED)]
        for connection in blocked:
            connection.send(request("/blocked"))
        for _ in range(POOL):
            assert gate.entered.acquire(timeout=20)
        statuses = [free.exchange(raw).status for raw, _ in ERRORS]
        assert not gate.opened.is_set()
        assert not gate.entered.acquire(blocking=False)  # the other half still waits for a thread
        assert statuses == [status for _, status in ERRORS]
        gate.opened.set()
        assert {connection.receive().body for connection in blocked} == {b'"released"'}
        for connection in blocked:
            connection.close()
