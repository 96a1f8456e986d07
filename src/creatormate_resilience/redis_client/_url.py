"""What a Redis URL says: one server, the master that sentinels know, or a cluster. Pure; shows no secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qsl, unquote

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.redaction import redact_url

__all__ = ("SCHEMES", "Address", "parse_url")

Kind = Literal["server", "unix", "sentinel", "cluster"]

_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "redis": "server",
        "rediss": "server",
        "unix": "unix",
        "redis+sentinel": "sentinel",
        "rediss+sentinel": "sentinel",
        "redis+cluster": "cluster",
        "rediss+cluster": "cluster",
    }
)
SCHEMES = tuple(_KINDS)
"""What the URLs begin with, before the colon."""

_FORMS: Mapping[Kind, str] = MappingProxyType(
    {
        "server": "redis://host:port/0",
        "unix": "unix:///path",
        "sentinel": "redis+sentinel://host:port,host:port/service/0",
        "cluster": "redis+cluster://host:port,host:port",
    }
)
_PATHS: Mapping[Kind, re.Pattern[str]] = MappingProxyType(
    {
        "server": re.compile(r"/?(?P<db>\d{0,9})"),
        "unix": re.compile(r"(?P<path>/.+)"),
        "sentinel": re.compile(r"/(?P<service>[^/]+)/?(?P<db>\d{0,9})"),
        "cluster": re.compile(r"/?0?"),
    }
)
_PLACES: Mapping[Kind, str] = MappingProxyType(
    {
        "server": "no database by number",
        "unix": "no path",
        "sentinel": "no service, or no database by number",
        "cluster": "a database, and a cluster has only one",
    }
)
_HOST = re.compile(r"(\[[^\[\]@]*\]|[^\[\]:@]*)(?::(\d{1,5}))?")


def _boolean(text: str) -> bool:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]


def _protocol(text: str) -> int:
    return {"2": 2, "3": 3}[text]


def _requirement(text: str) -> str:
    return {each: each for each in ("none", "optional", "required")}[text]


_ACCESS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {"username": str, "password": str, "client_name": str, "protocol": _protocol}
)
_DB: Mapping[str, Callable[[str], Any]] = MappingProxyType({"db": int})
_SENTINEL: Mapping[str, Callable[[str], Any]] = MappingProxyType({"sentinel_username": str, "sentinel_password": str})
_TLS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "ssl_cert_reqs": _requirement,
        "ssl_check_hostname": _boolean,
        "ssl_ca_certs": str,
        "ssl_ca_data": str,
        "ssl_certfile": str,
        "ssl_keyfile": str,
        "ssl_ciphers": str,
    }
)


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """What a URL says. Has no repr: it holds passwords.

    Attributes:
        kind: What is there.
        hosts: Names and ports; none for "unix".
        service: The name of the master, for "sentinel".
        access: Path, user, password, database and so on, as redis-py calls them.
        sentinel: User and password of the sentinels themselves.
        tls: The options of TLS; None without it.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    service: str
    access: Mapping[str, Any]
    sentinel: Mapping[str, Any]
    tls: Mapping[str, Any] | None


def parse_url(url: str, needed_by: str) -> Address:
    """Read a URL.

    Args:
        url: In one of the forms that `open_redis` names.
        needed_by: What it is for, named in errors.

    Raises:
        ConfigurationError: It is malformed, or its scheme or an option is not one of those accepted.
    """
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"{needed_by}: the URL is of type {type(url).__name__}; accepted is a text")
    shown = f"{needed_by}: {redact_url(url)!r}"
    scheme, separator, rest = url.partition("://")
    kind = _KINDS.get(scheme.lower()) if separator else None
    if kind is None or (not rest and "://" not in url):
        accepted = ", ".join(f"{name}://" for name in _KINDS)
        raise ConfigurationError(f"{shown} is not a Redis URL; accepted are {accepted}")
    return _Parser(kind, scheme.lower().startswith("rediss"), shown).parse(rest)


class _Parser:
    """Reads what follows the scheme; knows how to name the URL in errors."""

    def __init__(self, kind: Kind, tls: bool, shown: str) -> None:
        self._kind: Kind = kind
        self._tls = tls
        self._shown = shown

    def parse(self, rest: str) -> Address:
        """The address."""
        found = re.fullmatch(r"([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", rest, re.DOTALL)
        assert found is not None  # noqa: S101 - it fits every text
        user, _, hosts = found[1].rpartition("@")
        located = () if self._kind == "unix" else self._hosts(hosts)
        place = self._place(found[2])
        username, _, password = user.partition(":")
        options = {name: unquote(text) for name, text in (("username", username), ("password", password)) if text}
        options |= {name: place[name] for name in ("path", "db") if name in place}
        options |= self._options(found[3] or "", hidden="@" in f"{found[2]}{found[3]}")
        return Address(
            self._kind,
            located,
            place.get("service", ""),
            {name: value for name, value in options.items() if not name.startswith(("sentinel_", "ssl_"))},
            {name.removeprefix("sentinel_"): value for name, value in options.items() if name in _SENTINEL},
            {name: value for name, value in options.items() if name in _TLS} if self._tls else None,
        )

    def _hosts(self, text: str) -> tuple[tuple[str, int], ...]:
        return tuple(self._host(each) for each in (text.split(",") if self._kind != "server" else [text]))

    def _host(self, text: str) -> tuple[str, int]:
        found = _HOST.fullmatch(text)
        port = int(found[2]) if found and found[2] else 26379 if self._kind == "sentinel" else 6379
        if found is None or not 0 < port < 65536:
            self._refuse("has no valid port")
        name = unquote(found[1].strip("[]"))
        if not name:
            self._refuse("names no host")
        return name, port

    def _place(self, path: str) -> dict[str, Any]:
        found = _PATHS[self._kind].fullmatch(path)
        if found is None:
            self._refuse(f"names {_PLACES[self._kind]}")
        place: dict[str, Any] = {name: unquote(text) for name, text in found.groupdict().items() if text}
        if "db" in place:
            place["db"] = int(place["db"])
        return place

    def _options(self, query: str, *, hidden: bool) -> dict[str, Any]:
        accepted: dict[str, Callable[[str], Any]] = {**_ACCESS}
        accepted |= {} if self._kind == "cluster" else _DB
        accepted |= _SENTINEL if self._kind == "sentinel" else {}
        accepted |= _TLS if self._tls else {}
        options: dict[str, Any] = {}
        for name, text in parse_qsl(query, keep_blank_values=True):
            told = "an option" if hidden or not re.fullmatch(r"\w{1,40}", name) else f"the option {name}"
            if name not in accepted:
                self._refuse(f"has {told} that is not accepted; accepted are {', '.join(accepted)}")
            try:
                options[name] = accepted[name](text)
            except (KeyError, ValueError):
                self._refuse(f"has a wrong value for {told}")
        return options

    def _refuse(self, why: str) -> NoReturn:
        form = "" if "accepted" in why else f"; accepted is {_FORMS[self._kind]}"
        raise ConfigurationError(f"{self._shown} {why}{form}") from None
