"""Client address, request id, trace and method, as an endpoint sees them: never something they are not."""

from __future__ import annotations

import ipaddress
import json
import re

import pytest
from tests.integrations.hostile.app import make_app
from tests.integrations.hostile.input_forwarded import FORWARDED
from tests.integrations.hostile.input_headers import (
    BAD_IDS,
    BAD_TRACES,
    GOOD_IDS,
    GOOD_TRACES,
    METHODS,
    SPAN,
    TRACE,
)
from tests.integrations.hostile.rows import request
from tests.integrations.hostile.server import served
from tests.integrations.hostile.wire import Connection


@pytest.fixture
def connection(server):
    with Connection(server.port) as connection:
        yield connection


def context(connection, *headers):
    answer = connection.exchange(request("/context", headers=headers))
    assert answer.status == 200
    return json.loads(answer.body)


@pytest.mark.parametrize(("headers", "client"), [row[1:] for row in FORWARDED], ids=[row[0] for row in FORWARDED])
def test_the_client_is_who_the_trusted_proxy_vouches_for(connection, headers, client):
    """Behind a proxy on 127.0.0.1; what is no address ends the walk."""
    assert context(connection, *headers)["client_ip"] == client


def test_the_client_is_an_address_where_the_server_has_rewritten_it():
    """The server believes its peer and puts anything into the scope; the context knows an address or nothing."""
    seen = {}
    with (
        served(make_app(), proxy_headers=True, forwarded_allow_ips="127.0.0.1") as server,
        Connection(server.port) as connection,
    ):
        for name, headers, _ in FORWARDED:
            seen[name] = context(connection, *headers)["client_ip"]
    assert [ipaddress.ip_address(client) for client in seen.values() if client is not None]
    assert seen["script"] is None
    assert seen["three"] == "203.0.113.7"


@pytest.mark.parametrize("given", GOOD_IDS)
def test_a_good_request_id_is_kept(connection, given):
    """8 to 64 harmless characters."""
    assert context(connection, ("X-Request-ID", given))["request_id"] == given


@pytest.mark.parametrize("given", BAD_IDS)
def test_a_bad_request_id_is_replaced(connection, given):
    """With a new one that has nothing of it."""
    assert re.fullmatch("[0-9a-f]{32}", context(connection, ("X-Request-ID", given))["request_id"])


@pytest.mark.parametrize("given", GOOD_TRACES)
def test_a_good_trace_is_continued(connection, given):
    """Versions to come are read by the fields of this one."""
    seen = context(connection, ("traceparent", given))
    assert (seen["trace_id"], seen["parent_id"], seen["sampled"]) == (TRACE, SPAN, "-00" not in given[3:])


@pytest.mark.parametrize("given", BAD_TRACES)
def test_a_bad_trace_is_none(connection, given):
    """All of it, so that no half of it is continued."""
    seen = context(connection, ("traceparent", given))
    assert [seen[name] for name in ("trace_id", "parent_id", "sampled")] == [None] * 3


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_nobody_knows_is_answered(connection, method):
    """With 405, on a connection that stays open."""
    assert connection.exchange(request("/context", method=method)).status == 405
    assert context(connection)["method"] == "GET"
