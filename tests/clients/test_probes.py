"""Half-open circuits, cancellation, deadlines: what a breaker inside a client must not get wrong."""

from __future__ import annotations

import anyio
import pytest
from tests.clients.callers import ASYNC_PAIRS
from tests.clients.upstream import HANG, STALL, Answer

from creatormate_resilience.breaker import CircuitBreakerConfig
from creatormate_resilience.clients import DEADLINE_HEADER
from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.exceptions import CircuitOpenError, DeadlineExceededError
from creatormate_resilience.policies import Timeout
from creatormate_resilience.request_context import RequestContext, request_scope

pytestmark = [
    pytest.mark.anyio,
    # httpx's own generators under trio, wherever somebody leaves a body early.
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]
can_be_cancelled = pytest.mark.parametrize("pair", ASYNC_PAIRS, ids="-".join, indirect=True)
CONFIG = CircuitBreakerConfig(failure_threshold=1, recovery_timeout=30, recovery_jitter=0)


async def half_open(client, upstream) -> None:
    """One failure, and the time after it."""
    upstream.answers(500)
    await client.get(upstream.url)
    client.clock.advance(30)


async def wait_for(upstream, count: int) -> None:
    with anyio.fail_after(5):
        while len(upstream.requests) < count:
            await anyio.lowlevel.checkpoint()
            await anyio.sleep(0.001)


async def test_of_many_callers_at_half_open_only_the_probes_arrive(make, upstream):
    """Twelve at once: three are let through, nine are refused without the network, then the circuit is closed."""
    client = make(breaker=CONFIG, pool=20)
    await half_open(client, upstream)
    upstream.answers(*[Answer(held=True)] * 3)
    outcomes = []

    async def call() -> None:
        try:
            outcomes.append((await client.get(upstream.url)).status)
        except CircuitOpenError:
            outcomes.append("refused")

    async with anyio.create_task_group() as group:
        for _ in range(12):
            group.start_soon(call)
        await wait_for(upstream, 4)
        while len(outcomes) < 9:
            await anyio.sleep(0.001)
        upstream.release()
    assert sorted(map(str, outcomes)) == ["200"] * 3 + ["refused"] * 9
    assert len(upstream.requests) == 4
    assert client.breaker(upstream.url).state == "closed"


@can_be_cancelled
async def test_a_cancelled_probe_gives_its_permit_back(make, upstream):
    """Cancelled while waiting for the answer: nothing is counted, and the next probe is let through."""
    client = make(breaker=CircuitBreakerConfig(failure_threshold=1, half_open_max_calls=1, half_open_max_concurrent=1))
    upstream.answers(500)
    await client.get(upstream.url)
    client.clock.advance(60)
    upstream.answers(HANG)
    with anyio.move_on_after(60) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(client.get, upstream.url)
            await wait_for(upstream, 2)
            scope.cancel()
    assert client.breaker(upstream.url).state == "half_open"
    assert (await client.get(upstream.url)).status == 200
    assert client.breaker(upstream.url).state == "closed"


@can_be_cancelled
async def test_a_call_cancelled_while_reading_gives_its_permit_back(make, upstream):
    """Cancelled in the middle of a body: nothing is counted."""
    client = make()
    upstream.answers(STALL)
    with anyio.move_on_after(60) as scope:
        async with client.open("GET", upstream.url) as opened, anyio.create_task_group() as group:
            await opened.some()
            group.start_soon(opened.some)
            scope.cancel()
    seen = client.seen(upstream.url)
    assert (seen.ignored, seen.calls) == (1, 1)


async def test_a_probe_that_nobody_reads_does_not_hold_the_circuit(make, upstream):
    """A response that is left open is given up after the longest wait; what it says later is late."""
    client = make(breaker=CircuitBreakerConfig(failure_threshold=1, half_open_max_calls=1, half_open_max_concurrent=1))
    upstream.answers(500, Answer(body=b"half", length=8, then="hang"))
    await client.get(upstream.url)
    client.clock.advance(60)
    async with client.open("GET", upstream.url):
        with pytest.raises(CircuitOpenError):
            await client.get(upstream.url)
        client.clock.advance(3600)
        with pytest.raises(CircuitOpenError):  # the recovery has failed, and its wait begins
            await client.get(upstream.url)
        client.clock.advance(3600)
        assert (await client.get(upstream.url)).status == 200
    assert client.breaker(upstream.url).state == "closed"


