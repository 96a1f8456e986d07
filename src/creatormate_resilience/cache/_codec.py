"""Values as bytes and back, the same in type and in value. Never pickle: bytes from a shared server must not run code.

What MessagePack has no word for travels as an extension type; what cannot be told faithfully is refused at once, naming
the type. With a type given, pydantic takes models and dataclasses apart and puts them together again.
"""

from __future__ import annotations

import datetime as dt
import enum
import ipaddress
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from decimal import Decimal
from importlib.util import find_spec
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from creatormate_resilience.cache._entry import BY_BODY, Kind
from creatormate_resilience.cache._wire import CorruptEntryError
from creatormate_resilience.exceptions import CacheSerializationError, ConfigurationError, MissingDependencyError

_MSGSPEC = find_spec("msgspec") is not None
_PYDANTIC = find_spec("pydantic") is not None
if TYPE_CHECKING or _MSGSPEC:
    from msgspec import DecodeError, ValidationError, msgpack
if TYPE_CHECKING or _PYDANTIC:
    import pydantic

__all__ = ("ValueCodec", "shareable")

_SCALARS = frozenset({str, bytes, bool, float, type(None)})
_UNCHANGEABLE = _SCALARS | {int, Decimal, uuid.UUID, dt.datetime, dt.date, dt.time, dt.timedelta}
_KEYS = _SCALARS | {int}
_REDIS_INTEGERS = range(-(2**53), 2**53 + 1)
"""Redis' scripts count in doubles; beyond these they would round."""


class _Ext(enum.IntEnum):
    """Codes of the extension types. Stored; never renumber."""

    TUPLE = 1
    SET = 2
    FROZENSET = 3
    PAIRS = 4
    INT = 5
    DATETIME = 6
    DATE = 7
    TIME = 8
    TIMEDELTA = 9
    DECIMAL = 10
    UUID = 11


def shareable(value: Any) -> bool:
    """Whether nobody can change this value, so that all readers may have the same one."""
    kind = cast("Any", type(value))
    if kind in _UNCHANGEABLE:
        return True
    return kind in {tuple, frozenset} and all(map(shareable, value))


class ValueCodec:
    """Encodes the values of one category.

    Args:
        of_type: What the values are, as pydantic understands types; None takes plain values of any shape.
        name: Of the category; named in errors.

    Raises:
        MissingDependencyError: `msgspec`, or for a type `pydantic`, is not installed.
        ConfigurationError: pydantic cannot handle the type.
    """

    __slots__ = ("_adapter", "_name", "_type", "_whole")

    def __init__(self, of_type: Any = None, *, name: str = "") -> None:
        if not _MSGSPEC:
            raise MissingDependencyError("msgspec", extra="cache", needed_by="the cache")
        self._type, self._name = of_type, name
        self._adapter = None if of_type is None else _adapter(of_type, name)
        self._whole = self._adapter is not None and (is_dataclass(of_type) or _is_model(of_type))

    def encode(self, value: Any) -> tuple[Kind, bytes]:
        """The value as bytes.

        Raises:
            CacheSerializationError: It cannot be stored faithfully.
        """
        try:
            tree = value if self._adapter is None else self._taken_apart(self._adapter, value)
            if type(tree) is int and tree in _REDIS_INTEGERS:
                return Kind.INTEGER, b"%d" % tree
            kind = Kind.VALUE if self._adapter is None else Kind.TYPED
            return kind, msgpack.encode(_packed(tree, typed=self._adapter is not None))
        except RecursionError as error:
            raise CacheSerializationError("the value is nested too deeply, or contains itself") from error
        except (OverflowError, UnicodeError) as error:
            raise CacheSerializationError(f"{type(value).__name__} cannot be stored: {error}") from error

    def decode(self, kind: Kind, body: bytes) -> Any:
        """The value of these bytes, made afresh.

        Raises:
            CorruptEntryError: They are damaged, or no longer fit the type.
        """
        try:
            tree = int(body) if kind is Kind.INTEGER else msgpack.decode(body, ext_hook=_from_ext)
            if self._adapter is not None:
                return self._adapter.validate_python(tree, by_name=True, by_alias=True)
        except (ValueError, ArithmeticError, TypeError, RecursionError, DecodeError, ValidationError) as error:
            raise CorruptEntryError(f"the body does not decode: {type(error).__name__}") from error
        if kind is Kind.TYPED:
            raise CorruptEntryError(f"the entry has a type and category {self._name!r} has none")
        return tree

    def shared(self, value: Any, *, isolate: bool) -> Any:
        """The value if all readers may have it, else `BY_BODY`."""
        return value if not isolate or shareable(value) else BY_BODY

    def _taken_apart(self, adapter: pydantic.TypeAdapter[Any], value: Any) -> Any:
        kind = cast("Any", type(value))
        if self._whole and kind is not self._type:
            raise CacheSerializationError(
                f"category {self._name!r} stores {self._type!r}; a {kind.__name__} would not come back as it is"
            )
        try:
            return adapter.dump_python(value, round_trip=True, by_alias=False, warnings="error")
        except (pydantic.PydanticUserError, ValueError) as error:
            raise CacheSerializationError(
                f"category {self._name!r}: {kind.__name__} is not stored as {self._type!r}"
            ) from error


def _adapter(of_type: Any, name: str) -> pydantic.TypeAdapter[Any]:
    if not _PYDANTIC:
        raise MissingDependencyError("pydantic", extra="cache", needed_by=f"the type of cache category {name!r}")
    try:
        return pydantic.TypeAdapter(of_type)
    except pydantic.PydanticUserError as error:
        raise ConfigurationError(f"category {name!r}: pydantic cannot handle the type {of_type!r}") from error


