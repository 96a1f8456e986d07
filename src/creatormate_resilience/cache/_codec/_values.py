"""`ValueCodec`: the values of one category as bytes, and back."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any, Protocol, cast

from creatormate_resilience.cache._codec._difference import difference
from creatormate_resilience.cache._codec._shareable import shareable
from creatormate_resilience.cache._codec.msgspec import INSTALLED, MessagePack, StructShape, is_struct, named
from creatormate_resilience.cache._codec.pydantic import INSTALLED as PYDANTIC_INSTALLED
from creatormate_resilience.cache._codec.pydantic import PydanticShape, is_model, simplified
from creatormate_resilience.cache._corruption import CorruptEntryError
from creatormate_resilience.cache._entry import BY_BODY, Kind
from creatormate_resilience.exceptions import CacheSerializationError, ConfigurationError, MissingDependencyError

__all__ = ("ValueCodec",)

_REDIS_INTEGERS = range(-(2**53), 2**53 + 1)
"""Redis' scripts count in doubles; beyond these they would round."""


class _Shape(Protocol):
    def apart(self, value: Any) -> Any: ...
    def together(self, tree: Any) -> Any: ...


class ValueCodec:
    """Encodes the values of one category.

    Args:
        of_type: What the values are, as pydantic understands types, or a msgspec struct; None takes plain values of any
            shape.
        name: Of the category; named in errors.
        known_types: Classes whose instances may stand anywhere in plain values: dataclasses, enums, named tuples,
            pydantic models, msgspec structs. They are stored under their module and qualified name; a class that is
            moved or renamed no longer finds what was stored. Not used with a type.

    Raises:
        MissingDependencyError: `msgspec`, or for a type `pydantic`, is not installed.
        ConfigurationError: A type cannot be handled.
    """

    __slots__ = ("_known", "_name", "_pack", "_typed")

    def __init__(self, of_type: Any = None, *, name: str = "", known_types: Iterable[type] = ()) -> None:
        if not INSTALLED:
            raise MissingDependencyError("msgspec", extra="cache", needed_by="the cache")
        self._name = name
        self._typed = None if of_type is None else _Typed(of_type, f"category {name!r}")
        self._known = {} if of_type is not None else _known(known_types)
        named_types = {_name_of(kind): typed.together for kind, typed in self._known.items()}
        self._pack = MessagePack(self._substitute, _made_by(named_types))

    def encode(self, value: Any) -> tuple[Kind, bytes]:
        """The value as bytes.

        Raises:
            CacheSerializationError: It cannot be stored faithfully.
        """
        try:
            if self._typed is not None:
                return self._typed.encode(value)
            if type(value) is int and value in _REDIS_INTEGERS:
                return Kind.INTEGER, b"%d" % value
            return Kind.VALUE, self._pack.encode(value)
        except (OverflowError, UnicodeError, RecursionError) as error:
            kind = cast("Any", type(value))
            raise CacheSerializationError(f"{kind.__name__} cannot be stored: {type(error).__name__}") from error

    def decode(self, kind: Kind, body: bytes) -> Any:
        """The value of these bytes, made afresh.

        Raises:
            CorruptEntryError: They are damaged, or no longer fit the type.
        """
        try:
            if self._typed is not None:
                return self._typed.decode(kind, body)
            if kind is not Kind.TYPED:
                return _integer(body) if kind is Kind.INTEGER else self._pack.decode(body)
        except CorruptEntryError:
            raise
        except Exception as error:
            # Whatever the bytes are, and whatever validators of the application make of them, it is a miss.
            raise CorruptEntryError(f"the body does not decode: {type(error).__name__}") from error
        raise CorruptEntryError(f"the entry has a type and category {self._name!r} has none")

    def shared(self, value: Any, *, isolate: bool) -> Any:
        """The value if all readers may have it, else `BY_BODY`."""
        return value if not isolate or shareable(value) else BY_BODY

    def _substitute(self, value: Any) -> Any:
        kind = cast("Any", type(value))
        typed = self._known.get(kind)
        if typed is not None:
            return named(typed.encode_named(_name_of(kind), value))
        known = next((each for each in self._known if isinstance(value, each)), None)
        if known is not None:
            hint = f"; it is a subclass of {known.__name__}: declare it too, in types="
        elif _can_be_known(kind):
            hint = "; give its category a type, or declare its class in types="
        else:
            hint = ""
        raise CacheSerializationError(f"{kind.__module__}.{kind.__qualname__} cannot be stored{hint}")