async def test_a_success_that_began_before_the_circuit_opened_moves_nothing(make, upstream):
    """Its body ends while the circuit is open: late, and the circuit stays open."""
    client = make(breaker=CONFIG)
    upstream.answers(Answer(body=b"x" * 1_000_000), 500)
    async with client.open("GET", upstream.url) as opened:
        await client.get(upstream.url)
        assert client.breaker(upstream.url).state == "open"
        await opened.rest()
    assert client.breaker(upstream.url).state == "open"
    assert client.seen(upstream.url).late == 1


# Deadlines ------------------------------------------------------------------------------------------------------------
async def test_nothing_is_sent_when_no_time_is_left(make, upstream):
    """A request that could not be answered in time is not made."""
    client = make()
    with deadline_scope(-1), pytest.raises(DeadlineExceededError):
        await client.get(upstream.url)
    assert upstream.requests == []
    assert client.seen(upstream.url).calls == 0


async def test_a_request_takes_no_longer_than_our_deadline(make, upstream):
    """The client's timeout of a minute is cut to what is left; running out of our own time counts as a failure."""
    client = make(timeout=60)
    upstream.answers(HANG)
    with deadline_scope(0.05), pytest.raises(client.timed_out):
        await client.get(upstream.url)
    assert client.seen(upstream.url).failures == 1


async def test_running_out_of_a_callers_time_says_nothing(make, upstream):
    """A deadline that came with a request is no measure of the upstream."""
    client = make(timeout=60)
    upstream.answers(HANG)
    with deadline_scope(0.05, received=True), pytest.raises(client.timed_out):
        await client.get(upstream.url)
    seen = client.seen(upstream.url)
    assert (seen.ignored, seen.failures) == (1, 0)


async def test_a_timeout_of_the_clients_own_is_a_failure_under_any_deadline(make, upstream):
    """It struck before the caller's time was over."""
    client = make(timeout=0.05)
    upstream.answers(HANG)
    with deadline_scope(60, received=True), pytest.raises(client.timed_out):
        await client.get(upstream.url)
    assert client.seen(upstream.url).failures == 1


async def test_the_breakers_timeout_bounds_a_request_too(make, upstream):
    """`timeout` in the breaker's configuration, such as the guide's, is kept by the client."""
    client = make(timeout=60, breaker=CircuitBreakerConfig(timeout=0.05))
    upstream.answers(HANG)
    with pytest.raises(client.timed_out):
        await client.get(upstream.url)
    assert client.seen(upstream.url).failures == 1


@can_be_cancelled
async def test_being_interrupted_by_our_own_timeout_is_a_failure(make, upstream):
    """Else a service that hangs would never open its circuit."""
    client = make(timeout=60)
    upstream.answers(HANG)
    with pytest.raises(TimeoutError):
        async with Timeout(0.05).guard():
            await client.get(upstream.url)
    assert client.seen(upstream.url).failures == 1


# What goes along ------------------------------------------------------------------------------------------------------
async def test_the_upstream_is_told_the_time_left_if_wanted(make, upstream):
    """In whole milliseconds, relative; without a deadline, and without being asked for, nothing is sent."""
    client, silent = make(send_deadline=True), make()
    with deadline_scope(60):
        await client.get(upstream.url)
        await silent.get(upstream.url)
    await client.get(upstream.url)
    told = [seen.headers.get(DEADLINE_HEADER.lower()) for seen in upstream.requests]
    assert 50_000 < int(told[0]) <= 60_000
    assert told[1:] == [None, None]


async def test_the_ids_of_the_request_being_served_go_along_if_wanted(make, upstream):
    """X-Request-ID and traceparent of the incoming request; what the caller set stays; without a request, nothing."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = [(b"x-request-id", b"request-4711"), (b"traceparent", trace.encode())]
    context = RequestContext({"headers": headers}, lambda peer, headers: peer)
    client, silent = make(send_context=True), make()
    with request_scope(context):
        await client.get(upstream.url)
        await client.send("GET", upstream.url, headers={"X-Request-ID": "my-own-id"})
        await silent.get(upstream.url)
    await client.get(upstream.url)
    sent = [(seen.headers.get("x-request-id"), seen.headers.get("traceparent")) for seen in upstream.requests]
    assert sent == [("request-4711", trace), ("my-own-id", trace), (None, None), (None, None)]
