"""Outages of a real network path, from the first failure to the recovery: the same with every client."""

from __future__ import annotations

import pytest
from tests.clients.upstream import Answer

from creatormate_resilience.breaker import CircuitBreakerConfig
from creatormate_resilience.exceptions import CircuitOpenError
from creatormate_resilience.policies import Retry, constant
from creatormate_resilience.testing import FakeClock, FaultProxy

pytestmark = pytest.mark.anyio
CONFIG = CircuitBreakerConfig(failure_threshold=3, recovery_jitter=0)


@pytest.fixture
def proxy(upstream):
    """A network path that breaks on request."""
    with FaultProxy("127.0.0.1", upstream.port) as made:
        yield made


@pytest.fixture
def url(proxy, upstream):
    """The upstream, through it."""
    return proxy.url_for(upstream.url)


@pytest.mark.parametrize("fault", ["refuse", "blackhole"])
async def test_an_outage_opens_the_circuit_and_recovery_closes_it(make, upstream, proxy, url, fault):
    """Three failures, then refusals that cost nothing, then three probes, then all is well."""
    client = make(breaker=CONFIG, timeout=0.1)
    assert (await client.get(url)).status == 200
    getattr(proxy, fault)()
    for _ in range(3):
        with pytest.raises((client.error, client.timed_out)):
            await client.send("POST", url)
    with pytest.raises(CircuitOpenError):
        await client.get(url)
    proxy.heal()
    with pytest.raises(CircuitOpenError):
        await client.get(f"{url}/refused")
    client.clock.advance(30)
    for _ in range(3):
        assert (await client.get(url)).status == 200
    assert client.breaker(url).state == "closed"
    assert "/refused" not in [seen.path for seen in upstream.requests]


async def test_a_kept_connection_that_was_reset_costs_a_read_nothing(make, upstream, proxy, url):
    """The pool's connection is dead; a retry takes another."""
    client = make(retry=Retry(3, wait=constant(1), clock=FakeClock()))
    await client.get(url)
    proxy.reset()
    assert (await client.get(url)).status == 200


async def test_a_lost_reply_to_a_write_is_not_repeated(make, upstream, proxy, url):
    """The upstream has done it; only the answer is gone."""
    client = make(retry=Retry(3, wait=constant(1), clock=FakeClock()))
    proxy.lose_reply()
    with pytest.raises(client.error):
        await client.send("POST", url, b"charge")
    assert len(upstream.requests) == 1
    assert client.seen(url).failures == 1


async def test_a_body_cut_on_the_way_is_a_failure(make, upstream, proxy, url):
    """In the middle of a hundred kilobytes."""
    client = make(retry=Retry(3, wait=constant(1), clock=FakeClock()))
    upstream.answers(Answer(body=b"x" * 100_000))
    proxy.cut_after(50_000)
    with pytest.raises(client.error):
        await client.get(url)
    assert len(upstream.requests) == 1
    assert (client.seen(url).failures, client.seen(url).calls) == (1, 1)
