"""Values through the codec: the same in type and in value, or refused."""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import ipaddress
import math
import pathlib
import zoneinfo
from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creatormate_resilience.cache._codec import ValueCodec, shareable
from creatormate_resilience.cache._entry import Kind
from creatormate_resilience.cache._wire import CorruptEntryError
from creatormate_resilience.exceptions import CacheSerializationError

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Point:
    x: int
    tags: frozenset[str]


class Channel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    title: str = pydantic.Field(alias="Title")
    thumbnail: bytes
    score: float
    by_year: dict[int, set[str]]
    colour: Colour
    home: pathlib.PurePosixPath
    address: ipaddress.IPv4Address
    link: pydantic.HttpUrl
    since: dt.datetime
    points: tuple[Point, ...] = ()

    @pydantic.computed_field
    @property
    def size(self) -> int:
        return len(self.thumbnail)


class SubChannel(Channel):
    extra: int = 0


def channel(cls: type[Channel] = Channel) -> Channel:
    return cls(
        Title="cats",
        thumbnail=b"\xff\x00",
        score=math.inf,
        by_year={2024: {"a", "b"}},
        colour=Colour.RED,
        home=pathlib.PurePosixPath("/srv"),
        address=ipaddress.IPv4Address("10.0.0.1"),
        link=pydantic.HttpUrl("https://example.org/x"),
        since=dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
        points=(Point(1, frozenset({"q"})),),
    )


def same(left: Any, right: Any) -> bool:
    """Equal in type and value, all the way down; NaN equals NaN, and the zone of a datetime counts."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (math.isnan(left) and math.isnan(right)) or (
            left == right and math.copysign(1, left) == math.copysign(1, right)
        )
    if isinstance(left, dict):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left.items(), right.items(), strict=True))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, set | frozenset):
        return left == right and sorted(map(str, map(type, left))) == sorted(map(str, map(type, right)))
    if isinstance(left, dt.datetime | dt.time):
        return left == right and left.fold == right.fold and left.utcoffset() == right.utcoffset()
    if isinstance(left, Decimal):
        return str(left) == str(right)
    return bool(left == right)


zones = st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=-3, minutes=-30)), BERLIN])
plain_keys = (
    st.text(max_size=8) | st.integers() | st.booleans() | st.none() | st.binary(max_size=8) | st.uuids() | st.dates()
    | st.tuples(st.integers(), st.text(max_size=3))
)  # fmt: skip
leaves = (
    plain_keys | st.floats() | st.decimals() | st.timedeltas() | st.datetimes(timezones=zones) | st.times()
    | st.frozensets(plain_keys, max_size=4) | st.sets(plain_keys, max_size=4)
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(plain_keys, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=values)
@settings(max_examples=400, deadline=None)
def test_any_plain_value_comes_back_the_same_in_type_and_value(value: Any) -> None:
    """Whatever is nested in whatever, what is read is what was written."""
    codec = ValueCodec()
    back = codec.decode(*codec.encode(value))
    assert same(back, value), (back, value)


@pytest.mark.parametrize(
    "value",
    [None, False, 0, "", b"", 2**70, -(2**70), 2**53, 2**53 + 1, -(2**63), 2**64 - 1, math.nan, -0.0, (), set(), {},
     {1: "a", "1": "b"}, {2**80: 1}, {(1, 2): {3}}, Decimal("1.10"), Decimal("NaN"), Decimal("-0"),
     dt.timedelta(-1, 1, 1), dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN), dt.date.min, dt.time(1, fold=1)],
    ids=repr,
)  # fmt: skip
def test_edge_values_come_back_the_same(value: Any) -> None:
    """Falsy values, big integers, both zeros, integer keys and ambiguous moments are all kept."""
    codec = ValueCodec()
    assert same(codec.decode(*codec.encode(value)), value)


def test_a_named_zone_stays_that_zone() -> None:
    """A datetime in Berlin is still in Berlin, so that adding a day over the change of the clocks stays right."""
    codec = ValueCodec()
    back = codec.decode(*codec.encode(dt.datetime(2024, 3, 30, 12, tzinfo=BERLIN)))
    assert back.tzinfo is BERLIN


@pytest.mark.parametrize(
    "value",
    [object(), Colour.RED, Level.LOW, Point(1, frozenset()), channel(), OrderedDict(a=1), bytearray(b"x"),
     [1, {"a": {1j}}], "\ud800"],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_would_not_come_back_the_same_is_refused_by_name(value: Any) -> None:
    """Nothing turns silently into something similar: the error names the type that cannot be stored."""
    with pytest.raises(CacheSerializationError) as caught:
        ValueCodec().encode(value)
    assert "stored" in str(caught.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    """A cycle ends in a clear error, not in a crash."""
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(CacheSerializationError, match="nested too deeply"):
        ValueCodec().encode(cycle)


def test_a_model_comes_back_as_that_model() -> None:
    """Bytes, infinities, integer keys, enums, paths, addresses and dataclasses inside a pydantic model survive."""
    codec = ValueCodec(Channel, name="channels")
    back = codec.decode(*codec.encode(channel()))
    assert type(back) is Channel
    assert back == channel()


@pytest.mark.parametrize(
    ("of_type", "value"),
    [(Point, Point(1, frozenset({"a"}))), (list[Point], [Point(2, frozenset())]), (Colour, Colour.RED), (int, 7),
     (dict[int, Decimal], {1: Decimal("2.50")}), (tuple[int, str], (1, "x")), (Channel | None, None)],
    ids=str,
)  # fmt: skip
def test_typed_values_come_back_as_their_type(of_type: Any, value: Any) -> None:
    """What pydantic understands as a type can be the type of a category."""
    codec = ValueCodec(of_type)
    assert same(codec.decode(*codec.encode(value)), value)


@pytest.mark.parametrize(("of_type", "value"), [(int, "x"), (Channel, {"Title": "x"}), (list[int], ["x"])], ids=str)
def test_a_value_of_another_type_is_refused_when_stored(of_type: Any, value: Any) -> None:
    """The writer hears of a wrong type, not the reader."""
    with pytest.raises(CacheSerializationError):
        ValueCodec(of_type).encode(value)


def test_a_subclass_is_refused_where_it_would_come_back_as_its_parent() -> None:
    """A derived model stored under its parent's type would lose fields; that is said at once."""
    with pytest.raises(CacheSerializationError, match="SubChannel"):
        ValueCodec(Channel).encode(channel(SubChannel))


