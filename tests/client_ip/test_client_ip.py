"""The client's address: what trusted hops vouch for, never what anybody could have written."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creatormate_resilience.client_ip import ClientIPResolver
from creatormate_resilience.exceptions import ConfigurationError

PROXIES = ("10.0.0.0/8", "fe80::/10", "2001:db8:ffff::/48")
PROXY = "10.0.0.1"
CLIENT = "203.0.113.7"

# What X-Forwarded-For says to a trusted peer, in lines; and the client.
FORWARDED_FOR = [
    # plain walks
    (["203.0.113.7"], CLIENT),
    (["6.6.6.6, 203.0.113.7"], CLIENT),
    (["6.6.6.6, 203.0.113.7, 10.0.0.3"], CLIENT),
    (["6.6.6.6,203.0.113.7,10.0.0.3,10.9.9.9"], CLIENT),
    (["6.6.6.6 ,\t203.0.113.7\t, 10.0.0.3 "], CLIENT),
    (["10.0.0.3"], "10.0.0.3"),
    (["10.0.0.3, 10.0.0.4"], "10.0.0.3"),
    ([], PROXY),
    # several lines are one list
    (["6.6.6.6", "203.0.113.7"], CLIENT),
    (["6.6.6.6, 203.0.113.7", "10.0.0.3"], CLIENT),
    (["203.0.113.7", "10.0.0.3", "10.0.0.4"], CLIENT),
    (["203.0.113.7", ""], PROXY),
    (["203.0.113.7", "", "10.0.0.3"], "10.0.0.3"),
    # ports and brackets
    (["203.0.113.7:80"], CLIENT),
    (["203.0.113.7:0"], CLIENT),
    (["203.0.113.7:65535"], CLIENT),
    (["203.0.113.7:65536"], PROXY),
    (["203.0.113.7:99999999999"], PROXY),
    (["203.0.113.7:-1"], PROXY),
    (["203.0.113.7:"], PROXY),
    (["203.0.113.7:8o"], PROXY),
    (["203.0.113.7:80:80"], PROXY),
    (["[203.0.113.7]"], PROXY),
    (["[203.0.113.7]:80"], PROXY),
    (["2001:db8::7"], "2001:db8::7"),
    (["[2001:db8::7]"], "2001:db8::7"),
    (["[2001:db8::7]:443"], "2001:db8::7"),
    (["[2001:db8::7]:65536"], PROXY),
    (["[2001:db8::7]443"], PROXY),
    (["[2001:db8::7"], PROXY),
    (["2001:db8::7]"], PROXY),
    (["[[2001:db8::7]]"], PROXY),
    (["2001:DB8:0:0:0:0:0:7"], "2001:db8::7"),
    (["203.0.113.7, [2001:db8:ffff::1]:443"], CLIENT),
    # IPv4 in IPv6
    (["::ffff:203.0.113.7"], CLIENT),
    (["[::ffff:203.0.113.7]:80"], CLIENT),
    (["::ffff:cb00:7107"], CLIENT),
    (["203.0.113.7, ::ffff:10.0.0.3"], CLIENT),
    (["6.6.6.6, ::ffff:203.0.113.7, ::ffff:a00:3"], CLIENT),
    # zones
    (["6.6.6.6, fe80::1%eth0"], PROXY),
    (["6.6.6.6, fe80::1"], "6.6.6.6"),
    (["2001:db8::1%25eth0"], PROXY),
    (["[fe80::1%eth0]:80"], PROXY),
    (["::ffff:10.0.0.3%1"], PROXY),
    # what is no address
    (["<script>alert(1)</script>"], PROXY),
    (["unknown"], PROXY),
    (["_hidden"], PROXY),
    (["example.com"], PROXY),
    (["1.2.3.4\x00"], PROXY),
    (["\x001.2.3.4"], PROXY),
    (["1.2.3.4\n"], PROXY),
    (["1.2.3.4\r\nx: y"], PROXY),
    (["1.2.3. 4"], PROXY),
    (["1.2.3.4 5.6.7.8"], PROXY),
    (["1.2.3.4\xa0"], PROXY),
    (["1" * 5000], PROXY),
    (["010.0.0.1"], PROXY),
    (["203.0.113.07"], PROXY),
    (["0x7f.0.0.1"], PROXY),
    (["1.2.3"], PROXY),
    (["127.1"], PROXY),
    (["2130706433"], PROXY),
    (["1.2.3.4.5"], PROXY),
    (["256.1.1.1"], PROXY),
    (["1.2.3.4/32"], PROXY),
    (["1.2.3.4;x"], PROXY),
    (['"1.2.3.4"'], PROXY),
    (["for=1.2.3.4"], PROXY),
    (["::1::2"], PROXY),
    ([":::"], PROXY),
    (["2001:db8::12345"], PROXY),
    (["\uff11.\uff12.\uff13.\uff14"], PROXY),
    (["\uff11\uff12\uff17.0.0.1, 10.0.0.3"], "10.0.0.3"),
    (["1.2.3.\u0664"], PROXY),
    # empty entries
    ([""], PROXY),
    ([","], PROXY),
    ([", ,10.0.0.3"], "10.0.0.3"),
    (["203.0.113.7,,10.0.0.3"], "10.0.0.3"),
    (["203.0.113.7,"], PROXY),
    # the first bad entry ends the walk, whatever stands to its left
    (["203.0.113.7, unknown, 10.0.0.3"], "10.0.0.3"),
    (["203.0.113.7, 10.0.0.3, 6.6.6.6x"], PROXY),
    (["203.0.113.7" + " " * 2000], PROXY),
    (["203.0.113.7," + " " * 400 + "10.0.0.3"], CLIENT),
]

FORWARDED = [
    (["for=203.0.113.7"], CLIENT),
    (["For=203.0.113.7;Proto=https;by=10.0.0.2"], CLIENT),
    (["proto=https;for=203.0.113.7"], CLIENT),
    (["for=6.6.6.6, for=203.0.113.7, for=10.0.0.3"], CLIENT),
    (["for=6.6.6.6", "for=203.0.113.7;host=x", "for=10.0.0.3"], CLIENT),
    (['for="203.0.113.7"'], CLIENT),
    (['for="203.0.113.7:80"'], CLIENT),
    (['for="203.0.113.7:_port"'], CLIENT),
    (['for="[2001:db8::7]"'], "2001:db8::7"),
    (['for="[2001:db8::7]:443";proto=https'], "2001:db8::7"),
    (['for="[::ffff:203.0.113.7]"'], CLIENT),
    (['for=203.0.113.7;by="a;for=6.6.6.6"'], CLIENT),
    (['for=203.0.113.7;ext="a\\"b"'], CLIENT),
    (["for=203.0.113.7;"], CLIENT),
    (["203.0.113.7"], PROXY),
    (["for=unknown"], PROXY),
    (["for=_hidden"], PROXY),
    (['for="_gazonk"'], PROXY),
    (["for="], PROXY),
    (['for=""'], PROXY),
    (["for=203.0.113.7:80"], PROXY),
    (["for=[2001:db8::7]"], PROXY),
    (["for=2001:db8::7"], PROXY),
    (['for="203.0.113.7'], PROXY),
    (['for=203.0.113.7"'], PROXY),
    (["for = 203.0.113.7"], PROXY),
    (['for="203.0.113.7:65536"'], PROXY),
    (['for="[fe80::1%eth0]"'], PROXY),
    (["for=203.0.113.7;for=6.6.6.6"], PROXY),
    (["for=203.0.113.7;FOR=203.0.113.7"], PROXY),
    (["proto=https"], PROXY),
    ([""], PROXY),
    (["for=6.6.6.6,"], PROXY),
    (["for=203.0.113.7;\x00=1"], PROXY),
    (['for="203.0.113.7\\x"'], PROXY),
    # a quote that the client left open must not swallow what the proxy added
    (['for="', "for=203.0.113.7"], CLIENT),
    (['for=6.6.6.6;x=", for=203.0.113.7'], CLIENT),
    # a comma inside quotes: the halves are no elements, so the walk ends
    (['for=6.6.6.6;x="a,b", for=10.0.0.3'], "10.0.0.3"),
]

PEERS = [
    ("203.0.113.7", CLIENT),
    ("::ffff:203.0.113.7", CLIENT),
    ("2001:DB8::0007", "2001:db8::7"),
    (None, None),
    ("", None),
    ("/run/app.sock", None),
    ("testclient", None),
    ("localhost", None),
    ("fe80::1%eth0", None),
    ("[2001:db8::7]", None),
    ("203.0.113.7:80", None),
    ("1.2.3", None),
    ("127.1", None),
    ("2130706433", None),
    ("010.0.0.1", None),
    ("\uff11.2.3.4", None),
    ("1.2.3.4\x00", None),
    (" 1.2.3.4", None),
    ("\ud800", None),
    ("<script>", None),
    ("1" * 100_000, None),
]


def lines(name: str, values: list[str]) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), *((name.encode(), value.encode("utf-8")) for value in values), (b"accept", b"*/*")]


@pytest.mark.parametrize(("values", "client"), FORWARDED_FOR)
def test_x_forwarded_for_is_read_from_the_right_as_far_as_trusted_hops_vouch(values, client):
    """What is no address ends the walk at the last address that was vouched for."""
    headers = lines("x-forwarded-for", values)
    assert ClientIPResolver(PROXIES).resolve(PROXY, headers) == client


@pytest.mark.parametrize(("values", "client"), FORWARDED)
def test_forwarded_is_read_by_the_grammar_of_rfc_7239(values, client):
    """And an element that the grammar does not allow says nothing."""
    assert ClientIPResolver(PROXIES, "forwarded").resolve(PROXY, lines("forwarded", values)) == client


@pytest.mark.parametrize(("peer", "client"), PEERS)
def test_by_default_nobody_is_trusted_and_the_client_is_the_peer(peer, client):
    """Whatever the headers say; a peer that is no address is nobody."""
    headers = [*lines("x-forwarded-for", ["6.6.6.6"]), *lines("forwarded", ["for=6.6.6.6"])]
    assert ClientIPResolver().resolve(peer, headers) == client


@pytest.mark.parametrize("peer", ["203.0.113.7", "fe80::1%eth0", "testclient", "/run/app.sock", None, "11.0.0.1"])
def test_the_word_of_an_untrusted_peer_counts_for_nothing(peer):
    """Only a trusted address may say who called it."""
    resolver = ClientIPResolver(PROXIES)
    assert resolver.resolve(peer, lines("x-forwarded-for", ["6.6.6.6"])) == resolver.resolve(peer, [])


def test_the_answer_for_one_peer_is_not_given_to_the_next():
    """A resolver remembers addresses, not requests."""
    resolver = ClientIPResolver(PROXIES)
    for last in [7, 8, 7, 9]:
        assert resolver.resolve(PROXY, lines("x-forwarded-for", [f"203.0.113.{last}"])) == f"203.0.113.{last}"
        assert resolver.resolve(f"203.0.113.{last}", []) == f"203.0.113.{last}"


@pytest.mark.parametrize("peer", ["::ffff:10.0.0.1", "10.0.0.1", "::ffff:a00:1"])
def test_an_ipv4_proxy_is_trusted_on_a_dual_stack_socket(peer):
    """There IPv4 peers appear inside IPv6."""
    assert ClientIPResolver(["10.0.0.1"]).resolve(peer, lines("x-forwarded-for", [CLIENT])) == CLIENT
    assert ClientIPResolver(["::ffff:10.0.0.0/104"]).resolve(peer, lines("x-forwarded-for", [CLIENT])) == CLIENT


@pytest.mark.parametrize("peer", [None, "", "/run/app.sock"])
def test_a_unix_socket_is_trusted_only_when_said(peer):
    """`unix:` in `trusted_proxies`, as nginx writes it; without a valid entry the client is not known."""
    headers = lines("x-forwarded-for", ["6.6.6.6, 203.0.113.7"])
    assert ClientIPResolver(["unix:"]).resolve(peer, headers) == CLIENT
    assert ClientIPResolver(["unix:"]).resolve(peer, lines("x-forwarded-for", ["unknown"])) is None
    assert ClientIPResolver(["unix:"]).resolve(peer, []) is None
    assert ClientIPResolver(["unix:"], header=None).resolve(peer, headers) is None
    assert ClientIPResolver(["unix:"]).resolve("testclient", headers) is None


def test_one_header_family_only():
    """The proxy writes one; the other is as the client sent it."""
    both = [*lines("forwarded", ["for=6.6.6.6"]), *lines("x-forwarded-for", [CLIENT])]
    assert ClientIPResolver(PROXIES).resolve(PROXY, both) == CLIENT
    assert ClientIPResolver(PROXIES, "forwarded").resolve(PROXY, both) == "6.6.6.6"
    assert ClientIPResolver(PROXIES, None).resolve(PROXY, both) == PROXY
    assert ClientIPResolver(PROXIES, "forwarded").resolve(PROXY, both[3:]) == PROXY


def test_at_most_max_hops_entries_are_read():
    """Past them the last one read is the answer, though it is a proxy."""
    hops = lines("x-forwarded-for", ["203.0.113.7, 10.0.0.5, 10.0.0.4, 10.0.0.3"])
    assert ClientIPResolver(PROXIES, max_hops=3).resolve(PROXY, hops) == "10.0.0.5"
    assert ClientIPResolver(PROXIES, max_hops=4).resolve(PROXY, hops) == CLIENT
    many = lines("x-forwarded-for", ["203.0.113.7" + ", 10.0.0.3" * 5000])
    assert ClientIPResolver(PROXIES).resolve(PROXY, many) == "10.0.0.3"


class CountedLine(bytes):
    """A header's value that counts how many bytes are looked at."""

    looked_at = 0

    def rfind(self, sub, start=0, end=None):
        CountedLine.looked_at += (len(self) if end is None else end) - start
        return super().rfind(sub, start, end)

    def __getitem__(self, key):
        CountedLine.looked_at += len(range(*key.indices(len(self))))
        return super().__getitem__(key)

    def __iter__(self):
        raise AssertionError("walked")

    def split(self, *args):
        raise AssertionError("split whole")


