"""Plain values as MessagePack, faithful in type and value; and msgspec's own structs, taken apart and put together."""

from __future__ import annotations

import datetime as dt
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from decimal import Decimal
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from creatormate_resilience.cache._corruption import CorruptEntryError
from creatormate_resilience.exceptions import CacheSerializationError

INSTALLED = find_spec("msgspec") is not None
if TYPE_CHECKING or INSTALLED:
    import msgspec
    from msgspec import msgpack

__all__ = ("DEEPEST", "INSTALLED", "MessagePack", "StructShape", "is_struct", "named")

DEEPEST: Final = 100
"""Levels of nesting. Fixed, so that what could be written can be read, whoever asks from however deep a stack."""

_ATOMS = frozenset({str, bytes, bool, float, int, type(None)})
"""What MessagePack carries as it is; an integer as far as 64 bits reach."""
_ATOMS_BUT_INTEGERS = _ATOMS - {int}


class _Ext:
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
    BYTEARRAY = 12
    NAMED = 13
    ISO_DATETIME = 14


class MessagePack:
    """Plain values of any shape as bytes, and back.

    Args:
        substitute: What to store in the place of a value that is not plain: something plain, or what `named` makes.
        named: The value of a name and what was stored under it.

    Raises:
        CacheSerializationError: (from `substitute`) there is nothing faithful to store.
        CorruptEntryError: (from `named`) there is no such name.
    """

    __slots__ = ("_encode", "_named", "_substitute", "decode")

    def __init__(self, substitute: Callable[[Any], Any], named: Callable[[str, Any], Any]) -> None:
        self._substitute, self._named = substitute, named
        self._encode = msgpack.Encoder().encode
        self.decode: Callable[[bytes | memoryview], Any] = msgpack.Decoder(ext_hook=self._from_ext).decode

    def encode(self, value: Any) -> bytes:
        """The value as bytes.

        Raises:
            CacheSerializationError: It cannot be stored faithfully.
        """
        try:
            return self._encode(self._stored(value, DEEPEST, _ATOMS))
        except OverflowError:  # rare enough to begin again rather than to look at each integer
            return self._encode(self._stored(value, DEEPEST, _ATOMS_BUT_INTEGERS))

    def _stored(self, value: Any, left: int, atoms: frozenset[Any]) -> Any:
        """What MessagePack shall write. A part that it tells faithfully is not copied."""
        kind = cast("Any", type(value))
        if kind is dict:
            return self._dict(value, _below(left), atoms)
        if kind is list:
            return self._list(value, _below(left), atoms)
        return self._other(value, kind, left, atoms)

    def _dict(self, value: dict[Any, Any], left: int, atoms: frozenset[Any]) -> Any:
        changed: dict[Any, Any] | None = None
        for key, item in value.items():
            if type(key) is not str and type(key) not in atoms:
                return self._pairs(value, left, atoms)
            if type(item) not in atoms:
                tell = _LEAVES.get(type(item))
                stored = self._stored(item, left, atoms) if tell is None else tell(item)
                if stored is not item:
                    changed = value.copy() if changed is None else changed
                    changed[key] = stored
        return value if changed is None else changed

    def _list(self, value: list[Any], left: int, atoms: frozenset[Any]) -> Any:
        changed: list[Any] | None = None
        for place, item in enumerate(value):
            if type(item) not in atoms:
                tell = _LEAVES.get(type(item))
                stored = self._stored(item, left, atoms) if tell is None else tell(item)
                if stored is not item:
                    changed = value.copy() if changed is None else changed
                    changed[place] = stored
        return value if changed is None else changed

    def _other(self, value: Any, kind: Any, left: int, atoms: frozenset[Any]) -> Any:
        if kind in atoms:
            return value
        if kind in _CONTAINERS:
            left = _below(left)
            items = [self._stored(item, left, atoms) for item in value]
            return msgpack.Ext(_CONTAINERS[kind], self._encode(items))
        if kind in _LEAVES:
            return _LEAVES[kind](value)
        if kind is int:
            return value if -(2**63) <= value < 2**64 else msgpack.Ext(_Ext.INT, _int_bytes(value))
        stored = self._substitute(value)
        return stored if type(stored) is msgpack.Ext else self._stored(stored, _below(left), atoms)

    def _pairs(self, value: dict[Any, Any], left: int, atoms: frozenset[Any]) -> Any:
        """A dict with keys that MessagePack does not know."""
        items = value.items()
        pairs = [[self._stored(key, left, atoms), self._stored(item, left, atoms)] for key, item in items]
        if all(stored[0] is key for stored, key in zip(pairs, value, strict=True)):
            return dict(cast("list[tuple[Any, Any]]", pairs))  # integers that were looked at, and fit
        return msgpack.Ext(_Ext.PAIRS, self._encode(pairs))

    def _from_ext(self, code: int, data: memoryview) -> Any:
        make = _FROM_BYTES.get(code)
        if make is not None:
            return make(data.tobytes())
        # The others are read where they lie: a copy at each level would let a small body cost a lot of memory.
        make = _FROM_DECODED.get(code)
        if make is not None:
            return make(self.decode(data))
        if code == _Ext.NAMED:
            name, stored = self.decode(data)
            return self._named(name, stored)
        raise CorruptEntryError(f"extension type {code} is not known")


def named(stored: bytes) -> Any:
    """What stands for a value of a declared type: the bytes of its name and of what it consists of."""
    return msgpack.Ext(_Ext.NAMED, stored)


