"""What is particular to requests."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from tests.clients.upstream import CUT, HANG, STALL, Answer

from creatormate_resilience.clients.requests import ResilientAdapter
from creatormate_resilience.deadline import deadline_scope
from creatormate_resilience.exceptions import ConfigurationError, ExternalAPIProtocolError
from creatormate_resilience.policies import Retry, constant
from creatormate_resilience.testing import FakeClock


def session(**options: Any) -> tuple[requests.Session, ResilientAdapter]:
    made = requests.Session()
    adapter = ResilientAdapter(**options)
    made.mount("http://", adapter)
    made.mount("https://", adapter)
    return made, adapter


def only(adapter: ResilientAdapter) -> Any:
    (breaker,) = adapter.config.breakers
    return breaker.statistics()


def test_two_layers_that_repeat_are_refused():
    """urllib3's retries inside ours would multiply; one of them alone is accepted."""
    with pytest.raises(ConfigurationError, match="accepted is one of them"):
        ResilientAdapter(HTTPAdapter(max_retries=3), retry=Retry(3))
    ResilientAdapter(HTTPAdapter(max_retries=3))
    ResilientAdapter(HTTPAdapter(), retry=Retry(3))


def test_what_is_no_adapter_is_refused():
    """With the parameter's name."""
    with pytest.raises(ConfigurationError, match="inner is 3; accepted is an adapter"):
        ResilientAdapter(3)


@pytest.mark.parametrize("amount", [1, 4, 100, None])
def test_a_body_taken_raw_is_judged_too(upstream, amount):
    """Read in pieces or whole from `response.raw`, at its end it is a success."""
    client, adapter = session()
    upstream.answers(Answer(body=b"12345678"))
    with client, client.get(upstream.url, stream=True) as response:
        assert only(adapter).calls == 0
        read = b""
        while part := response.raw.read(amount):
            read += part
    assert read == b"12345678"
    assert (only(adapter).successes, only(adapter).calls) == (1, 1)


@pytest.mark.parametrize("way", ["readinto", "iterated", "lines"])
def test_every_way_to_read_a_body_is_judged(upstream, way):
    """As a file, as an iterator, in lines."""
    client, adapter = session()
    upstream.answers(Answer(body=b"one\ntwo\n"))
    with client, client.get(upstream.url, stream=True) as response:
        if way == "readinto":
            buffer = bytearray(100)
            assert response.raw.readinto(buffer) == 8
        elif way == "iterated":
            assert b"".join(response.raw) == b"one\ntwo\n"
        else:
            assert list(response.iter_lines()) == [b"one", b"two"]
    assert (only(adapter).successes, only(adapter).calls) == (1, 1)


@pytest.mark.parametrize("way", ["close", "release_conn"])
def test_a_raw_body_left_early_counts_as_nothing(upstream, way):
    """Closed, or its connection given back."""
    client, adapter = session()
    upstream.answers(STALL)
    with client, client.get(upstream.url, stream=True) as response:
        assert response.raw.read(4) == b"half"
        getattr(response.raw, way)()
        assert (only(adapter).ignored, only(adapter).calls) == (1, 1)


def test_a_raw_body_that_breaks_is_translated(upstream):
    """urllib3's error becomes one of the family."""
    client, adapter = session(translate=True)
    upstream.answers(CUT)
    with client, client.get(upstream.url, stream=True) as response, pytest.raises(ExternalAPIProtocolError):
        response.raw.read()
    assert only(adapter).failures == 1


@pytest.mark.parametrize(
    "timeout",
    [None, 60, (60, 60), (None, None), urllib3.Timeout(60), urllib3.Timeout(total=60), urllib3.Timeout(None)],
    ids=["none", "number", "pair", "nones", "urllib3", "total", "unlimited"],
)
def test_each_form_of_timeout_is_cut_to_the_deadline(upstream, timeout):
    """However a timeout is given, the request ends with the deadline."""
    client, _ = session()
    upstream.answers(HANG)
    with client, deadline_scope(0.05), pytest.raises(requests.ReadTimeout):
        client.get(upstream.url, timeout=timeout)


def test_a_shorter_timeout_of_the_callers_own_stays(upstream):
    """The deadline only shortens."""
    client, adapter = session()
    upstream.answers(HANG)
    with client, deadline_scope(60, received=True), pytest.raises(requests.ReadTimeout):
        client.get(upstream.url, timeout=urllib3.Timeout(total=0.05))
    assert only(adapter).failures == 1


def test_a_connection_that_takes_too_long_is_repeated_for_a_write(black_hole):
    """Nothing had been sent."""
    client, adapter = session(retry=Retry(2, wait=constant(1), clock=FakeClock()))
    with client, pytest.raises(requests.ConnectTimeout):
        client.post(black_hole, data=b"charge", timeout=0.05)
    assert only(adapter).failures == 2


def test_what_authentication_sends_again_goes_through_the_breaker(upstream):
    """Digest authentication answers a 401 through the response's own connection."""
    client, adapter = session()
    challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
    upstream.answers(Answer(401, {"WWW-Authenticate": challenge}))
    with client:
        response = client.get(upstream.url, auth=requests.auth.HTTPDigestAuth("user", "password"))
    assert response.status_code == 200
    assert only(adapter).calls == 2


def test_faults_of_the_installation_are_not_the_upstreams(tmp_path):
    """A certificate file that is missing counts as nothing."""
    client, adapter = session(retry=Retry(3, clock=FakeClock()), translate=True)
    with client, pytest.raises(OSError, match="CA certificate"):
        client.get("https://127.0.0.1:1/", verify=str(tmp_path / "missing.pem"))
    assert (only(adapter).ignored, only(adapter).calls) == (1, 1)


def test_a_proxy_url_that_makes_no_sense_is_not_the_upstreams_fault():
    """It is the request that is wrong."""
    client, adapter = session()
    with client, pytest.raises(requests.exceptions.InvalidProxyURL):
        client.get("http://upstream/", proxies={"http": "http:///nowhere"})
    assert (only(adapter).ignored, only(adapter).calls) == (1, 1)


def test_cookies_and_the_rest_of_a_response_are_as_ever(upstream):
    """What requests reads from urllib3's response is there."""
    client, _ = session()
    upstream.answers(Answer(headers={"Set-Cookie": "a=1"}))
    with client:
        response = client.get(upstream.url)
        assert (response.cookies["a"], client.cookies["a"], response.text) == ("1", "1", "ok")
        assert response.raw.version == 11
