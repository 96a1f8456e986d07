"""Values of a type through the codec: pydantic takes them apart, and what would not come back the same is refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import ipaddress
import math
import pathlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypeVar

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cache.sameness import label, same
from typing_extensions import TypedDict

from creatormate_resilience.cache._codec import ValueCodec
from creatormate_resilience.cache._entry import Kind
from creatormate_resilience.cache._wire import CorruptEntryError
from creatormate_resilience.exceptions import CacheSerializationError, ConfigurationError

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: int
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Firm:
    name: str
    since: dt.date
    points: tuple[Point, ...] = ()


@dataclass
class Derived(Point):
    y: int = 0


@dataclass
class Counted:
    size: int
    doubled: int = field(init=False)

    def __post_init__(self) -> None:
        self.doubled = self.size * 2


@dataclass
class WithInitVar:
    size: int
    scale: InitVar[int]


class Pair(NamedTuple):
    left: int
    right: Colour = Colour.RED


class Movie(TypedDict):
    title: str
    stars: NotRequired[dict[Colour, int]]
    cast: list[Pair]


class Struct(msgspec.Struct):
    name: str
    at: dt.datetime
    tags: set[str]
    amount: Decimal
    raw: bytes
    inner: list[Struct] = []


class Swapped(pydantic.BaseModel):
    """Each field has the other's name as its alias."""

    a: int = pydantic.Field(alias="b")
    b: int = pydantic.Field(alias="a")


class Channel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    title: str = pydantic.Field(alias="Title")
    thumbnail: bytes
    score: float
    by_year: dict[int, set[str]]
    colour: Colour
    home: pathlib.PurePosixPath
    address: ipaddress.IPv4Address
    network: ipaddress.IPv6Network
    link: pydantic.HttpUrl
    database: pydantic.PostgresDsn
    since: dt.datetime
    length: dt.timedelta
    price: Decimal
    big: int
    points: tuple[Point, ...] = ()
    recent: deque[int] = deque()
    counts: Counter[str] = Counter()
    ordered: OrderedDict[str, int] = OrderedDict()
    rights: Right = Right.READ | Right.WRITE
    _opened: int = pydantic.PrivateAttr(default=0)

    @pydantic.computed_field
    @property
    def size(self) -> int:
        return len(self.thumbnail)


class SubChannel(Channel):
    extra: int = 0


class Cat(pydantic.BaseModel):
    name: str


class Dog(pydantic.BaseModel):
    name: str


class TaggedCat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    name: str


class TaggedDog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class Red(pydantic.BaseModel):
    kind: Literal[Colour.RED] = Colour.RED


class Blue(pydantic.BaseModel):
    kind: Literal[Colour.BLUE] = Colour.BLUE
    at: Colour


class Box(pydantic.BaseModel, Generic[T]):
    content: T


class Tree(pydantic.BaseModel):
    value: int
    children: list[Tree] = []


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    anything: Any = None


class Owner(pydantic.BaseModel):
    pet: Cat


class NotStored(pydantic.BaseModel):
    kept: int
    secret: int = pydantic.Field(default=0, exclude=True)


class Doubling(pydantic.BaseModel):
    size: int

    @pydantic.field_validator("size")
    @classmethod
    def _double(cls, size: int) -> int:
        return size * 2


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    colour: Colour
    home: pathlib.PurePosixPath
    either: int | str
    number: float | Decimal | bool
    items: tuple[int, ...] | list[int]


class Opaque:
    pass


