"""What is particular to httpx and httpx2."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx
import httpx2
import pytest
from tests.clients.upstream import HANG, Answer

from creatormate_resilience.breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerRegistry
from creatormate_resilience.clients import ClientConfig
from creatormate_resilience.clients.httpx import AsyncResilientTransport, ResilientTransport
from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.exceptions import ConcurrencyLimitError, ConfigurationError, ExternalAPIRejectedError
from creatormate_resilience.policies import Retry, constant
from creatormate_resilience.testing import FakeClock

PACKAGES = [httpx, httpx2]
both = pytest.mark.parametrize("package", PACKAGES, ids=["httpx", "httpx2"])


def transport(package: Any, **options: Any) -> ResilientTransport:
    return ResilientTransport(package.HTTPTransport(verify=False), **options)


def only(made: ResilientTransport | AsyncResilientTransport) -> Any:
    """Statistics of the only breaker there is."""
    (breaker,) = made.config.breakers
    return breaker.statistics()


@both
def test_one_transport_suits_both_packages(package):
    """It is a transport to each, so that both accept it."""
    assert issubclass(ResilientTransport, package.BaseTransport)
    assert issubclass(AsyncResilientTransport, package.AsyncBaseTransport)


@both
def test_a_request_may_be_sent_again_under_another_deadline(package, upstream):
    """The time left is not written into the caller's request for good."""
    with package.Client(transport=transport(package), timeout=5) as client:
        request = client.build_request("GET", upstream.url)
        given = request.extensions
        with deadline_scope(1):
            client.send(request)
    assert request.extensions is given
    assert request.extensions["timeout"]["read"] == 5


@both
def test_a_full_pool_is_not_the_upstreams_fault(package, upstream):
    """Waiting for a connection of one's own pool counts as nothing, and is one of our own refusals."""
    inner = package.HTTPTransport(verify=False, limits=package.Limits(max_connections=1))
    made = ResilientTransport(inner, translate=True)
    upstream.answers(Answer(body=b"half", length=8, then="hang"))
    timeout = package.Timeout(5, pool=0.01)
    with package.Client(transport=made, timeout=timeout) as client, client.stream("GET", upstream.url):
        with pytest.raises(ConcurrencyLimitError):
            client.get(upstream.url)
        assert only(made).ignored == 1


@both
def test_a_request_that_cannot_be_sent_is_not_the_upstreams_fault(package, upstream):
    """An illegal header is a bug on this side."""
    made = transport(package, translate=True, retry=Retry(3))
    with package.Client(transport=made) as client, pytest.raises(ExternalAPIRejectedError):
        client.get(upstream.url, headers={"X-Broken": "line\r\nbreak"})
    assert (only(made).ignored, only(made).failures) == (1, 0)
    assert upstream.requests == []


@both
def test_a_connection_that_takes_too_long_is_repeated_for_a_write(package, black_hole):
    """Nothing had been sent, so a POST may be tried again."""
    events = []
    retry = Retry(2, wait=constant(1), clock=FakeClock(), listeners=[events.append])
    made = transport(package, retry=retry)
    with package.Client(transport=made, timeout=0.05) as client, pytest.raises(package.ConnectTimeout):
        client.post(black_hole, content=b"charge")
    assert [event.attempt for event in events] == [1]
    assert only(made).failures == 2


@both
def test_a_write_that_hangs_is_not_repeated(package, upstream):
    """It may have been done."""
    made = transport(package, retry=Retry(3, clock=FakeClock()))
    upstream.answers(HANG)
    with package.Client(transport=made, timeout=0.05) as client, pytest.raises(package.ReadTimeout):
        client.post(upstream.url, content=b"charge")
    assert len(upstream.requests) == 1


@both
@pytest.mark.parametrize(
    ("kind", "content"),
    [("bytes", b"data"), ("json", {"a": 1}), ("form", {"a": "1"}), ("nothing", None)],
)
def test_bodies_that_lie_in_memory_can_be_repeated(package, upstream, kind, content):
    """Bytes, JSON, forms and no body at all."""
    name = {"bytes": "content", "json": "json", "form": "data", "nothing": "content"}[kind]
    made = transport(package, retry=Retry(2, wait=constant(0), clock=FakeClock()))
    upstream.answers(503)
    with package.Client(transport=made) as client:
        assert client.put(upstream.url, **{name: content}).status_code == 200
    first, second = upstream.requests
    assert first == second


@both
def test_answers_that_come_with_their_body_are_judged_at_once(package):
    """As from a mock, or a transport that caches."""
    made = ResilientTransport(package.MockTransport(lambda request: package.Response(200, json={"a": 1})))
    with package.Client(transport=made) as client:
        assert client.get("http://upstream/").json() == {"a": 1}
    assert (only(made).successes, only(made).name) == (1, "http[http://upstream]")


