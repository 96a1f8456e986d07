"""Plain values through the codec: the same in type and in value, or refused."""

from __future__ import annotations

import array
import datetime as dt
import enum
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pydantic
import pytest
from hypothesis import given, settings
from msgspec import msgpack
from tests.cache.sameness import BERLIN, same, values

from creatormate_resilience.cache._codec import ValueCodec
from creatormate_resilience.cache._entry import Kind
from creatormate_resilience.exceptions import CacheSerializationError


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Moment(dt.datetime):
    pass


class Wandering(dt.tzinfo):
    """A zone with daylight saving of its own making."""

    def utcoffset(self, moment):
        return None if moment is None else dt.timedelta(hours=moment.month > 6)

    def dst(self, moment):
        return self.utcoffset(moment)

    def tzname(self, moment):
        return "wandering"


@dataclass
class Point:
    x: int


class User(pydantic.BaseModel):
    name: str


class Pair(NamedTuple):
    a: int
    b: int


class Unasked(Wandering):
    """A zone that is not used to be asked for its offset at no time."""

    def utcoffset(self, moment):
        return dt.timedelta(hours=moment.month > 6)


class Unkeyed(dt.tzinfo):
    """A zone without rules."""

    def utcoffset(self, moment):
        return None


NAIVE = dt.datetime.fromisoformat("2024-01-02T00:00:00")
WITH_A_NAME = dt.timezone(dt.timedelta(hours=1), "CET")


@given(value=values)
@settings(max_examples=400, deadline=None)
def test_any_plain_value_comes_back_the_same_in_type_and_value(value: Any) -> None:
    """Whatever is nested in whatever, what is read is what was written, and writing it did not change it."""
    codec, before = ValueCodec(), repr(value)
    back = codec.decode(*codec.encode(value))
    assert same(back, value), (back, value)
    assert repr(value) == before


@pytest.mark.parametrize(
    "value",
    [None, False, 0, "", b"", bytearray(b"\xff"), 2**70, -(2**70), 2**53, 2**53 + 1, -(2**63), -(2**63) - 1, 2**64 - 1,
     2**64, 10**5000, math.nan, math.inf, -math.inf, -0.0, (), set(), frozenset(), {}, [], [2**64, {2**64: 2**64}],
     {1: "a", "1": "b"}, {2**80: 1}, {(1, 2): {3}}, {None: 1, True: 2, 2.5: 3, b"x": 4}, {frozenset({1}): 1},
     {1: 2**70, 2: [()]}, Decimal("1.10"), Decimal("NaN"), Decimal("-NaN5"), Decimal("sNaN12"), Decimal("-0"),
     Decimal("-Infinity"), Decimal("1E+1000"), Decimal("1E-1000"), Decimal("9" * 100), dt.timedelta(-1, 1, 1),
     dt.timedelta.max, dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN), NAIVE.replace(fold=1),
     dt.datetime(2024, 1, 1, fold=1, tzinfo=dt.UTC), NAIVE.replace(year=1), NAIVE.replace(year=9999), dt.date.min,
     dt.time(1, fold=1), dt.time(1, tzinfo=BERLIN), dt.datetime(2024, 1, 1, tzinfo=WITH_A_NAME),
     dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=-1, microseconds=1))), "\x00", "\U0010ffff"],
    ids=lambda value: repr(value)[:40] if not isinstance(value, int) else f"int of {int(value).bit_length()} bits",
)  # fmt: skip
def test_edge_values_come_back_the_same(value: Any) -> None:
    """Falsy values, big integers, both zeros, odd keys, signalling NaN and ambiguous moments are all kept."""
    codec = ValueCodec()
    assert same(codec.decode(*codec.encode(value)), value)


def test_a_named_zone_stays_that_zone() -> None:
    """A datetime in Berlin is still in Berlin, so that adding a day over the change of the clocks stays right."""
    codec = ValueCodec()
    back = codec.decode(*codec.encode(dt.datetime(2024, 3, 30, 12, tzinfo=BERLIN)))
    assert back.tzinfo is BERLIN
    utc = codec.decode(*codec.encode(dt.datetime(2024, 3, 30, 12, tzinfo=dt.UTC)))
    assert utc.tzinfo is dt.UTC


def test_a_fixed_offset_of_another_making_keeps_its_offset() -> None:
    """What pydantic parses carries a zone of its own class; it comes back as `datetime.timezone`, equal."""
    parsed = pydantic.TypeAdapter(dt.datetime).validate_python("2024-01-02T03:04:05+05:30")
    codec = ValueCodec()
    back = codec.decode(*codec.encode(parsed))
    assert back == parsed
    assert type(back.tzinfo) is dt.timezone
    assert back.utcoffset() == dt.timedelta(hours=5, minutes=30)


