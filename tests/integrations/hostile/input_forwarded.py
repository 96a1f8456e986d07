"""Who claims to have been forwarded for whom, and who the client is behind a trusted proxy on 127.0.0.1."""

from __future__ import annotations

from tests.integrations.hostile.rows import Header

CLIENT, PEER = "203.0.113.7", "127.0.0.1"
_LINES = (
    ("one", [CLIENT], CLIENT),
    ("two", [f"6.6.6.6, {CLIENT}"], CLIENT),
    ("three", [f"6.6.6.6,{CLIENT},{PEER}"], CLIENT),
    ("two-headers", ["6.6.6.6", CLIENT], CLIENT),
    ("two-headers-last-trusted", [f"6.6.6.6, {CLIENT}", PEER], CLIENT),
    ("two-headers-last-empty", [CLIENT, ""], PEER),
    ("empty", [""], PEER),
    ("commas", [", ,127.0.0.1"], PEER),
    ("5000-hops", [", ".join(["6.6.6.6"] * 5000) + f", {CLIENT}"], CLIENT),
    ("5000-trusted-hops", [f"{CLIENT}, " + ", ".join([PEER] * 5000)], PEER),
    ("500-headers", ["6.6.6.6"] * 500 + [CLIENT], CLIENT),
    ("5000-commas", ["," * 5000], PEER),
    ("script", ["<script>alert(1)</script>"], PEER),
    ("unknown", ["unknown"], PEER),
    ("hidden", ["_hidden"], PEER),
    ("5000-digits", ["1" * 5000], PEER),
    ("port", [f"{CLIENT}:80"], CLIENT),
    ("port-huge", [f"{CLIENT}:99999999999"], PEER),
    ("port-negative", [f"{CLIENT}:-1"], PEER),
    ("v6", ["2001:db8::7"], "2001:db8::7"),
    ("v6-port", ["[2001:db8::7]:443"], "2001:db8::7"),
    ("v4-mapped", [f"::ffff:{CLIENT}"], CLIENT),
    ("v4-mapped-proxy", [f"6.6.6.6, {CLIENT}, ::ffff:127.0.0.1"], CLIENT),
    ("v4-mapped-hex", ["::ffff:cb00:7107"], CLIENT),
    ("zone", ["fe80::1%eth0"], PEER),
    ("zone-encoded", ["2001:db8::1%25eth0"], PEER),
    ("zone-mapped", ["::ffff:6.6.6.6%1"], PEER),
    ("zone-bracket", ["[fe80::1%eth0]:80"], PEER),
    ("full-width", ["\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1"], PEER),
    ("arabic-digit", ["1.2.3.\xd9\xa4"], PEER),
    ("superscript", ["1.2.3.\xb2"], PEER),
    ("octal", ["0177.0.0.1"], PEER),
    ("hex", ["0x7f.0.0.1"], PEER),
    ("short", ["127.1"], PEER),
    ("number", ["2130706433"], PEER),
    ("name", ["example.com"], PEER),
    ("mask", ["1.2.3.4/32"], PEER),
    ("five", ["1.2.3.4.5"], PEER),
    ("quoted", ['"1.2.3.4"'], PEER),
    ("space-inside", ["1.2.3. 4"], PEER),
    ("nbsp", ["1.2.3.4\xa0"], PEER),
    ("next-line", ["1.2.3.4\x85"], PEER),
    ("dsn", ["postgresql://u:p@h/d"], PEER),
    ("bad-then-good", [f"{CLIENT}, unknown, {PEER}"], PEER),
    ("spaces", [" " * 5000 + CLIENT], CLIENT),
)

FORWARDED: tuple[tuple[str, tuple[Header, ...], str], ...] = (
    *((name, tuple(("X-Forwarded-For", line) for line in lines), client) for name, lines, client in _LINES),
    ("forwarded-too", (("X-Forwarded-For", CLIENT), ("Forwarded", "for=6.6.6.6")), CLIENT),
    ("forwarded-only", (("Forwarded", "for=6.6.6.6"),), PEER),
    ("real-ip", (("X-Real-IP", "6.6.6.6"), ("True-Client-IP", "6.6.6.6"), ("CF-Connecting-IP", "6.6.6.6")), PEER),
    ("underscore", (("X_Forwarded_For", "6.6.6.6"),), PEER),
)