@both
@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://API.example.com/v1?key=secret", "https://api.example.com"),
        ("https://user:secret@api.example.com:8443/", "https://api.example.com:8443"),
        ("http://api.example.com:80/", "http://api.example.com"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_the_key_is_scheme_host_and_port(package, url, key):
    """In one spelling, and without what is secret."""
    made = ResilientTransport(package.MockTransport(lambda request: package.Response(200)))
    with package.Client(transport=made) as client:
        client.get(url)
    assert only(made).name == f"http[{key}]"


@both
def test_breakers_are_bounded(package):
    """A crawler of many hosts keeps as many breakers as the registry allows."""
    breakers = CircuitBreakerRegistry(max_keyed=10)
    made = ResilientTransport(package.MockTransport(lambda request: package.Response(200)), breakers=breakers)
    with package.Client(transport=made) as client:
        for number in range(50):
            client.get(f"http://host-{number}/")
    assert len(breakers) == 10


@both
def test_closing_the_client_closes_the_inner_transport(package):
    """Once entered with it, once closed with it."""
    calls = []

    class Inner(package.BaseTransport):
        def __enter__(self):
            calls.append("enter")
            return self

        def __exit__(self, *exc_info):
            calls.append("exit")

        def close(self):
            calls.append("close")

        def handle_request(self, request):
            return package.Response(200)

    with package.Client(transport=ResilientTransport(Inner())) as client:
        client.get("http://upstream/")
    package.Client(transport=ResilientTransport(Inner())).close()
    assert calls == ["enter", "exit", "close"]


@both
def test_what_is_no_error_of_the_network_passes(package):
    """A bug in a transport surfaces as it is, is not repeated and counts as nothing, whatever it looks like."""
    calls = []

    def broken(request):
        calls.append(request)
        raise FileNotFoundError("cache.db")

    made = ResilientTransport(package.MockTransport(broken), translate=True, retry=Retry(3, clock=FakeClock()))
    with package.Client(transport=made) as client, pytest.raises(FileNotFoundError):
        client.get("http://upstream/")
    assert (only(made).ignored, len(calls)) == (1, 1)


@both
def test_a_retry_with_a_deadline_sets_it_for_its_attempts(package, upstream):
    """The breaker's judgement, the timeout and the retry see the same time."""
    made = transport(package, retry=Retry(2, deadline=0.05))
    upstream.answers(HANG, HANG)
    with package.Client(transport=made, timeout=60) as client, pytest.raises(package.TimeoutException):
        client.get(upstream.url)
    assert len(upstream.requests) == 1


# Bad input ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResilientTransport(None), "inner is None; accepted is a transport"),
        (lambda: ResilientTransport(httpx.HTTPTransport), "inner is <class"),
        (lambda: ResilientTransport(httpx.AsyncHTTPTransport(verify=False)), "`handle_request`"),
        (lambda: AsyncResilientTransport(httpx2.HTTPTransport(verify=False)), "`handle_async_request`"),
        (lambda: ClientConfig(breakers=CircuitBreaker("a")), "breakers is"),
        (lambda: ClientConfig(name=""), "name is ''"),
        (lambda: ClientConfig(key="host"), "key is 'host'"),
        (lambda: ClientConfig(retry=3), "retry is 3"),
        (lambda: ClientConfig(translate="yes"), "translate is 'yes'"),
        (lambda: transport(httpx, retries=3), "unknown option retries; accepted are breakers, name"),
        (lambda: ResilientTransport(httpx.HTTPTransport(verify=False), Retry(3)), "config is Retry"),
        (lambda: ResilientTransport(httpx.HTTPTransport(verify=False), ClientConfig(), name="a"), "both given"),
    ],
)
def test_bad_input_is_refused_by_name(make, message):
    """The error says which parameter, what was given and what is accepted."""
    with pytest.raises(ConfigurationError) as refused:
        make()
    assert message in str(refused.value)


def test_a_key_that_is_no_text_is_refused(upstream):
    """At the call, where it is first known."""
    made = transport(httpx, key=lambda request: None)
    with httpx.Client(transport=made) as client, pytest.raises(ConfigurationError, match="key gave None"):
        client.get(upstream.url)


# Installations --------------------------------------------------------------------------------------------------------
WITHOUT = """
import importlib.util, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {missing!r} else find(name, *rest)
"""


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(("there", "missing"), [("httpx", "httpx2"), ("httpx2", "httpx")])
def test_one_of_the_packages_is_enough(there, missing):
    """With the other not installed, transports work."""
    code = f"""
import {there}
from creatormate_resilience.clients.httpx import ResilientTransport
mock = {there}.MockTransport(lambda request: {there}.Response(204))
with {there}.Client(transport=ResilientTransport(mock)) as client:
    print(client.get("http://upstream/").status_code, {missing!r} in sys.modules)
"""
    assert run(WITHOUT.format(missing={missing}) + code) == "204 False"


@pytest.mark.parametrize(
    ("module", "made", "missing"),
    [
        ("httpx", "ResilientTransport(None)", {"httpx", "httpx2"}),
        ("httpx", "AsyncResilientTransport(None)", {"httpx", "httpx2"}),
        ("requests", "ResilientAdapter()", {"requests"}),
        ("aiohttp", "ResilientMiddleware()", {"aiohttp"}),
    ],
)
def test_a_missing_package_is_named_when_it_is_needed(module, made, missing):
    """The module can be imported; making something of it says what to install."""
    code = f"""
import creatormate_resilience.clients.{module} as clients
from creatormate_resilience.exceptions import MissingDependencyError
try:
    clients.{made}
except MissingDependencyError as error:
    print(error)
"""
    assert f'pip install "creatormate-resilience[{module}]"' in run(WITHOUT.format(missing=missing) + code)


def test_httpx_may_be_another_name_for_httpx2():
    """After `httpx2.alias_httpx()` there is one package of two names."""
    code = """
import httpx2
httpx2.alias_httpx()
import httpx
from creatormate_resilience.clients.httpx import ResilientTransport
mock = httpx.MockTransport(lambda request: httpx.Response(204))
print(httpx.Client(transport=ResilientTransport(mock)).get("http://upstream/").status_code)
"""
    assert run(code) == "204"


def test_the_breakers_configuration_is_by_name(upstream):
    """What an operator has set for the name applies to each host."""
    breakers = CircuitBreakerRegistry({"crm": CircuitBreakerConfig(failure_threshold=1)})
    made = transport(httpx, breakers=breakers, name="crm")
    upstream.answers(500)
    with httpx.Client(transport=made) as client:
        client.get(upstream.url)
    assert breakers.get("crm", key=upstream.url).state == "open"