@pytest.mark.parametrize(
    "value",
    [object(), Colour.RED, Level.LOW, Word.YES, {Level.LOW: 1}, {Word.YES: 1}, Point(1), User(name="x"),
     OrderedDict(a=1), defaultdict(int), Pair(1, 2), [Text("x")], {Text("x"): 1}, [Number(1)], Number(1),
     memoryview(b"x"), array.array("i", [1]), Path("x"), range(3), 1j, ..., [1, {"a": {1j}}], "\ud800", {"\ud800": 1},
     ("\ud800",), [2**70, "\ud800"], Moment(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=Wandering()), iter([]),
     msgpack.Ext(1, b"\x90"), dt.time(1, tzinfo=Wandering()), dt.datetime(2024, 1, 1, tzinfo=Unkeyed()),
     dt.datetime(2024, 1, 1, tzinfo=Unasked())],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_would_not_come_back_the_same_is_refused_by_name(value: Any) -> None:
    """Nothing turns silently into something similar: the error names the type that cannot be stored."""
    with pytest.raises(CacheSerializationError, match="cannot be stored"):
        ValueCodec().encode(value)


@pytest.mark.parametrize(
    ("value", "named", "hint"),
    [(Pair(1, 2), "test_values.Pair", True), (Level.LOW, "Level", True), (Point(1), "Point", True),
     (User(name="x"), "User", True), (object(), "builtins.object", False), (OrderedDict(), "OrderedDict", False),
     (Text("x"), "Text", False)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_refusal_says_what_can_be_done(value: Any, named: str, hint: bool) -> None:
    """Models and their like can be typed or declared; for the others there is nothing to advise."""
    with pytest.raises(CacheSerializationError) as caught:
        ValueCodec().encode({"deep": [value]})
    assert named in str(caught.value)
    assert ("give its category a type, or declare its class in types=" in str(caught.value)) is hint


def test_a_zone_that_cannot_be_told_is_refused_with_what_to_use() -> None:
    """A zone with rules of its own would lose them; the error names the two ways out."""
    with pytest.raises(CacheSerializationError, match=r"Wandering.*zoneinfo\.ZoneInfo, or turn it into UTC"):
        ValueCodec().encode(dt.datetime(2024, 1, 1, tzinfo=Wandering()))


def nested(wrap: Callable[[Any], Any], levels: int) -> Any:
    value: Any = "core"
    for _ in range(levels):
        value = wrap(value)
    return value


WRAPS = (
    lambda value: [value],
    lambda value: {"k": value},
    lambda value: (value,),
    lambda value: frozenset({value}),
    lambda value: {dt.date.min: value},
    lambda value: [2**70, value],
)


@pytest.mark.parametrize("wrap", WRAPS, ids=["list", "dict", "tuple", "frozenset", "odd keys", "big integers"])
def test_nesting_is_bounded_and_what_is_stored_can_be_read(wrap: Callable[[Any], Any]) -> None:
    """A hundred levels of anything come back; one more is refused by a clear error, thousands too."""
    codec = ValueCodec()
    deepest = nested(wrap, 100)
    assert codec.decode(*codec.encode(deepest)) == deepest
    for levels in (101, 5000):
        with pytest.raises(CacheSerializationError, match="nested too deeply"):
            codec.encode(nested(wrap, levels))


@pytest.mark.parametrize("kind", [list, dict])
def test_a_value_that_contains_itself_is_refused(kind: type) -> None:
    """A cycle ends in a clear error, not in a crash."""
    cycle: Any = kind()
    cycle.append(cycle) if kind is list else cycle.update(itself=cycle)
    with pytest.raises(CacheSerializationError, match="contains itself"):
        ValueCodec().encode({"deep": cycle})


STORED_BEFORE = (
    ({"a": [1, None, 2.5, True, "é", b"\xff"]},
     b"\x81\xa1a\x96\x01\xc0\xcb@\x04\x00\x00\x00\x00\x00\x00\xc3\xa2\xc3\xa9\xc4\x01\xff"),
    ((1, {2}, frozenset({3})), b"\xc7\n\x01\x93\x01\xd5\x02\x91\x02\xd5\x03\x91\x03"),
    ({(1, 2): "x"}, b"\xc7\n\x04\x91\x92\xc7\x03\x01\x92\x01\x02\xa1x"),
    (2**70, b"\xc7\t\x05@\x00\x00\x00\x00\x00\x00\x00\x00"),
    (-(2**70), b"\xc7\t\x05\xc0\x00\x00\x00\x00\x00\x00\x00\x00"),
    (dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
     b"\xc7$\x06\x93\xb32024-10-27T02:30:00\x01\xadEurope/Berlin"),
    (dt.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
     b"\xc7!\x06\x93\xba2024-01-02T03:04:05.000006\x00\x93\x00\x00\x00"),
    (NAIVE, b"\xc7\x17\x06\x93\xb32024-01-02T00:00:00\x00\xc0"),
    (dt.date(2024, 1, 2), b"\xc7\n\x072024-01-02"),
    (dt.time(1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=-3))),
     b"\xc7\x13\x08\x93\xa801:02:03\x00\x93\xff\xce\x00\x01'P\x00"),
    (dt.timedelta(-1, 1, 1), b"\xd6\t\x93\xff\x01\x01"),
    (Decimal("sNaN7"), b"\xc7\x05\nsNaN7"),
)  # fmt: skip


@pytest.mark.parametrize(("value", "body"), STORED_BEFORE, ids=lambda value: type(value).__name__)
def test_bodies_of_the_version_before_are_still_read(value: Any, body: bytes) -> None:
    """These bytes were written before extension types were added; a rolling deploy finds such in Redis."""
    assert same(ValueCodec().decode(Kind.VALUE, body), value)


def test_small_integers_are_digits_for_redis() -> None:
    """What Redis can add to exactly is stored as an INTEGER; a bool and a larger number are not."""
    codec = ValueCodec()
    assert codec.encode(-42) == (Kind.INTEGER, b"-42")
    assert codec.encode(True)[0] is Kind.VALUE
    assert codec.encode(2**53 + 1)[0] is Kind.VALUE
