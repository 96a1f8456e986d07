"""What is sent again, when, and what callers get in the end: the same with every client."""

from __future__ import annotations

import pytest
from tests.clients.upstream import CUT, DISCONNECT, GARBAGE, STALL, Answer

from creatormate_resilience.breaker import CircuitBreakerConfig
from creatormate_resilience.clients._verdict import is_idempotent
from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.exceptions import CircuitOpenError, ExternalAPIUnavailableError
from creatormate_resilience.policies import Retry, constant
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio
KEY = {"Idempotency-Key": "4711"}


@pytest.fixture
def events():
    """What retries have told."""
    return []


@pytest.fixture
def clock():
    """Where retries wait."""
    return FakeClock()


@pytest.fixture
def retry(events, clock):
    """Three attempts, a second apart."""
    return Retry(3, wait=constant(1), clock=clock, listeners=[events.append])


async def test_a_failed_read_is_repeated(make, upstream, retry, clock):
    """GET is sent again after a 503, after the wait; each attempt is judged."""
    client = make(retry=retry)
    upstream.answers(503, 500)
    assert (await client.get(upstream.url)).status == 200
    assert len(upstream.requests) == 3
    assert clock.monotonic() == 2
    assert (client.seen(upstream.url).failures, client.seen(upstream.url).successes) == (2, 1)


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_obeyed(make, upstream, retry, clock, status):
    """An upstream that says when to come back is asked again then; the breaker counts it as throttled."""
    client = make(retry=retry)
    upstream.answers(Answer(status, {"Retry-After": "7"}))
    assert (await client.get(upstream.url)).status == 200
    assert clock.monotonic() == 7
    assert client.seen(upstream.url).throttled == 1


async def test_a_retry_after_beyond_the_deadline_is_not_waited_for(make, upstream, retry, clock):
    """Where the caller will not wait so long, the answer comes back at once."""
    client = make(retry=retry)
    upstream.answers(Answer(429, {"Retry-After": "7"}))
    with deadline_scope(5):
        assert (await client.get(upstream.url)).status == 429
    assert (clock.monotonic(), len(upstream.requests)) == (0, 1)


@pytest.mark.parametrize("answer", [DISCONNECT], ids=["disconnect"])
async def test_a_lost_answer_to_a_read_is_repeated(make, upstream, retry, answer):
    """A connection that dies before the answer costs a read nothing but time."""
    client = make(retry=retry)
    upstream.answers(answer)
    assert (await client.get(upstream.url)).status == 200
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_what_will_be_wrong_again_is_not_repeated(make, upstream, retry, status):
    """The same request would get the same answer."""
    client = make(retry=retry)
    upstream.answers(status)
    assert (await client.get(upstream.url)).status == status
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_is_not_idempotent_is_not_repeated(make, upstream, retry, method):
    """A POST that failed may have been done; a 429 to it comes back as well."""
    client = make(retry=retry)
    for answer in (503, 429):
        upstream.answers(answer)
        assert (await client.send(method, upstream.url, b"charge")).status == answer
    upstream.answers(DISCONNECT)
    with pytest.raises(client.error):
        await client.send(method, upstream.url, b"charge")
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
async def test_what_is_idempotent_or_has_a_key_is_repeated_whole(make, upstream, retry, method):
    """PUT and DELETE, and POST with an Idempotency-Key, arrive again with the same body and key."""
    client = make(retry=retry)
    upstream.answers(503)
    assert (await client.send(method, upstream.url, b"charge", KEY)).status == 200
    first, second = upstream.requests
    assert (first.body, first.headers["idempotency-key"]) == (b"charge", "4711")
    assert second == first


async def test_a_key_that_says_nothing_is_none(make, upstream, retry):
    """No upstream could tell two charges apart by it. Most clients send no blank one, some middleware does."""
    client = make(retry=retry)
    upstream.answers(503)
    assert (await client.send("POST", upstream.url, b"charge", {"Idempotency-Key": ""})).status == 503
    assert len(upstream.requests) == 1
    assert not is_idempotent("POST", {"idempotency-key": " "})


async def test_a_body_that_cannot_be_sent_again_is_not(make, upstream, retry):
    """A generator is used up by the first attempt."""
    client = make(retry=retry)
    upstream.answers(503)
    assert (await client.send("PUT", upstream.url, [b"one", b"two"], KEY)).status == 503
    assert [seen.body for seen in upstream.requests] == [b"onetwo"]


async def test_a_refused_connection_is_repeated_for_every_method(make, closed_url, retry, events):
    """Nothing was sent, so nothing can have been done."""
    client = make(retry=retry)
    with pytest.raises(client.error):
        await client.send("POST", closed_url, b"charge")
    assert len(events) == 2
    assert client.seen(closed_url).failures == 3


async def test_after_the_last_attempt_its_answer_comes_back(make, upstream, retry):
    """Whoever handles a 503 need not know that it was the third; it can be read as ever."""
    client = make(retry=retry)
    upstream.answers(503, 503, Answer(503, body=b"sorry"))
    reply = await client.get(upstream.url)
    assert (reply.status, reply.body) == (503, b"sorry")


async def test_after_the_last_attempt_its_error_surfaces(make, upstream, retry):
    """With `raise_for_status` it is the error of the last answer, not one about retrying."""
    client = make(retry=retry, raise_for_status=True)
    upstream.answers(500, 500, 503)
    with pytest.raises(ExternalAPIUnavailableError) as raised:
        await client.get(upstream.url)
    assert raised.value.upstream_status == 503


async def test_a_circuit_that_opens_ends_the_retrying(make, upstream, retry, clock):
    """The refusal surfaces; it is not waited out where no deadline says that there is time."""
    client = make(retry=retry, breaker=CircuitBreakerConfig(failure_threshold=2))
    upstream.answers(500, 500, 500)
    with pytest.raises(CircuitOpenError):
        await client.get(upstream.url)
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("answer", [CUT, STALL], ids=["cut", "stall"])
async def test_nothing_is_repeated_once_a_body_has_begun(make, upstream, retry, answer):
    """The caller may have used the beginning already."""
    client = make(retry=retry, timeout=0.05)
    upstream.answers(answer)
    with pytest.raises((client.error, client.timed_out)):
        await client.get(upstream.url)
    assert len(upstream.requests) == 1


async def test_answers_that_are_not_wanted_give_their_connections_back(make, upstream, clock):
    """A pool of one connection serves twenty attempts, whatever became of the bodies."""
    client = make(
        retry=Retry(20, wait=constant(1), clock=clock), pool=1, breaker=CircuitBreakerConfig(minimum_calls=99)
    )
    client.breaker(upstream.url).disable()
    upstream.answers(*[Answer(503, body=b"x" * 100_000)] * 19)
    assert (await client.get(upstream.url)).status == 200
    assert (await client.get(upstream.url)).status == 200
    assert len(upstream.requests) == 21


async def test_garbage_is_not_repeated_for_a_write(make, upstream, retry):
    """It was read by somebody, and may have been done."""
    client = make(retry=retry)
    upstream.answers(GARBAGE)
    with pytest.raises(client.error):
        await client.send("POST", upstream.url, b"charge")
    assert len(upstream.requests) == 1