@pytest.mark.parametrize(
    "value",
    [b"10.0.0.3, " * 100_000 + b"10.0.0.4", b"1" * 1_000_000, b"," * 1_000_000, b" " * 1_000_000, b'"' * 1_000_000],
)
@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
def test_a_huge_header_costs_no_more_than_a_small_one(value, header):
    """The work is bounded by `max_hops`, counted in bytes looked at."""
    CountedLine.looked_at = 0
    resolver = ClientIPResolver(PROXIES, header, max_hops=10)
    assert resolver.resolve(PROXY, [(header.encode(), CountedLine(value))]) in {PROXY, "10.0.0.3"}
    assert 0 < CountedLine.looked_at <= 10 * 2 * 513


@pytest.mark.parametrize(
    "proxies",
    [
        [ipaddress.ip_address("10.0.0.1")],
        [ipaddress.ip_network("10.0.0.0/24")],
        ["10.0.0.0/255.0.0.0"],
        ["2001:db8::1", "10.0.0.1/32"],
        (text for text in ["10.0.0.1"]),
    ],
)
def test_proxies_are_addresses_and_networks_in_any_usual_form(proxies):
    """As texts or as objects of `ipaddress`."""
    assert ClientIPResolver(proxies).resolve(PROXY, lines("x-forwarded-for", [CLIENT])) == CLIENT


