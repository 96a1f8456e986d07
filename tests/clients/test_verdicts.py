"""What answers, exceptions and bodies say to the breaker, and what callers get: the same with every client."""

from __future__ import annotations

import pytest
from tests.clients.upstream import CUT, DISCONNECT, GARBAGE, HANG, STALL, Answer

from creatormate_resilience.breaker import CircuitBreakerConfig
from creatormate_resilience.exceptions import (
    CircuitOpenError,
    ExternalAPIAuthError,
    ExternalAPIError,
    ExternalAPIRateLimitedError,
    ExternalAPIRejectedError,
    ExternalAPITimeoutError,
    ExternalAPIUnavailableError,
)

pytestmark = pytest.mark.anyio
# httpx's own generators under trio, wherever somebody leaves a body early.
left_early = pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")


async def test_an_answer_with_its_body_is_a_success(make, upstream):
    """A whole answer arrives as it was sent and counts once."""
    client = make()
    assert (await client.get(upstream.url)).body == b"ok"
    seen = client.seen(upstream.url)
    assert (seen.successes, seen.calls) == (1, 1)


async def test_connections_are_kept(make, upstream):
    """Five requests in a row use one connection: bodies are read to the end through the judge."""
    client = make()
    for _ in range(5):
        await client.get(upstream.url)
    assert upstream.connections == 1


@pytest.mark.parametrize(
    ("status", "headers", "counted"),
    [
        (500, {}, "failures"),
        (502, {}, "failures"),
        (503, {}, "failures"),
        (504, {}, "failures"),
        (408, {}, "failures"),
        (401, {}, "failures"),
        (403, {}, "failures"),
        (999, {}, "failures"),
        (429, {}, "throttled"),
        (503, {"Retry-After": "7"}, "throttled"),
        (400, {}, "ignored"),
        (404, {}, "ignored"),
        (422, {}, "ignored"),
        (302, {"Location": "/elsewhere"}, "successes"),
        (304, {}, "successes"),
        (204, {}, "successes"),
    ],
)
async def test_a_status_is_judged_and_the_answer_returned(make, upstream, status, headers, counted):
    """Each status counts as what it says of the upstream, by the head alone; callers get the answer unchanged."""
    client = make()
    upstream.answers(Answer(status, headers))
    async with client.open("GET", upstream.url) as opened:
        assert opened.status == status
        assert getattr(client.seen(upstream.url), counted) == client.seen(upstream.url).calls == 1


async def test_a_head_request_is_judged_by_its_head(make, upstream):
    """HEAD has no body to wait for."""
    client = make()
    async with client.open("HEAD", upstream.url):
        assert client.seen(upstream.url).successes == 1


async def test_each_hop_of_a_redirect_is_judged(make, upstream):
    """Where a client follows, both answers count."""
    client = make()
    upstream.answers(Answer(302, {"Location": "/elsewhere"}))
    async with client.open("GET", upstream.url, follow=True) as opened:
        assert (opened.status, await opened.rest()) == (200, b"ok")
    assert [seen.path for seen in upstream.requests] == ["/", "/elsewhere"]
    assert client.seen(upstream.url).successes == 2


async def test_a_refused_connection_is_a_failure(make, closed_url):
    """The client's own exception surfaces, and the breaker has counted it."""
    client = make()
    with pytest.raises(client.error):
        await client.get(closed_url)
    assert client.seen(closed_url).failures == 1


async def test_a_missing_answer_is_a_failure(make, upstream):
    """The client's own timeout surfaces, and the breaker has counted it."""
    client = make(timeout=0.05)
    upstream.answers(HANG)
    with pytest.raises(client.timed_out):
        await client.send("POST", upstream.url)
    assert client.seen(upstream.url).failures == 1


@pytest.mark.parametrize("answer", [DISCONNECT, GARBAGE], ids=["disconnect", "garbage"])
async def test_what_is_no_answer_is_a_failure(make, upstream, answer):
    """A closed connection and an answer that is not HTTP are the upstream's fault."""
    client = make()
    upstream.answers(answer)
    with pytest.raises(client.error):
        await client.send("POST", upstream.url)
    assert client.seen(upstream.url).failures == 1


async def test_a_body_that_breaks_is_a_failure(make, upstream):
    """An answer that began well and was cut counts as a failure, once, and as no success."""
    client = make()
    upstream.answers(CUT)
    with pytest.raises(client.error):
        await client.get(upstream.url)
    seen = client.seen(upstream.url)
    assert (seen.failures, seen.calls) == (1, 1)


async def test_a_body_that_stalls_is_a_failure(make, upstream):
    """A body that stops coming runs into the client's timeout."""
    client = make(timeout=0.05)
    upstream.answers(STALL)
    async with client.open("GET", upstream.url) as opened:
        assert await opened.some() == b"half"
        with pytest.raises((client.error, client.timed_out)):
            await opened.rest() if client.kind == "aiohttp" else await opened.some()
    seen = client.seen(upstream.url)
    assert (seen.failures, seen.calls) == (1, 1)


@left_early
async def test_a_body_left_early_counts_as_nothing(make, upstream):
    """Whoever wants only the beginning says nothing about the upstream."""
    client = make()
    upstream.answers(STALL)
    async with client.open("GET", upstream.url) as opened:
        assert await opened.some() == b"half"
        assert client.seen(upstream.url).calls == 0
    seen = client.seen(upstream.url)
    assert (seen.ignored, seen.calls) == (1, 1)