class Holder(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    thing: Annotated[
        Opaque, pydantic.PlainValidator(lambda _: Opaque()), pydantic.PlainSerializer(lambda _: "opaque", str)
    ]


UserId = pydantic.RootModel[int]
Chosen = Annotated[Red | Blue, pydantic.Field(discriminator="kind")]
Pet = Annotated[TaggedCat | TaggedDog, pydantic.Field(discriminator="kind")]


def channel(cls: type[Channel] = Channel, **others: Any) -> Channel:
    return cls(
        Title="cats",
        thumbnail=b"\xff\x00",
        score=math.inf,
        by_year={2024: {"a", "b"}},
        colour=Colour.RED,
        home=pathlib.PurePosixPath("/srv"),
        address=ipaddress.IPv4Address("10.0.0.1"),
        network=ipaddress.IPv6Network("2001:db8::/32"),
        link=pydantic.HttpUrl("https://example.org/x"),
        database=pydantic.PostgresDsn("postgresql://a,b:5433/db"),
        since=dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
        length=dt.timedelta(seconds=1.5),
        price=Decimal("1.50"),
        big=2**80,
        points=(Point(1, frozenset({"q"})),),
        recent=deque([1, 2]),
        counts=Counter("aab"),
        ordered=OrderedDict(b=1, a=2),
        **others,
    )


def round_trip(of_type: Any, value: Any) -> Any:
    codec = ValueCodec(of_type, name="things")
    return codec.decode(*codec.encode(value))


def tree(levels: int) -> Tree:
    made = Tree(value=0)
    for level in range(levels):
        made = Tree(value=level, children=[made])
    return made


@pytest.mark.parametrize(
    ("of_type", "value"),
    [
        (Channel, channel()),
        (list[Channel], [channel()]),
        (Channel | None, None),
        (Swapped, Swapped(b=1, a=2)),
        (Point, Point(1, frozenset({"a"}))),
        (list[Point], [Point(2)]),
        (Firm, Firm(name="x", since=dt.date(2024, 1, 2), points=(Point(1),))),
        (Pair, Pair(1, Colour.BLUE)),
        (Movie, {"title": "x", "stars": {Colour.RED: 5}, "cast": [Pair(1)]}),
        (Movie, {"title": "x", "cast": []}),
        (Struct, Struct("x", dt.datetime(2024, 1, 2, tzinfo=dt.UTC), {"a"}, Decimal("1.50"), b"\xff")),
        (Colour, Colour.RED),
        (Level, Level.LOW),
        (Right, Right.READ | Right.WRITE),
        (dict[Colour, int], {Colour.RED: 1, Colour.BLUE: 2}),
        (dict[Level, Level], {Level.LOW: Level.LOW}),
        (Literal[Colour.RED, 1], Colour.RED),
        (Literal[Colour.RED, 1], 1),
        (list[Chosen], [Blue(at=Colour.RED), Red()]),
        (UserId, UserId(7)),
        (UserId, UserId(2**70)),
        (int, 7),
        (float, math.nan),
        (float, -0.0),
        (bytes, b"\xff\xfe"),
        (dict[int, Decimal], {1: Decimal("2.50")}),
        (Annotated[Decimal, pydantic.AllowInfNan()], Decimal("sNaN5")),
        (tuple[int, str], (1, "x")),
        (set[float], {math.nan, 1.0}),
        (Sequence[int], (1, 2)),
        (list[int] | tuple[int, ...], (1, 2)),
        (int | str, "1"),
        (str | int | None, 1),
        (Pet, TaggedDog(name="x")),
        (list[Pet], [TaggedDog(name="x"), TaggedCat(name="y")]),
        (Cat | Dog, Cat(name="x")),
        (Box[Point], Box[Point](content=Point(1))),
        (Box[list[Colour]], Box[list[Colour]](content=[Colour.RED])),
        (Tree, tree(20)),
        (Open, Open(anything=[1, (2, {3})], more=dt.date(2024, 1, 2))),
        (defaultdict[str, int], defaultdict(int, a=1)),
        (dict[str, Any], {"a": [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]}),
        (complex | None, None),
        (Any, {"a": 1}),
        (Counted, Counted(2)),
        (Strict, Strict(colour=Colour.RED, home=pathlib.PurePosixPath("x"), either="1", number=True, items=[1])),
        (Strict, Strict(colour=Colour.RED, home=pathlib.PurePosixPath("x"), either=1, number=1.0, items=(1,))),
    ],
    ids=label,
)
def test_values_of_a_type_come_back_the_same(of_type: Any, value: Any) -> None:
    """What pydantic understands as a type, and a struct of msgspec, can be the type of a category."""
    back = round_trip(of_type, value)
    assert same(back, value), (back, value)


def test_a_model_comes_back_as_that_model() -> None:
    """Bytes, infinities, integer keys, enums, paths, addresses and dataclasses inside a pydantic model survive."""
    back = round_trip(Channel, channel())
    assert type(back) is Channel
    assert back == channel()
    assert back.size == 2


def test_private_attributes_begin_anew_and_all_fields_count_as_set() -> None:
    """What is private to a model is not stored; which fields were left to their defaults is not remembered."""
    opened = channel()
    opened._opened = 5
    back = round_trip(Channel, opened)
    assert back._opened == 0
    assert back.model_fields_set == set(Channel.model_fields)


def test_a_field_of_a_kind_unknown_here_is_its_serializers_business() -> None:
    """A class without equality, told by its own serializer and validator, is taken at its word."""
    assert type(round_trip(Holder, Holder(thing=Opaque())).thing) is Opaque


@pytest.mark.parametrize(
    ("of_type", "value", "told"),
    [
        (Channel, channel(SubChannel), "SubChannel would come back as Channel"),
        (list[Channel], [channel(SubChannel)], "at [], SubChannel would come back as Channel"),
        (Owner, Owner.model_construct(pet=Dog(name="x")), "at pet, Dog would come back as Cat"),
        (Point, Derived(1), "Derived would come back as Point"),
        (Cat | Dog, Dog(name="x"), "Dog would come back as Cat"),
        (Open, Open(anything=Cat(name="x")), "at anything, Cat would come back as dict"),
        (Open, Open(anything=Level.LOW), "at anything, Level would come back as int"),
        (Open, Open(anything=[Colour.RED]), "at anything[], Colour would come back as str"),
        (Open, Open(more={"x": Pair(1)}), "Pair would come back as tuple"),
        (list[Any], [OrderedDict(a=1)], "OrderedDict would come back as dict"),
        (NotStored, NotStored(kept=1, secret=2), "at secret, int would come back with another value"),
        (Doubling, Doubling(size=1), "at size, int would come back with another value"),
        (WithInitVar, WithInitVar(1, 2), "could be stored, but not read again"),
        (int | str | Level, Level.LOW, "Level would come back as int"),
        (defaultdict[str, int], defaultdict(lambda: 3, a=1), "another value"),
        (deque[int], deque([1], maxlen=1), "another value"),
    ],
    ids=label,
)
def test_what_the_type_would_change_is_refused_when_it_is_written(of_type: Any, value: Any, told: str) -> None:
    """A subclass, a member of the wrong union, a model in a field of `Any`, a field that is left out: said at once."""
    with pytest.raises(CacheSerializationError) as caught:
        round_trip(of_type, value)
    assert told in str(caught.value)
    assert "things" in str(caught.value)


@pytest.mark.parametrize(
    ("of_type", "value"),
    [(int, "x"), (Channel, {"Title": "x"}), (list[int], ["x"]), (Point, {"x": 1}), (Struct, Point(1)), (Level, 1),
     (Cat, None), (Movie, {"title": 1, "cast": []})],
    ids=label,
)  # fmt: skip
def test_a_value_of_another_type_is_refused_when_stored(of_type: Any, value: Any) -> None:
    """The writer hears of a wrong type, not the reader."""
    with pytest.raises(CacheSerializationError):
        ValueCodec(of_type).encode(value)


class Login(pydantic.BaseModel):
    name: str
    password: pydantic.SecretStr


@pytest.mark.parametrize(
    ("of_type", "value"),
    [(pydantic.SecretStr, pydantic.SecretStr("hunter2")), (Login, Login(name="x", password="hunter2")),
     (pydantic.SecretBytes, pydantic.SecretBytes(b"hunter2"))],
    ids=["text", "in a model", "bytes"],
)  # fmt: skip
def test_a_secret_is_refused_rather_than_masked(of_type: Any, value: Any) -> None:
    """The text of a pydantic secret is a mask; storing that would lose the secret silently."""
    with pytest.raises(CacheSerializationError, match="Secret") as caught:
        ValueCodec(of_type).encode(value)
    assert "hunter2" not in str(caught.value)


def test_a_refusal_tells_no_value() -> None:
    """The message may go to a log: it names types and fields, and nothing that was in them."""
    with pytest.raises(CacheSerializationError) as caught:
        ValueCodec(NotStored, name="things").encode(NotStored(kept=1, secret=271828))
    assert "271828" not in str(caught.value)


def test_a_model_that_is_too_deep_or_contains_itself_is_refused() -> None:
    """A cycle or a thousand levels end in a clear error."""
    knot = Tree(value=1)
    knot.children.append(knot)
    for value in (knot, tree(200), tree(600)):
        with pytest.raises(CacheSerializationError):
            ValueCodec(Tree).encode(value)


@pytest.mark.parametrize("of_type", [Opaque, list[Opaque]], ids=label)
def test_a_type_that_cannot_be_handled_is_refused_at_construction(of_type: Any) -> None:
    """The error names the category and the type."""
    with pytest.raises(ConfigurationError, match="things"):
        ValueCodec(of_type, name="things")


class Renamed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    label: str


class Grown(pydantic.BaseModel):
    name: str
    age: int


class Narrowed(pydantic.BaseModel):
    name: int


class Careless(pydantic.BaseModel):
    """Its validator expects another shape and trips over this one."""

    name: str

    @pydantic.model_validator(mode="before")
    @classmethod
    def _flat(cls, data: Any) -> Any:
        return {"name": data["profile"]["name"]} if isinstance(data, dict) and "title" not in data else data


class NewDefault(pydantic.BaseModel):
    name: str
    age: int = 7


@pytest.mark.parametrize("now", [Renamed, Grown, Narrowed, Careless, Point, int, list[Cat], Struct, Colour], ids=label)
def test_a_model_that_changed_its_shape_makes_old_bytes_unreadable_not_wrong(now: Any) -> None:
    """Bytes of last week's model are rejected, so that they count as a miss; whatever its validators raise."""
    kind, body = ValueCodec(Cat).encode(Cat(name="x"))
    with pytest.raises(CorruptEntryError):
        ValueCodec(now).decode(kind, body)


def test_a_model_that_grew_a_default_reads_old_bytes() -> None:
    """That is no other shape."""
    kind, body = ValueCodec(Cat).encode(Cat(name="x"))
    assert ValueCodec(NewDefault).decode(kind, body) == NewDefault(name="x", age=7)


def test_typed_bytes_are_not_read_without_the_type() -> None:
    """A category that lost its type does not hand out what its models consisted of."""
    with pytest.raises(CorruptEntryError, match="has none"):
        ValueCodec(name="things").decode(*ValueCodec(Cat).encode(Cat(name="x")))


def test_bodies_of_the_version_before_are_still_read() -> None:
    """These bytes were written before models were compared when they are written."""
    body = b"\x82\xa1x\x01\xa4tags\xd6\x03\x91\xa1a\xc1"[:-1]
    assert ValueCodec(Point).decode(Kind.TYPED, body.replace(b"\xd6\x03", b"\xc7\x03\x03")) == Point(
        1, frozenset({"a"})
    )


channels = st.builds(
    dict,
    Title=st.text(max_size=5),
    thumbnail=st.binary(max_size=8),
    score=st.floats(),
    by_year=st.dictionaries(st.integers(), st.sets(st.text(max_size=3), max_size=2), max_size=2),
    colour=st.sampled_from(Colour),
    home=st.just(pathlib.PurePosixPath("/srv/a b")),
    address=st.ip_addresses(v=4),
    network=st.just(ipaddress.IPv6Network("2001:db8::/32")),
    link=st.just(pydantic.HttpUrl("https://example.org/x")),
    database=st.just(pydantic.PostgresDsn("postgresql://a/db")),
    since=st.datetimes(timezones=st.sampled_from([None, dt.UTC])),
    length=st.timedeltas(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    big=st.integers(),
    points=st.lists(st.builds(Point, st.integers(), st.frozensets(st.text(max_size=2), max_size=2)), max_size=2),
    recent=st.lists(st.integers(), max_size=2).map(deque),
    rights=st.sampled_from([Right.READ, Right.WRITE, Right.READ | Right.WRITE, Right(0)]),
)


@given(fields=channels)
@settings(max_examples=150, deadline=None)
def test_any_model_comes_back_the_same(fields: dict[str, Any]) -> None:
    """Whatever its fields hold, what is read is what was written."""
    fields["points"] = tuple(fields["points"])
    value = Channel(**fields)
    assert same(round_trip(Channel, value), value)


firms = st.builds(
    Firm,
    name=st.text(max_size=5),
    since=st.dates(),
    points=st.lists(st.builds(Point, st.integers(), st.just(frozenset())), max_size=3).map(tuple),
)


@given(value=st.lists(st.one_of(firms, st.none(), st.builds(Pair, st.integers(), st.sampled_from(Colour)))))
@settings(max_examples=100, deadline=None)
def test_any_list_of_a_union_comes_back_the_same(value: list[Any]) -> None:
    """Members of a union keep their class, a frozen dataclass its slots."""
    assert same(round_trip(list[Firm | Pair | None], value), value)


def test_dataclass_fields_left_out_of_the_constructor_are_compared_too() -> None:
    """A field that the dataclass computes is the same again, or the value is refused."""
    changed = Counted(2)
    changed.doubled = 5
    with pytest.raises(CacheSerializationError, match="at doubled"):
        ValueCodec(Counted).encode(changed)
    assert dataclasses.asdict(round_trip(Counted, Counted(2))) == {"size": 2, "doubled": 4}