@pytest.mark.parametrize(
    "proxies",
    [
        ["proxy.internal"], ["10.0.0.1/8"], ["10.0.0.0/33"], ["fe80::1%eth0"], ["fe80::%eth0/64"], ["010.0.0.1"], [""],
        [" 10.0.0.1"],
        [10], [b"\n\0\0\1"], [None], [True], "10.0.0.1", b"10.0.0.1",
        ["\uff110.0.0.1"], ["10.0.0.0/8", "unknown"],
    ],
)  # fmt: skip
def test_proxies_that_are_none_are_refused(proxies):
    """With the name of the parameter and what is accepted."""
    with pytest.raises(ConfigurationError, match=r"trusted_proxies.*accepted"):
        ClientIPResolver(proxies)


@pytest.mark.parametrize(
    "proxies",
    ["*", b"*", ["*"], ["10.0.0.1", "*"], ["0.0.0.0/0"], ["::/0"], ["0.0.0.0/1", "128.0.0.0/1"], ["::ffff:0.0.0.0/96"]],
)
def test_trusting_every_address_is_refused_with_the_reason(proxies):
    """The client would be whatever the attacker wrote first."""
    with pytest.raises(ConfigurationError, match="leftmost entry of the header, which anybody can write"):
        ClientIPResolver(proxies)