def test_a_secret_is_refused_rather_than_masked() -> None:
    """The text of a pydantic secret is a mask; storing that would lose the secret silently."""
    with pytest.raises(CacheSerializationError, match="SecretStr"):
        ValueCodec(pydantic.SecretStr).encode(pydantic.SecretStr("x"))


def test_a_model_that_changed_its_shape_makes_old_bytes_unreadable_not_wrong() -> None:
    """Bytes of last week's model are rejected, so that they count as a miss."""

    class Renamed(pydantic.BaseModel):
        other: str

    kind, body = ValueCodec(Channel).encode(channel())
    with pytest.raises(CorruptEntryError):
        ValueCodec(Renamed).decode(kind, body)
    with pytest.raises(CorruptEntryError):
        ValueCodec().decode(kind, body)


@given(body=st.binary(max_size=64), kind=st.sampled_from([Kind.VALUE, Kind.TYPED, Kind.INTEGER]))
@settings(max_examples=300, deadline=None)
def test_random_bodies_decode_or_are_called_corrupt(body: bytes, kind: Kind) -> None:
    """Whatever stands in Redis, reading it raises nothing but the one error that means a miss."""
    with contextlib.suppress(CorruptEntryError):
        ValueCodec().decode(kind, body)


@pytest.mark.parametrize(
    ("value", "expected"),
    [((1, "a", (b"x", None)), True), (frozenset({1}), True), ((1, [2]), False), ({}, False), (channel(), False)],
)
def test_only_what_nobody_can_change_is_shared(value: Any, expected: bool) -> None:
    """A tuple of unchangeable things is handed out as it is; one list inside and it is not."""
    assert shareable(value) is expected
