"""Which values all readers get as one: those that nobody can change."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import ipaddress
import pathlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest
from tests.cache.sameness import label

from creatormate_resilience.cache._codec import ValueCodec, shareable
from creatormate_resilience.cache._entry import BY_BODY


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Frozen:
    x: Any = 1


@dataclass(frozen=True)
class FrozenWithDict:
    x: Any = 1


class Undecorated(FrozenWithDict):
    """Its instances take new attributes: only the fields of the parent are guarded."""


@dataclass(frozen=True)
class Decorated(FrozenWithDict):
    y: Any = 2


@dataclass(frozen=True)
class Computing:
    x: int = 1

    @functools.cached_property
    def items(self) -> list[int]:
        return [self.x]


@dataclass(frozen=True)
class WithMore:
    x: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "more", [])


@dataclass
class Thawed:
    x: int = 1


class FrozenModel(pydantic.BaseModel, frozen=True):
    x: Any = 1


class ThawedModel(pydantic.BaseModel):
    x: int = 1


class ThawedAgain(FrozenModel, frozen=False):
    pass


class WithPrivate(pydantic.BaseModel, frozen=True):
    _note: str = "x"


class WithExtra(pydantic.BaseModel, frozen=True, extra="allow"):
    x: int = 1


class ComputingModel(pydantic.BaseModel, frozen=True):
    @functools.cached_property
    def items(self) -> list[int]:
        return []


class Pair(NamedTuple):
    a: Any


class PairWithDict(Pair):
    pass


class FrozenStruct(msgspec.Struct, frozen=True):
    x: Any = 1


class ThawedStruct(msgspec.Struct):
    x: Any = 1


@pytest.mark.parametrize(
    "value",
    [1, "x", b"x", None, True, 1.5, Decimal(1), dt.date.min, dt.timedelta(1), (1, "a", (b"x", None)), frozenset({1}),
     Colour.RED, (Colour.RED,), ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8"),
     ipaddress.ip_interface("10.0.0.1/8"), pathlib.PurePosixPath("x"), pathlib.Path("x"), Frozen(),
     Frozen((1, Frozen())), FrozenWithDict(), Decorated(), FrozenModel(), FrozenModel(x=(Frozen(), FrozenModel())),
     Pair(1), FrozenStruct(), frozenset({Frozen()})],
    ids=label,
)  # fmt: skip
def test_what_nobody_can_change_is_shared(value: Any) -> None:
    """Handed out as it is, without decoding it for each reader."""
    assert shareable(value)
    assert ValueCodec().shared(value, isolate=True) is value


@pytest.mark.parametrize(
    "value",
    [[], {}, set(), bytearray(), (1, [2]), (1, (2, {})), Frozen([]), FrozenWithDict({}), Frozen(Frozen([])), Thawed(),
     Frozen(Thawed()), Undecorated(), Computing(), WithMore(), FrozenModel(x=[]), FrozenModel(x=ThawedModel()),
     ThawedModel(), ThawedAgain(), WithPrivate(), WithExtra(), WithExtra(y=1), ComputingModel(), Pair([]),
     PairWithDict(1), ThawedStruct(), FrozenStruct([]), object(), lambda: 1, (n for n in ())],
    ids=label,
)  # fmt: skip
def test_what_a_reader_could_change_is_not_shared(value: Any) -> None:
    """A list in a field, a subclass that takes attributes, private attributes, what it computes and keeps."""
    assert not shareable(value)
    assert ValueCodec().shared(value, isolate=True) is BY_BODY
    assert ValueCodec().shared(value, isolate=False) is value


def test_what_lacks_a_field_is_not_shared() -> None:
    """Made around its constructor; nobody knows what it will have there."""
    assert not shareable(Frozen.__new__(Frozen))
