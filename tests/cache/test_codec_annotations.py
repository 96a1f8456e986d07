"""The type of a function's results, read from its annotation, where plain values would not tell it."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import functools
import pathlib
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, ParamSpec, TypeVar, Union

import msgspec
import pydantic
import pytest
from tests.cache.sameness import label
from typing_extensions import TypeAliasType, TypedDict

from creatormate_resilience.cache._annotations import type_of_results
from creatormate_resilience.cache._codec import ValueCodec

if TYPE_CHECKING:
    from nowhere import Missing

T = TypeVar("T")
P = ParamSpec("P")


class User(pydantic.BaseModel):
    name: str


@dataclass
class Point:
    x: int


class Colour(enum.Enum):
    RED = 1


class Pair(NamedTuple):
    a: int


class Struct(msgspec.Struct):
    a: int


class Plain(TypedDict):
    a: dict[str, Any]


class Rich(TypedDict):
    users: list[User]


class Knot(TypedDict):
    again: list[Knot]


class Opaque:
    pass


UserId = NewType("UserId", int)
Owner = NewType("Owner", User)
Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str")
Users = TypeAliasType("Users", list[User])
OLD_UNION = Union[User, int]  # noqa: UP007 - another object than `User | int`
Checked = Annotated[Opaque, pydantic.PlainValidator(lambda value: value)]


def returning(annotation: Any) -> Callable[..., Any]:
    async def fn() -> Any: ...

    fn.__annotations__["return"] = annotation
    return fn


@pytest.mark.parametrize(
    "annotation",
    [User, Point, Colour, Pair, Struct, Rich, pathlib.Path, pathlib.PurePosixPath, pydantic.HttpUrl, Owner,
     Users, Checked, list[User], tuple[int, Point], tuple[User, ...], dict[Colour, int], dict[str, list[User]],
     set[Colour], User | None, OLD_UNION, str | dict[str, Point], Sequence[User], Mapping[str, User], Annotated[User,
     "x"], Annotated[list[User], pydantic.Field(min_length=1)], Literal[Colour.RED], list[Literal[1, Colour.RED]]],
    ids=label,
)  # fmt: skip
def test_classes_that_plain_values_do_not_tell_are_types(annotation: Any) -> None:
    """Models, dataclasses, enums, paths, and whatever holds them; a codec takes what is returned."""
    assert type_of_results(returning(annotation)) == annotation
    assert ValueCodec(annotation)


@pytest.mark.parametrize(
    "annotation",
    [None, type(None), Any, object, int, str, bytes, float, bool, dict, list, tuple, set, dict[str, Any], list[int],
     tuple[int, str], int | None, dt.datetime, Decimal, dict[int, set[dt.date]], Plain, Knot, UserId,
     Json, Literal["a", 1], Annotated[int, pydantic.Field(gt=0)], Opaque, list[Opaque], T, list[T],
     Callable[[int], User], Iterator[User], AsyncIterator[User], Iterable[User],
     Collection[User], type[User], "Nowhere", "list[Nowhere]", "not python", "1 / ",
     "dt.nowhere", 7], ids=label,
)  # fmt: skip
def test_what_plain_values_tell_needs_no_type(annotation: Any) -> None:
    """Untyped is faithful for these, and faster; and where nothing can be known it refuses what it cannot keep."""
    assert type_of_results(returning(annotation)) is None


def plain(user_id: Missing) -> User: ...


async def coroutine(user_id: Missing) -> list[User]: ...


def awaitable() -> Awaitable[User]: ...


def coroutine_type() -> Coroutine[Any, Any, User]: ...


def task() -> asyncio.Task[User]: ...


def loose() -> Awaitable: ...  # type: ignore[type-arg]


def unresolvable() -> Missing: ...


def without(): ...


async def of_awaitables() -> Awaitable[User]: ...


class Service:
    async def method(self) -> User: ...

    @classmethod
    async def made(cls) -> Service: ...

    @staticmethod
    async def static() -> User: ...

    async def __call__(self) -> User: ...


def wrapped(fn: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(fn)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return fn(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("fn", "expected"),
    [(plain, User), (coroutine, list[User]), (awaitable, User), (coroutine_type, User), (task, User),
     (Service.method, User), (Service().method, User), (Service.static, User), (Service(), User), (Service.made, None),
     (functools.partial(plain, 1), User), (functools.partial(Service().method), User), (wrapped(coroutine), list[User]),
     (loose, None), (unresolvable, None), (without, None), (of_awaitables, None), (lambda: 1, None), (len, None),
     (User, None), (object(), None), (None, None)],
    ids=label,
)  # fmt: skip
def test_the_annotation_is_found_wherever_it_is(fn: Any, expected: Any) -> None:
    """Functions, methods, partials, wrappers, callables; text is resolved, whatever the parameters' texts are."""
    assert type_of_results(fn) == expected


def test_a_class_of_a_function_is_not_found_by_its_name() -> None:
    """Its name is resolved in the module only; without a type it is refused when it is stored, not guessed."""

    class Local(pydantic.BaseModel):
        name: str

    async def load() -> Local: ...

    assert type_of_results(load) is None
