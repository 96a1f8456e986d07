"""Who is calling: the client's address behind proxies, read from the right and only as far as trusted hops vouch."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("ClientIPResolver",)

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_TrustedProxy: TypeAlias = str | _Address | _Network

_LONGEST_ENTRY = 512
"""Bytes between two commas; more is no entry. It bounds the work for a header without commas."""
_LONGEST_ADDRESS = 45
_HOPS_LIMIT = 100
_REMEMBERED = 1024
"""Addresses a resolver keeps in memory: the same proxies and clients come again, and reading one costs 4 us."""
_UNIX_SOCKET = "unix:"
_WHY_NOT_EVERY_ADDRESS = (
    ": then the client would be the leftmost entry of the header, which anybody can write; "
    "name the networks of your proxies"
)

_ADDRESS = re.compile(rb"[0-9A-Fa-f:.]{2,45}")
_V4_PORT = re.compile(rb"([0-9.]{7,15}):([0-9]{1,5}|_[A-Za-z0-9._-]+)")
_V6_PORT = re.compile(rb"\[([0-9A-Fa-f:.]{2,45})\](?::([0-9]{1,5}|_[A-Za-z0-9._-]+))?")

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_PAIR = re.compile(rb"(" + _TOKEN + rb")=(" + _TOKEN + rb"|" + _QUOTED + rb")")
_ELEMENT = re.compile(rb"PAIR?(?:;PAIR?)*".replace(b"PAIR", rb"(?:" + _PAIR.pattern + rb")"))


class _Known(NamedTuple):
    text: str
    is_trusted: bool


class ClientIPResolver:
    """Finds the client's address.

    Args:
        trusted_proxies: Addresses and networks of the proxies whose word counts, such as `("10.0.0.0/8",)`; `"unix:"`
            stands for whoever connects over a Unix socket. Nobody by default: then the client is the peer.
        header: Which header the proxies write, "x-forwarded-for" or "forwarded" (RFC 7239); None reads none. Only one,
            because a proxy that writes one passes the other on as the client sent it.
        max_hops: Entries read at most, from the right.

    Raises:
        ConfigurationError: A parameter is not usable, or `trusted_proxies` would trust every address.

    Each proxy appends the address it was called from, so the header is read from the right. An entry counts as long as
    everybody to its right is trusted; the first that is not trusted is the client. What is no address (`unknown`, a
    hidden name, an empty or overlong entry) ends the walk at the last address that was vouched for.
    """

    __slots__ = ("_header", "_known", "_max_hops", "_networks", "_trusts_unix_socket")

    def __init__(
        self,
        trusted_proxies: Iterable[_TrustedProxy] = (),
        header: Literal["x-forwarded-for", "forwarded"] | None = "x-forwarded-for",
        max_hops: int = 10,
    ) -> None:
        if header not in ("x-forwarded-for", "forwarded", None):
            raise ConfigurationError(f"header is {header!r}; accepted are 'x-forwarded-for', 'forwarded' and None")
        if isinstance(max_hops, bool) or not isinstance(max_hops, int) or not 1 <= max_hops <= _HOPS_LIMIT:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"max_hops is {max_hops!r}; accepted are whole numbers from 1 to {_HOPS_LIMIT}")
        if isinstance(trusted_proxies, str | bytes):
            _refuse_star(trusted_proxies)
            raise ConfigurationError(
                f"trusted_proxies is the text {trusted_proxies!r}; accepted is a sequence, such as ('10.0.0.0/8',)"
            )
        proxies = tuple(trusted_proxies)
        self._header = None if header is None else header.encode("ascii")
        self._max_hops = max_hops
        self._trusts_unix_socket = _UNIX_SOCKET in proxies
        self._networks = _networks(proxy for proxy in proxies if proxy != _UNIX_SOCKET)
        self._known = lru_cache(maxsize=_REMEMBERED)(self._read)

    def resolve(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """The client of one request.

        Args:
            peer: Host of the other end of the connection, as in `scope["client"]`; None, an empty text or a path stand
                for a Unix socket.
            headers: Names (in lower case) and values of the request's headers, as in `scope["headers"]`.

        Returns:
            An IPv4 or IPv6 address in its usual form, without port and zone; IPv4 inside IPv6 appears as IPv4. None
            where the peer is no address: a Unix socket that is not trusted or about whose client nothing valid is said,
            a name, an address with a zone.
        """
        known = self._known(peer.encode("utf-8", "replace")) if peer and len(peer) <= _LONGEST_ADDRESS else None
        over_unix_socket = not peer or peer.startswith("/")
        if self._header is not None and (known.is_trusted if known else over_unix_socket and self._trusts_unix_socket):
            lines = [value for name, value in headers if name == self._header]
            for entry in islice(_entries(lines), self._max_hops):
                host = _forwarded_for(entry) if self._header == b"forwarded" else _host(entry)
                vouched = None if host is None else self._known(host)
                if vouched is None:
                    break
                known = vouched
                if not known.is_trusted:
                    break
        return None if known is None else known.text

    def _read(self, text: bytes) -> _Known | None:
        if not _ADDRESS.fullmatch(text):  # no zone, no sign outside ASCII
            return None
        try:
            given = ipaddress.ip_address(text.decode("ascii"))
        except ValueError:
            return None
        address = getattr(given, "ipv4_mapped", None) or given
        return _Known(str(address), any(address in network for network in self._networks))

    def __repr__(self) -> str:
        header = None if self._header is None else self._header.decode("ascii")
        return f"<ClientIPResolver header={header!r} trusts {len(self._networks)} networks>"


def _networks(proxies: Iterable[_TrustedProxy]) -> tuple[_Network, ...]:
    given = [_network(proxy) for proxy in proxies]
    v4: Iterator[_Network] = ipaddress.collapse_addresses(
        network for network in given if isinstance(network, ipaddress.IPv4Network)
    )
    v6: Iterator[_Network] = ipaddress.collapse_addresses(
        network for network in given if isinstance(network, ipaddress.IPv6Network)
    )
    networks: tuple[_Network, ...] = (*v4, *v6)
    if any(network.prefixlen == 0 for network in networks):  # given as such, or as the sum of its parts
        raise ConfigurationError(f"trusted_proxies holds every address{_WHY_NOT_EVERY_ADDRESS}")
    return networks


def _network(proxy: _TrustedProxy) -> _Network:
    _refuse_star(proxy)
    problem: Exception | None = None
    # Numbers and bytes are addresses too for `ip_network`, and nobody means them here.
    if isinstance(proxy, str | ipaddress.IPv4Address | ipaddress.IPv6Address | _Network):  # pyright: ignore[reportUnnecessaryIsInstance]
        try:
            network = ipaddress.ip_network(proxy)
        except ValueError as error:
            problem = error
        else:
            if getattr(network.network_address, "scope_id", None) is None:
                return _unmapped(network)
    raise ConfigurationError(
        f"trusted_proxies holds {proxy!r}; accepted are addresses and networks without zone and host bits, such as "
        f"'10.0.0.3', '10.0.0.0/8' and '2001:db8::/32', and {_UNIX_SOCKET!r}"
    ) from problem


def _unmapped(network: _Network) -> _Network:
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < 96:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - 96))


def _refuse_star(proxy: object) -> None:
    if proxy in ("*", b"*"):
        raise ConfigurationError(f"trusted_proxies holds '*'{_WHY_NOT_EVERY_ADDRESS}")


def _entries(lines: Sequence[bytes]) -> Iterator[bytes]:
    """The entries of all lines from the right; looking at one costs the same however long the lines are."""
    for line in reversed(lines):
        end = len(line)
        while end >= 0:
            comma = line.rfind(b",", max(0, end - _LONGEST_ENTRY), end)
            if comma < 0 and end > _LONGEST_ENTRY:
                yield b""
                return
            yield line[comma + 1 : end].strip(b" \t")
            end = comma


def _host(node: bytes) -> bytes | None:
    """What stands before the port, if there is one; IPv6 with a port stands in brackets."""
    match = _V6_PORT.fullmatch(node) or _V4_PORT.fullmatch(node)
    if match is None:
        return node if len(node) <= _LONGEST_ADDRESS else None
    host, port = match.groups()
    if (port is not None and port.isdigit() and int(port) > 65535) or (node.startswith(b"[") and b":" not in host):
        return None
    return host


def _forwarded_for(element: bytes) -> bytes | None:
    """The host in `for=` of one element of RFC 7239. What its grammar does not allow says nothing."""
    if not _ELEMENT.fullmatch(element):
        return None
    pairs = [(name.lower(), value) for name, value in _PAIR.findall(element)]
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)) or b"for" not in names:
        return None
    value: bytes = dict(pairs)[b"for"]
    if not value.startswith(b'"'):
        return _host(value)  # a token has no colon and no bracket: only IPv4 without a port fits
    return _host(value[1:-1])