def _is_model(of_type: Any) -> bool:
    return isinstance(of_type, type) and issubclass(of_type, pydantic.BaseModel)


def _packed(value: Any, *, typed: bool) -> Any:
    kind = cast("Any", type(value))
    if kind in _SCALARS:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**64 else _ext(_Ext.INT, _int_bytes(value))
    if kind is list:
        return [_packed(item, typed=typed) for item in value]
    if kind is dict:
        return _packed_dict(value, typed=typed)
    if kind in _CONTAINERS:
        return _ext(_CONTAINERS[kind], msgpack.encode([_packed(item, typed=typed) for item in value]))
    if kind in _LEAVES:
        code, to_bytes = _LEAVES[kind]
        return _ext(code, to_bytes(value))
    if typed:
        return _packed_leaf_of_a_type(value)
    hint = "; give its category a type" if _wants_a_type(value) else ""
    raise CacheSerializationError(f"{kind.__module__}.{kind.__qualname__} cannot be stored{hint}")


def _packed_dict(value: dict[Any, Any], *, typed: bool) -> Any:
    if all(type(key) in _KEYS and (type(key) is not int or -(2**63) <= key < 2**64) for key in value):
        return {key: _packed(item, typed=typed) for key, item in value.items()}
    pairs = [[_packed(key, typed=typed), _packed(item, typed=typed)] for key, item in value.items()]
    return _ext(_Ext.PAIRS, msgpack.encode(pairs))


def _packed_leaf_of_a_type(value: Any) -> Any:
    """What validation restores from something simpler; a secret, whose text is a mask, is not among it."""
    if isinstance(value, enum.Enum):
        return _packed(value.value, typed=True)
    if isinstance(value, PurePath | ipaddress.IPv4Address | ipaddress.IPv6Address | pydantic.AnyUrl):
        return str(value)
    kind = cast("Any", type(value))
    raise CacheSerializationError(f"{kind.__module__}.{kind.__qualname__} cannot be stored")


def _wants_a_type(value: Any) -> bool:
    return isinstance(value, enum.Enum) or is_dataclass(value) or (_PYDANTIC and isinstance(value, pydantic.BaseModel))


def _ext(code: _Ext, data: bytes) -> Any:
    return msgpack.Ext(int(code), data)  # it takes no subclass of int


def _int_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _zone(value: dt.datetime | dt.time) -> Any:
    if isinstance(value.tzinfo, zoneinfo.ZoneInfo) and value.tzinfo.key:
        return value.tzinfo.key
    if value.tzinfo is None:
        return None
    offset = value.utcoffset()
    if offset is None:
        raise CacheSerializationError(f"a {type(value).__name__} whose zone knows no offset cannot be stored")
    return [offset.days, offset.seconds, offset.microseconds]


def _moment_bytes(value: dt.datetime | dt.time) -> bytes:
    return msgpack.encode([value.replace(tzinfo=None).isoformat(), value.fold, _zone(value)])


def _zone_from(stored: Any) -> dt.tzinfo | None:
    if stored is None:
        return None
    if isinstance(stored, str):
        return zoneinfo.ZoneInfo(stored)
    return dt.timezone(dt.timedelta(*stored))


def _moment(parse: Callable[[str], Any], data: bytes) -> Any:
    text, fold, zone = msgpack.decode(data)
    return parse(text).replace(fold=fold, tzinfo=_zone_from(zone))


def _inner(data: bytes) -> Any:
    return msgpack.decode(data, ext_hook=_from_ext)


_CONTAINERS: Mapping[Any, _Ext] = MappingProxyType(
    {tuple: _Ext.TUPLE, set: _Ext.SET, frozenset: _Ext.FROZENSET},
)
_LEAVES: Mapping[Any, tuple[_Ext, Callable[[Any], bytes]]] = MappingProxyType({
    dt.datetime: (_Ext.DATETIME, _moment_bytes),
    dt.time: (_Ext.TIME, _moment_bytes),
    dt.date: (_Ext.DATE, lambda value: value.isoformat().encode()),
    dt.timedelta: (_Ext.TIMEDELTA, lambda value: msgpack.encode([value.days, value.seconds, value.microseconds])),
    Decimal: (_Ext.DECIMAL, lambda value: str(value).encode()),
    uuid.UUID: (_Ext.UUID, lambda value: value.bytes),
})  # fmt: skip
_READERS: Mapping[int, Callable[[bytes], Any]] = MappingProxyType({
    _Ext.TUPLE: lambda data: tuple(_inner(data)),
    _Ext.SET: lambda data: set(_inner(data)),
    _Ext.FROZENSET: lambda data: frozenset(_inner(data)),
    _Ext.PAIRS: lambda data: dict(_inner(data)),
    _Ext.INT: lambda data: int.from_bytes(data, "big", signed=True),
    _Ext.DATETIME: lambda data: _moment(dt.datetime.fromisoformat, data),
    _Ext.DATE: lambda data: dt.date.fromisoformat(data.decode()),
    _Ext.TIME: lambda data: _moment(dt.time.fromisoformat, data),
    _Ext.TIMEDELTA: lambda data: dt.timedelta(*msgpack.decode(data)),
    _Ext.DECIMAL: lambda data: Decimal(data.decode()),
    _Ext.UUID: lambda data: uuid.UUID(bytes=data),
})  # fmt: skip


def _from_ext(code: int, data: memoryview) -> Any:
    reader = _READERS.get(code)
    if reader is None:
        raise CorruptEntryError(f"extension type {code} is not known")
    return reader(bytes(data))