def is_struct(of_type: Any) -> bool:
    """Whether this is a class of `msgspec.Struct`."""
    return INSTALLED and isinstance(of_type, type) and issubclass(of_type, msgspec.Struct)


class StructShape:
    """Takes structs of one class apart and puts them together.

    Args:
        of_type: The class.
    """

    __slots__ = ("_type",)

    def __init__(self, of_type: Any) -> None:
        self._type = of_type

    def apart(self, value: Any) -> Any:
        """What the struct consists of.

        Raises:
            ValueError: It is no such struct.
        """
        if type(value) is not self._type:
            raise ValueError(f"no {self._type.__name__}")
        return msgspec.to_builtins(value, builtin_types=_TOLD)

    def together(self, tree: Any) -> Any:
        """The struct again, validated."""
        return msgspec.convert(tree, self._type)


_TOLD = (bytes, bytearray, dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID, Decimal)
"""What `to_builtins` shall leave alone."""


def _too_deep() -> CacheSerializationError:
    return CacheSerializationError(f"the value is nested too deeply (more than {DEEPEST} levels), or contains itself")


def _below(left: int) -> int:
    if not left:
        raise _too_deep()
    return left - 1


def _int_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _zone(value: dt.datetime | dt.time) -> Any:
    """None, the key of a named zone, or days, seconds, microseconds and perhaps the name of a fixed offset."""
    zone = value.tzinfo
    if zone is None:
        return None
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return zone.key
    offset = _fixed_offset(zone, type(value).__name__)
    told = [offset.days, offset.seconds, offset.microseconds]
    own = type(zone) is dt.timezone and zone.tzname(None)
    return [*told, own] if own and own != dt.timezone(offset).tzname(None) else told


def _fixed_offset(zone: dt.tzinfo, of: str) -> dt.timedelta:
    """What is true of the zone at any time; classes of others that have it come back as `datetime.timezone`."""
    wrong: Exception | None = None
    try:
        offset = zone.utcoffset(None)
    except Exception as error:  # noqa: BLE001 - a zone of the application, which did not expect to be asked
        offset, wrong = None, error
    if offset is not None:
        return offset
    kind = type(zone)
    raise CacheSerializationError(
        f"a {of} in a zone of {kind.__module__}.{kind.__qualname__} cannot be stored; "
        "give it a zoneinfo.ZoneInfo, or turn it into UTC"
    ) from wrong


def _datetime(value: dt.datetime) -> Any:
    if not value.fold and (value.tzinfo is None or value.tzinfo is dt.UTC):
        return msgpack.Ext(_Ext.ISO_DATETIME, value.isoformat().encode())
    return _moment(_Ext.DATETIME, value)


def _moment(code: int, value: dt.datetime | dt.time) -> Any:
    return msgpack.Ext(code, msgpack.encode([value.replace(tzinfo=None).isoformat(), value.fold, _zone(value)]))


def _timedelta(value: dt.timedelta) -> Any:
    return msgpack.Ext(_Ext.TIMEDELTA, msgpack.encode([value.days, value.seconds, value.microseconds]))


def _zone_from(stored: Any) -> dt.tzinfo | None:
    if stored is None:
        return None
    if isinstance(stored, str):
        return zoneinfo.ZoneInfo(stored)
    return dt.timezone(dt.timedelta(*stored[:3]), *stored[3:])


def _moment_from(parse: Callable[[str], Any], stored: Any) -> Any:
    text, fold, zone = stored
    return parse(text).replace(fold=fold, tzinfo=_zone_from(zone))


_CONTAINERS: Mapping[Any, int] = MappingProxyType(
    {tuple: _Ext.TUPLE, set: _Ext.SET, frozenset: _Ext.FROZENSET},
)
_LEAVES: Mapping[Any, Callable[[Any], Any]] = MappingProxyType({
    dt.datetime: _datetime,
    dt.time: lambda value: _moment(_Ext.TIME, value),
    dt.date: lambda value: msgpack.Ext(_Ext.DATE, value.isoformat().encode()),
    dt.timedelta: _timedelta,
    Decimal: lambda value: msgpack.Ext(_Ext.DECIMAL, str(value).encode()),
    uuid.UUID: lambda value: msgpack.Ext(_Ext.UUID, value.bytes),
    bytearray: lambda value: msgpack.Ext(_Ext.BYTEARRAY, bytes(value)),
})  # fmt: skip
_FROM_DECODED: Mapping[int, Callable[[Any], Any]] = MappingProxyType({
    _Ext.TUPLE: tuple,
    _Ext.SET: set,
    _Ext.FROZENSET: frozenset,
    _Ext.PAIRS: dict,
    _Ext.DATETIME: lambda stored: _moment_from(dt.datetime.fromisoformat, stored),
    _Ext.TIME: lambda stored: _moment_from(dt.time.fromisoformat, stored),
    _Ext.TIMEDELTA: lambda stored: dt.timedelta(*stored),
})  # fmt: skip
_FROM_BYTES: Mapping[int, Callable[[bytes], Any]] = MappingProxyType({
    _Ext.INT: lambda data: int.from_bytes(data, "big", signed=True),
    _Ext.DATE: lambda data: dt.date.fromisoformat(data.decode()),
    _Ext.DECIMAL: lambda data: Decimal(data.decode()),
    _Ext.UUID: lambda data: uuid.UUID(bytes=data),
    _Ext.BYTEARRAY: bytearray,
    _Ext.ISO_DATETIME: lambda data: dt.datetime.fromisoformat(data.decode()),
})  # fmt: skip
