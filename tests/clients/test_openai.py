"""The OpenAI client on our transport."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pytest
from tests.clients.upstream import CUT, HANG, Answer

from creatormate_resilience.breaker import CircuitBreakerConfig, CircuitBreakerRegistry
from creatormate_resilience.clients.httpx import ResilientTransport
from creatormate_resilience.exceptions import CircuitOpenError, map_exception

JSON = {"Content-Type": "application/json"}
MODELS = Answer(200, JSON, b'{"object": "list", "data": []}')
EVENTS = Answer(
    200,
    {"Content-Type": "text/event-stream"},
    b'data: {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}\n\n'
    b"data: [DONE]\n\n",
)


@pytest.fixture
def breakers():
    """Two failures open it."""
    return CircuitBreakerRegistry(default=CircuitBreakerConfig(failure_threshold=2))


@pytest.fixture
def client(upstream, breakers):
    """OpenAI's client, as it would be set up, with its own retries."""
    transport = ResilientTransport(httpx2.HTTPTransport(verify=False), breakers=breakers, name="openai_api")
    with httpx2.Client(transport=transport) as http:
        yield openai.OpenAI(api_key="none", base_url=upstream.url, http_client=http, max_retries=1, timeout=0.1)


def seen(breakers: CircuitBreakerRegistry) -> Any:
    (breaker,) = breakers
    return breaker.statistics()


def test_its_calls_are_judged(client, upstream, breakers):
    """A call that works is a success."""
    upstream.answers(MODELS)
    assert list(client.models.list()) == []
    assert seen(breakers).successes == 1


def test_it_sees_its_own_exceptions_and_goes_on_retrying(client, upstream, breakers):
    """A timeout is what httpx2 raises, so OpenAI's client tries again and succeeds."""
    upstream.answers(HANG, MODELS)
    assert list(client.models.list()) == []
    assert (seen(breakers).failures, seen(breakers).successes) == (1, 1)


def test_an_open_circuit_surfaces_as_it_is(client, upstream, breakers):
    """Neither wrapped nor retried: OpenAI's client handles httpx2's exceptions only."""
    upstream.answers(500, 500)
    with pytest.raises(openai.InternalServerError) as raised:
        client.models.list()
    assert map_exception(raised.value).status_code == 502
    with pytest.raises(CircuitOpenError):
        client.models.list()
    assert len(upstream.requests) == 2


def test_a_stream_is_judged_at_its_end(client, upstream, breakers):
    """Read to its end it is a success, broken off by the network a failure."""
    ask = {"model": "m", "messages": [], "stream": True}
    upstream.answers(EVENTS)
    stream = client.chat.completions.create(**ask)
    assert seen(breakers).calls == 0
    assert len(list(stream)) == 1
    assert seen(breakers).calls == 1
    upstream.answers(CUT)
    with pytest.raises(openai.APIConnectionError):
        list(client.chat.completions.create(**ask))
    assert seen(breakers).failures == 1