class _Typed:
    """Values of one type. What would not come back the same is refused, by making it come back.

    Args:
        of_type: The type.
        wanted_by: Who has it; named in errors.
    """

    __slots__ = ("_members", "_pack", "_shape", "_wanted_by")

    def __init__(self, of_type: Any, wanted_by: str) -> None:
        self._wanted_by = wanted_by
        self._shape = _shape(of_type, wanted_by)
        self._members = {kind: _name_of(kind) for kind in getattr(self._shape, "members", ())}
        self._pack = MessagePack(self._substitute, _made_by({name: kind for kind, name in self._members.items()}))

    def encode(self, value: Any) -> tuple[Kind, bytes]:
        tree = self._apart(value)
        if type(tree) is int and tree in _REDIS_INTEGERS:
            kind, body = Kind.INTEGER, b"%d" % tree
        else:
            kind, body = Kind.TYPED, self._pack.encode(tree)
        self._check(value, lambda: self.decode(kind, body))
        return kind, body

    def decode(self, kind: Kind, body: bytes) -> Any:
        return self._shape.together(_integer(body) if kind is Kind.INTEGER else self._pack.decode(body))

    def encode_named(self, name: str, value: Any) -> bytes:
        body = self._pack.encode([name, self._apart(value)])
        self._check(value, lambda: self.together(self._pack.decode(body)[1]))
        return body

    def together(self, tree: Any) -> Any:
        return self._shape.together(tree)

    def _substitute(self, value: Any) -> Any:
        kind = cast("Any", type(value))
        if kind in self._members:
            return named(self._pack.encode([self._members[kind], value.value]))
        return simplified(value)

    def _apart(self, value: Any) -> Any:
        try:
            return self._shape.apart(value)
        except Exception as error:
            # Serializers of the application may raise anything.
            raise CacheSerializationError(
                f"{self._wanted_by}: this {type(value).__name__} is not a value of its type, or cannot be taken apart"
            ) from error

    def _check(self, value: Any, read: Callable[[], Any]) -> None:
        try:
            back = read()
        except Exception as error:
            raise CacheSerializationError(
                f"{self._wanted_by}: this {type(value).__name__} could be stored, but not read again: "
                f"{type(error).__name__}"
            ) from error
        if told := difference(value, back):
            raise CacheSerializationError(f"{self._wanted_by}: {told}")


def _shape(of_type: Any, wanted_by: str) -> _Shape:
    if is_struct(of_type):
        return StructShape(of_type)
    if not PYDANTIC_INSTALLED:
        raise MissingDependencyError("pydantic", extra="cache", needed_by=f"the type of {wanted_by}")
    return PydanticShape(of_type, wanted_by)


def _known(types: Iterable[type]) -> dict[Any, _Typed]:
    known: dict[Any, _Typed] = {}
    names: set[str] = set()
    for kind in types:
        if not _can_be_known(kind):
            raise ConfigurationError(
                f"types has {kind!r:.200}; accepted are classes: dataclasses, enums, named tuples, pydantic models, "
                "msgspec structs"
            )
        if kind not in known and _name_of(kind) in names:
            raise ConfigurationError(
                f"types has two classes of the name {_name_of(kind)}; accepted is one of each name"
            )
        names.add(_name_of(kind))
        known[kind] = _Typed(kind, _name_of(kind))
    return known


def _can_be_known(kind: Any) -> bool:
    if not isinstance(kind, type):
        return False
    is_named_tuple = _is_a(kind, tuple) and hasattr(kind, "_fields")
    return is_named_tuple or _is_a(kind, enum.Enum) or is_dataclass(kind) or is_model(kind) or is_struct(kind)


def _is_a(kind: Any, of: type) -> bool:
    return issubclass(kind, of)


def _name_of(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _made_by(makers: Mapping[str, Callable[[Any], Any]]) -> Callable[[str, Any], Any]:
    def made(name: str, tree: Any) -> Any:
        if name not in makers:
            raise CorruptEntryError(f"a value of the type {name!a:.200}, which is not declared in types=")
        return makers[name](tree)

    return made


def _integer(body: bytes) -> int:
    if not body.lstrip(b"-").isdigit():  # int() alone would take underscores and blanks too
        raise CorruptEntryError("an integer that is none")
    return int(body)