@left_early
async def test_an_error_of_the_callers_own_while_reading_counts_as_nothing(make, upstream):
    """A bug in code that handles a body is not the upstream's failure."""
    client = make()
    upstream.answers(STALL)
    with pytest.raises(ZeroDivisionError):
        async with client.open("GET", upstream.url) as opened:
            await opened.some()
            raise ZeroDivisionError
    assert (client.seen(upstream.url).ignored, client.seen(upstream.url).failures) == (1, 0)


async def test_an_upload_that_raises_is_not_the_upstreams_fault(make, upstream):
    """What the caller's own body raises counts as nothing."""
    client = make()
    with pytest.raises((ZeroDivisionError, client.error)):
        await client.send("POST", upstream.url, [b"part", ZeroDivisionError()])
    seen = client.seen(upstream.url)
    assert (seen.ignored, seen.failures) == (1, 0)


async def test_an_open_circuit_refuses_without_the_network(make, upstream):
    """After three failures the fourth request does not arrive, and the error says when to come back."""
    client = make(breaker=CircuitBreakerConfig(failure_threshold=3, recovery_jitter=0))
    upstream.answers(500, 500, 500)
    for _ in range(3):
        await client.get(upstream.url)
    with pytest.raises(CircuitOpenError) as refusal:
        await client.get(upstream.url)
    assert refusal.value.breaker == f"http[{upstream.url}]"
    assert refusal.value.retry_after == 30
    assert len(upstream.requests) == 3


async def test_hosts_have_breakers_of_their_own(make, upstream, closed_url):
    """One host that is down does not close the way to another."""
    client = make(breaker=CircuitBreakerConfig(failure_threshold=1))
    with pytest.raises(client.error):
        await client.get(closed_url)
    with pytest.raises(CircuitOpenError):
        await client.get(closed_url)
    assert (await client.get(upstream.url)).status == 200


async def test_a_key_chooses_the_breaker(make, upstream):
    """A function of the client's own request says what gets a breaker of its own."""
    client = make(key=lambda request: request.headers["x-tenant"], name="crm")
    upstream.answers(500)
    await client.send("GET", upstream.url, headers={"X-Tenant": "acme"})
    await client.send("GET", upstream.url, headers={"X-Tenant": "initech"})
    assert client.config.breakers.get("crm", key="acme").statistics().failures == 1
    assert client.config.breakers.get("crm", key="initech").statistics().successes == 1


# Errors of the family -------------------------------------------------------------------------------------------------
async def test_translated_a_refused_connection_is_unavailable(make, closed_url):
    """The family's error names the host and has the client's exception as its cause."""
    client = make(translate=True)
    with pytest.raises(ExternalAPIUnavailableError) as raised:
        await client.get(closed_url)
    assert raised.value.service == "127.0.0.1"
    assert isinstance(raised.value.__cause__, client.error)


async def test_translated_a_missing_answer_is_a_timeout(make, upstream):
    """The family's timeout, from the client's."""
    client = make(translate=True, timeout=0.05)
    upstream.answers(HANG)
    with pytest.raises(ExternalAPITimeoutError) as raised:
        await client.get(upstream.url)
    assert isinstance(raised.value.__cause__, client.timed_out)


@pytest.mark.parametrize("answer", [DISCONNECT, GARBAGE], ids=["disconnect", "garbage"])
async def test_translated_no_answer_is_of_the_family(make, upstream, answer):
    """A closed connection and an answer that is not HTTP become errors of the family."""
    client = make(translate=True)
    upstream.answers(answer)
    with pytest.raises(ExternalAPIError) as raised:
        await client.get(upstream.url)
    assert not isinstance(raised.value, ExternalAPIRejectedError)


async def test_translated_a_broken_body_is_of_the_family(make, upstream):
    """What breaks while the body is read is translated too, where the client lets a body be watched."""
    client = make(translate=True)
    upstream.answers(CUT)
    expected = client.error if client.kind == "aiohttp" else ExternalAPIError
    with pytest.raises(expected):
        await client.get(upstream.url)


async def test_an_error_status_can_be_raised_with_what_it_says(make, upstream):
    """`raise_for_status` gives the family's error with the status and the upstream's problem document."""
    client = make(raise_for_status=True)
    upstream.answers(Answer(422, {"Content-Type": "application/problem+json"}, b'{"title": "Too long"}'))
    with pytest.raises(ExternalAPIRejectedError) as raised:
        await client.get(upstream.url)
    assert raised.value.upstream_status == 422
    assert raised.value.problem == {"title": "Too long"}
    assert (await client.get(upstream.url)).status == 200


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(401), ExternalAPIAuthError),
        (Answer(503, {"Retry-After": "7"}), ExternalAPIRateLimitedError),
        (Answer(503), ExternalAPIUnavailableError),
        (Answer(500, {"Content-Type": "application/json"}, b'{"title"', 900, "close"), ExternalAPIError),
        (Answer(500, {"Content-Type": "application/json"}, b'{"title": "%s"}' % (b"x" * 200_000)), ExternalAPIError),
    ],
    ids=["auth", "throttled", "unavailable", "cut", "huge"],
)
async def test_raised_statuses_are_of_the_right_kind_whatever_their_body(make, upstream, answer, error):
    """A body that breaks or does not end costs its text, never the error."""
    client = make(raise_for_status=True)
    upstream.answers(answer)
    with pytest.raises(error) as raised:
        await client.get(upstream.url)
    assert raised.value.upstream_status == answer.status
    assert raised.value.problem is None
    assert client.seen(upstream.url).calls == 1
