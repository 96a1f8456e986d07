"""Models, dataclasses, enums and the like inside plain values, where their class is declared."""

from __future__ import annotations

import dataclasses
import enum
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack
from tests.cache.sameness import label, plain_keys, same

from creatormate_resilience.cache._codec import ValueCodec
from creatormate_resilience.cache._entry import Kind
from creatormate_resilience.cache._wire import CorruptEntryError
from creatormate_resilience.exceptions import CacheSerializationError, ConfigurationError


class Colour(enum.Enum):
    RED = "red"
    BLUE = ("b", 2)


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Point:
    x: int
    colour: Colour = Colour.RED


class Pair(NamedTuple):
    left: int
    right: frozenset[str] = frozenset()


class User(pydantic.BaseModel):
    name: str = pydantic.Field(alias="Name")
    home: Point | None = None
    anything: Any = None


class Admin(User):
    pass


class Struct(msgspec.Struct, frozen=True):
    name: str
    tags: tuple[str, ...] = ()


class Undeclared(enum.Enum):
    ONE = 1


KNOWN = (Colour, Level, Right, Point, Pair, User, Struct)


def codec(*types: type) -> ValueCodec:
    return ValueCodec(name="things", known_types=types or KNOWN)


known = (
    st.sampled_from(list(Colour)) | st.just(Level.LOW)
    | st.sampled_from([Right.READ, Right.READ | Right.WRITE, Right(0)])
    | st.builds(Point, st.integers(), st.sampled_from(Colour))
    | st.builds(Pair, st.integers(), st.frozensets(st.text(max_size=2), max_size=2))
    | st.builds(Struct, st.text(max_size=3), st.lists(st.text(max_size=2), max_size=2).map(tuple))
)  # fmt: skip
users = st.builds(
    lambda name, home: User(Name=name, home=home), st.text(max_size=3), st.none() | st.builds(Point, st.integers())
)
values = st.recursive(
    known | users | plain_keys,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(plain_keys | known, inner, max_size=3)
        | st.frozensets(known, max_size=3)
    ),
    max_leaves=10,
)


@given(value=values)
@settings(max_examples=250, deadline=None)
def test_declared_classes_come_back_wherever_they_stand(value: Any) -> None:
    """As a value, in lists and tuples, in sets, as keys: the same in type and value at all depths."""
    things = codec()
    back = things.decode(*things.encode(value))
    assert same(back, value), (back, value)


def test_an_enum_of_integers_is_no_integer_for_redis() -> None:
    """Redis could add to it and make something that is no member."""
    kind, _ = codec().encode(Level.LOW)
    assert kind is Kind.VALUE


def test_what_is_stored_names_the_class_and_nothing_of_how_to_find_it() -> None:
    """The name is looked up among the declared ones only."""
    _, body = codec().encode([Colour.RED])
    assert f"{Colour.__module__}.Colour".encode() in body


@pytest.mark.parametrize("name", [f"{__name__}.Colour", "os.system", "builtins.eval", "", "x" * 500, 7, None, ["a"]])
def test_a_name_that_is_not_declared_is_corrupt(name: Any) -> None:
    """Never imported, never called: bytes from a shared server name only what this process has declared."""
    before = set(sys.modules)
    body = msgpack.encode(msgpack.Ext(13, msgpack.encode([name, "red"])))
    with pytest.raises(CorruptEntryError) as caught:
        codec(Level).decode(Kind.VALUE, body)
    assert len(str(caught.value)) < 300
    assert set(sys.modules) == before


def test_what_one_process_declared_and_another_did_not_is_a_miss() -> None:
    """A rolling deploy that adds a declaration costs misses, nothing else."""
    stored = codec().encode({"colour": Colour.RED})
    with pytest.raises(CorruptEntryError, match="not declared"):
        ValueCodec().decode(*stored)


@pytest.mark.parametrize(
    "stored",
    [["red", "more"], [], ["{}.Colour", "green"], ["{}.Colour", ["b", 2]], ["{}.Point", {"x": "no"}], ["{}.Point", 1],
     ["{}.User", {"Name": "x"}], ["{}.Struct", {}], ["{}.Struct", 1], ["{}.Pair", []]],
    ids=label,
)  # fmt: skip
def test_a_declared_class_whose_stored_value_does_not_fit_is_corrupt(stored: list[Any]) -> None:
    """A removed member, a field of another type, an alias in the place of a name: a miss."""
    named = [part.format(__name__) if isinstance(part, str) else part for part in stored]
    body = msgpack.encode(msgpack.Ext(13, msgpack.encode(named)))
    with pytest.raises(CorruptEntryError):
        codec().decode(Kind.VALUE, body)


@pytest.mark.parametrize(
    ("value", "told"),
    [(Undeclared.ONE, "declare its class in types="), (Admin(Name="x"), "a subclass of User: declare it too"),
     (User(Name="x", anything=Colour.RED), "at anything, Colour would come back as str"),
     (User(Name="x", home=Point.__new__(Point)), "cannot be taken apart"),
     (object(), "builtins.object cannot be stored")],
    ids=["undeclared", "subclass", "in a field of Any", "unfinished", "object"],
)  # fmt: skip
def test_what_is_not_declared_is_refused_and_says_what_to_do(value: Any, told: str) -> None:
    """A subclass is another class; a field of `Any` inside a declared model takes plain values only."""
    with pytest.raises(CacheSerializationError, match=told):
        codec().encode({"deep": [value]})


def test_a_declared_class_that_would_come_back_otherwise_is_refused() -> None:
    """A dataclass that changes what it is given says so when it is written."""

    @dataclass
    class Counting:
        size: int

        def __post_init__(self) -> None:
            self.size += 1

    with pytest.raises(CacheSerializationError, match="at size, int would come back with another value"):
        codec(Counting).encode([Counting(1)])


@pytest.mark.parametrize("wrong", [int, dict, object, str, "User", User(Name="x"), list[User], None], ids=label)
def test_only_classes_that_can_be_taken_apart_can_be_declared(wrong: Any) -> None:
    """The error lists what is accepted."""
    with pytest.raises(ConfigurationError, match="dataclasses, enums, named tuples, pydantic models, msgspec structs"):
        codec(Colour, wrong)


def test_two_classes_of_one_name_cannot_both_be_declared() -> None:
    """Nobody could tell which one stored bytes mean. The same class twice is one."""
    twin = dataclasses.make_dataclass("Point", ["x"])
    twin.__module__, twin.__qualname__ = Point.__module__, Point.__qualname__
    codec(Point, Point)
    with pytest.raises(ConfigurationError, match="two classes of the name"):
        codec(Point, twin)


def test_a_dataclass_that_pydantic_cannot_handle_is_refused_when_it_is_declared() -> None:
    """A field of an arbitrary class has no faithful form."""

    @dataclass
    class Odd:
        thing: ValueCodec

    with pytest.raises(ConfigurationError, match="Odd"):
        codec(Odd)


def test_declared_classes_are_as_deep_as_all_else() -> None:
    """The bound of nesting counts through them, and what is stored can be read."""
    things = codec()
    value: Any = Point(1)
    for _ in range(100):
        value = (value,)
    assert things.decode(*things.encode(value)) == value
    with pytest.raises(CacheSerializationError, match="nested too deeply"):
        things.encode((value,))