@pytest.mark.parametrize("header", ["X-Real-IP", "X-Forwarded-For", "", b"forwarded", 1])
def test_an_unknown_header_is_refused(header):
    """With the accepted ones named."""
    with pytest.raises(ConfigurationError, match=r"header.*x-forwarded-for.*forwarded"):
        ClientIPResolver(PROXIES, header)


@pytest.mark.parametrize("max_hops", [0, -1, 101, 1.5, True, None, "3"])
def test_a_number_of_hops_that_makes_no_sense_is_refused(max_hops):
    """With the accepted range named."""
    with pytest.raises(ConfigurationError, match=r"max_hops.*from 1 to 100"):
        ClientIPResolver(PROXIES, max_hops=max_hops)


def test_the_repr_tells_the_configuration():
    """For an operator who wonders what is trusted."""
    assert repr(ClientIPResolver(PROXIES)) == "<ClientIPResolver header='x-forwarded-for' trusts 3 networks>"


def slow_client(peer: str | None, values: list[bytes], max_hops: int) -> str | None:
    """The obvious way: split everything, go from the right, believe as long as the one before is trusted."""

    def read(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        host = text
        if text.startswith("[") and "]" in text:
            host, _, rest = text[1:].partition("]")
            if ":" not in host or (rest and not is_port(rest)):
                return None
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
            if not is_port(f":{port}"):
                return None
        if "%" in host:
            return None
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return None
        return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address

    def is_port(text: str) -> bool:
        digits = text[1:]
        return text[0] == ":" and digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 65535

    def is_trusted(address) -> bool:
        return any(address in ipaddress.ip_network(network) for network in PROXIES)

    found = [read(peer) if peer is not None and not set("[]") & set(peer) and peer.count(":") != 1 else None]
    entries = b",".join(values).decode("latin-1").split(",") if values else []
    for entry in reversed(entries[-max_hops:]):
        if found[-1] is None or not is_trusted(found[-1]):
            break
        found.append(read(entry.strip(" \t")))
    known = [address for address in found if address is not None]
    return str(known[-1]) if known else None


addresses = st.one_of(
    st.sampled_from([
        "10.0.0.1", "10.255.0.9", "::ffff:10.0.0.3", "fe80::1", "2001:db8:ffff::9", "203.0.113.7", "6.6.6.6",
        "2001:db8::7",
    ]),
    st.ip_addresses().map(str),
)  # fmt: skip
ports = st.sampled_from(["", ":80", ":65535", ":65536", ":", ":-1", ":\u0663"])
odd = st.text(st.sampled_from(list("0123456789abcdefF.:[]% \t\x00_;=\"'xunkow\uff11\x85\xa0<>")), max_size=20)
entries = st.one_of(
    addresses, st.builds("{}{}".format, addresses, ports), st.builds("[{}]{}".format, addresses, ports),
    st.builds("{}%{}".format, addresses, odd), odd, st.just(""),
)  # fmt: skip
header_lines = st.lists(st.lists(entries, max_size=6).map(lambda found: ", ".join(found).encode("utf-8")), max_size=3)


@settings(max_examples=500)
@given(peer=st.one_of(st.none(), addresses, odd), values=header_lines, max_hops=st.integers(1, 8))
def test_the_answer_is_the_one_of_the_obvious_slow_way_and_always_an_address(peer, values, max_hops):
    """None, or a plain address without zone that is the peer or vouched for by trusted hops alone."""
    headers = [(b"x-forwarded-for", value) for value in values]
    client = ClientIPResolver(PROXIES, max_hops=max_hops).resolve(peer, headers)
    assert client == slow_client(peer, values, max_hops)
    assert client is None or (str(ipaddress.ip_address(client)) == client and "%" not in client)


@settings(max_examples=500)
@given(peer=st.one_of(addresses, odd), values=st.lists(st.binary(max_size=60), max_size=3), header=st.booleans())
def test_whatever_bytes_come_the_answer_is_an_address_or_none(peer, values, header):
    """For both headers; nothing raises."""
    name = "forwarded" if header else "x-forwarded-for"
    client = ClientIPResolver(PROXIES, name).resolve(peer, [(name.encode(), value) for value in values])
    assert client is None or str(ipaddress.ip_address(client)) == client


def test_a_flood_of_addresses_does_not_fill_the_memory():
    """A resolver remembers a bounded number of them."""
    resolver = ClientIPResolver(PROXIES)
    numbers = random.Random(1)
    for _ in range(3000):
        resolver.resolve(PROXY, lines("x-forwarded-for", [str(ipaddress.IPv4Address(numbers.getrandbits(32)))]))
    assert resolver._known.cache_info().currsize <= 1024
