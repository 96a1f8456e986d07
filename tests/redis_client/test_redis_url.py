"""What a Redis URL says, in each of its forms."""

from __future__ import annotations

from typing import Any

import pytest

from creatormate_resilience.redis_client._url import parse_url


def said(url: str) -> dict[str, Any]:
    """Everything that is there."""
    address = parse_url(url, "a test")
    parts = {name: getattr(address, name) for name in ("kind", "hosts", "service", "access", "sentinel", "tls")}
    return {name: value for name, value in parts.items() if value not in ((), "", {})}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://h", {"kind": "server", "hosts": (("h", 6379),), "tls": None}),
        (
            "redis://us%65r:p%40ss@h:1/15",
            {
                "kind": "server",
                "hosts": (("h", 1),),
                "access": {"username": "user", "password": "p@ss", "db": 15},
                "tls": None,
            },
        ),
        ("redis://:p@[::1]:7/", {"kind": "server", "hosts": (("::1", 7),), "access": {"password": "p"}, "tls": None}),
        (
            "rediss://h/0?ssl_cert_reqs=none&ssl_check_hostname=no&db=2",
            {
                "kind": "server",
                "hosts": (("h", 6379),),
                "access": {"db": 2},
                "tls": {"ssl_cert_reqs": "none", "ssl_check_hostname": False},
            },
        ),
        ("rediss://h", {"kind": "server", "hosts": (("h", 6379),)}),
        (
            "unix://u:p@/run/red%20is.sock?db=1",
            {
                "kind": "unix",
                "access": {"username": "u", "password": "p", "path": "/run/red is.sock", "db": 1},
                "tls": None,
            },
        ),
        (
            "redis+sentinel://u:p@a,b:2,[::1]:3/mymaster/4?sentinel_username=s&sentinel_password=%3F#x",
            {
                "kind": "sentinel",
                "hosts": (("a", 26379), ("b", 2), ("::1", 3)),
                "service": "mymaster",
                "access": {"username": "u", "password": "p", "db": 4},
                "sentinel": {"username": "s", "password": "?"},
                "tls": None,
            },
        ),
        (
            "rediss+cluster://:p@a:1,b:2/0?protocol=2&client_name=app&ssl_ciphers=x",
            {
                "kind": "cluster",
                "hosts": (("a", 1), ("b", 2)),
                "access": {"password": "p", "protocol": 2, "client_name": "app"},
                "tls": {"ssl_ciphers": "x"},
            },
        ),
    ],
)
def test_a_url_is_read(url: str, says: dict[str, Any]):
    """Hosts, place, credentials and options, decoded."""
    assert said(url) == says


def test_what_was_read_shows_no_password():
    """It may land in the frames of a traceback."""
    assert "hunter2" not in repr(parse_url("redis+sentinel://:hunter2@a/m?sentinel_password=hunter2", "a test"))
