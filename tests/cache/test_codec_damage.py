"""Damaged, cut, foreign and hostile bodies: the right value or `CorruptEntryError`, never anything else."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import enum
import tracemalloc
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import msgpack
from tests.cache.sameness import BERLIN, same, values

from creatormate_resilience.cache._codec import ValueCodec
from creatormate_resilience.cache._entry import BY_BODY, Entry, Kind
from creatormate_resilience.cache._wire import HEADER_SIZE, CorruptEntryError, pack, unpack


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    colour: Colour


class User(pydantic.BaseModel):
    name: str
    points: list[Point]
    since: dt.datetime


USER = User(name="Ada", points=[Point(1, Colour.RED)], since=dt.datetime(2024, 1, 2, tzinfo=BERLIN))
RICH = {
    "zone": dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN), "utc": dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    "time": dt.time(1, tzinfo=dt.timezone(dt.timedelta(1, -1), "odd")), "decimal": Decimal("1.5"),
    "delta": dt.timedelta(1), "big": 2**70, (1,): {2: frozenset({3})}, "colour": Colour.RED,
    "point": Point(1, Colour.RED),
}  # fmt: skip
CODECS = {
    "plain": (ValueCodec(), {key: value for key, value in RICH.items() if key not in {"colour", "point"}}),
    "declared": (ValueCodec(known_types=(Colour, Point)), RICH),
    "typed": (ValueCodec(User), USER),
    "typed list": (ValueCodec(list[Point | Colour]), [Point(1, Colour.RED), Colour.RED]),
}


def body_of(name: str) -> tuple[ValueCodec, Kind, bytes]:
    codec, value = CODECS[name]
    return codec, *codec.encode(value)


@given(body=st.binary(max_size=64), kind=st.sampled_from([Kind.VALUE, Kind.TYPED, Kind.INTEGER, Kind.TOMBSTONE]))
@settings(max_examples=300, deadline=None)
@example(b"", Kind.VALUE)
@example(b"1_000", Kind.INTEGER)
@example(b" 1", Kind.INTEGER)
@example(b"9" * 5000, Kind.INTEGER)
def test_random_bodies_decode_or_are_called_corrupt(body: bytes, kind: Kind) -> None:
    """Whatever stands in Redis, reading it raises nothing but the one error that means a miss."""
    for codec, _ in CODECS.values():
        with contextlib.suppress(CorruptEntryError):
            codec.decode(kind, body)


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_body_with_flipped_bits_decodes_or_is_called_corrupt(name: str, data: st.DataObject) -> None:
    """Without the checksum in front of it, too: names of zones, ISO texts and numbers of days may all be nonsense."""
    codec, kind, body = body_of(name)
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(CorruptEntryError):
        codec.decode(kind, bytes(damaged))


@pytest.mark.parametrize("name", CODECS)
def test_a_cut_body_is_called_corrupt(name: str) -> None:
    """Every prefix is rejected; none is taken for a shorter value."""
    codec, kind, body = body_of(name)
    for length in range(len(body)):
        with pytest.raises(CorruptEntryError):
            codec.decode(kind, body[:length])
    with pytest.raises(CorruptEntryError):
        codec.decode(kind, body + b"\xc0")


@given(value=values, data=st.data())
@settings(max_examples=150, deadline=None)
def test_an_entry_with_a_flipped_bit_is_the_right_value_or_corrupt(value: Any, data: st.DataObject) -> None:
    """With the checksum, a flipped bit never makes another value; version and moments have no part in it."""
    codec = ValueCodec()
    kind, body = codec.encode(value)
    if kind is Kind.INTEGER:  # Redis rewrites it, so it has no checksum
        return
    stored = bytearray(pack(Entry(b"v" * 16, kind, "c", body, BY_BODY, 0.0, 1.0, 1.0, 1.0), ahead=0.0))
    places = [*range(3), 19, *range(HEADER_SIZE - 5, len(stored))]
    stored[data.draw(st.sampled_from(places))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = unpack(bytes(stored))
        if found.kind is Kind.TOMBSTONE:
            return
        back = codec.decode(found.kind, found.body)
    except CorruptEntryError:
        return
    assert same(back, value)


def ext(code: int, inner: Any) -> bytes:
    return msgpack.encode(msgpack.Ext(code, inner if isinstance(inner, bytes) else msgpack.encode(inner)))


@pytest.mark.parametrize(
    "body",
    [ext(6, ["2024-01-02T03:04:05", 0, zone]) for zone in
     ("Nowhere/Atall", "America", "x" * 300, "a\0b", "../../etc/passwd", "/etc/passwd", "", 5, [1], [1, 2, 3, 4, 5],
      {"days": 1}, [10**12, 0, 0], [0, 0, 0, 5], ["a", "b", "c"])]
    + [ext(code, inner) for code in (6, 8) for inner in
       (["x", 0, None], [5, 0, None], ["2024", 7, None], 5, None, b"\xff")]
    + [ext(2, [[1]]), ext(3, [{}]), ext(4, [1]), ext(4, [[[1], 2]]), ext(1, 5), ext(7, b"\xff"),
       ext(9, [10**12, 0, 0]), ext(9, ["a", 0, 0]), ext(9, [float("nan"), 0, 0]), ext(9, 5), ext(10, b"one"),
       ext(10, b""), ext(11, b"short"), ext(14, b"noon"), ext(14, b"\xff"), ext(13, 5), ext(13, ["a", 1]), ext(15, b""),
       ext(-2, b"x"), ext(100, b""), b"\x81\x90", b"\x81\x80\x01", b"\xc1", b"\xdd\xff\xff\xff\xff",
       b"\xc6\xff\xff\xff\xff",
       b"\x91" * 100_000, b"\xa1\xff"],
    ids=lambda body: ascii(body)[:60],
)  # fmt: skip
def test_hostile_extensions_are_called_corrupt(body: bytes) -> None:
    """Zones that are directories or nowhere, moments out of range, keys that cannot be keys, bottomless nesting."""
    codec = ValueCodec()
    with pytest.raises(CorruptEntryError):
        codec.decode(Kind.VALUE, body)


def test_nested_extensions_cost_no_copy_at_each_level() -> None:
    """Tuples in tuples around a large text: memory stays near the size of the body, however deep they are."""
    body = msgpack.encode("x" * 1_000_000)
    for _ in range(90):
        body = msgpack.encode(msgpack.Ext(1, b"\x91" + body))
    codec = ValueCodec()
    tracemalloc.start()
    codec.decode(Kind.VALUE, body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_thousand_nested_extensions_are_called_corrupt() -> None:
    """Deeper than anything that could be written."""
    body = b"\x01"
    for _ in range(1000):
        body = msgpack.encode(msgpack.Ext(1, b"\x91" + body))
    with pytest.raises(CorruptEntryError):
        ValueCodec().decode(Kind.VALUE, body)
