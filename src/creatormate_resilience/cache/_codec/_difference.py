"""What a value of a type would lose: the value that was written beside the one that would be read."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import ipaddress
import uuid
from collections import deque
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any, NamedTuple, cast

__all__ = ("difference",)

_EQUAL = frozenset({str, bytes, bytearray, bool, int, type(None), dt.date, dt.timedelta, uuid.UUID})
_BY_TEXT = frozenset({float, complex, Decimal})
"""NaN is to come back as NaN, and a zero with its sign."""
_COMPARED = (
    PurePath, ipaddress.IPv4Address, ipaddress.IPv4Network, ipaddress.IPv6Address, ipaddress.IPv6Network, enum.Enum
)  # fmt: skip
_CONTAINERS = (Mapping, list, tuple, deque, set, frozenset)


class _Found(NamedTuple):
    what: str
    path: str = ""


def difference(value: Any, back: Any) -> str | None:
    """Where `back` is not the same as `value`, in type and in value at all depths; None where it is.

    Private attributes do not count, nor does what is inside objects of kinds not known here: their own validators and
    serializers answer for them. Types and fields are named, no value is told.

    Args:
        value: What was written.
        back: What would be read.
    """
    found = _difference(value, back)
    if found is None:
        return None
    return f"at {found.path.lstrip('.')}, {found.what}" if found.path else found.what


def _difference(value: Any, back: Any) -> _Found | None:
    kind = cast("Any", type(value))
    if kind is not type(back):
        return _Found(f"{kind.__name__} would come back as {type(back).__name__}")
    if "__pydantic_fields__" in vars(kind):  # before the others, which are slow to ask of such a class
        return _of_fields(value, back, (*kind.__pydantic_fields__, "__pydantic_extra__"))
    if kind in {dict, list, tuple} or issubclass(kind, _CONTAINERS):
        return _of_items(value, back, kind)
    if dataclasses.is_dataclass(kind):
        return _of_fields(value, back, [field.name for field in dataclasses.fields(kind)])
    if hasattr(kind, "__struct_fields__"):
        return _of_fields(value, back, kind.__struct_fields__)
    return None if _alike(value, back, kind) else _changed(kind)


def _alike(value: Any, back: Any, kind: Any) -> bool:
    if kind in _BY_TEXT:
        return str(value) == str(back)
    if issubclass(kind, dt.datetime | dt.time):
        return bool(value == back and value.fold == back.fold and value.utcoffset() == back.utcoffset())
    return bool(value == back) if kind in _EQUAL or issubclass(kind, _COMPARED) else True


def _plainly_same(value: Any, back: Any) -> bool:
    """Spares most leaves the longer way. A float that equals is the same one, unless it is a zero."""
    if value is back:
        return True
    kind = cast("Any", type(value))
    return (kind in _EQUAL or (kind is float and value)) and kind is type(back) and value == back


def _changed(kind: Any) -> _Found:
    return _Found(f"{kind.__name__} would come back with another value")


def _of_items(value: Any, back: Any, kind: Any) -> _Found | None:
    if len(value) != len(back) or _settings(value) != _settings(back):
        return _changed(kind)
    if issubclass(kind, Mapping):
        found = _of_pairs(value, back) or _of_pairs(value.values(), back.values())
    elif issubclass(kind, set | frozenset):
        found = _of_members(value, back)
    else:
        found = _of_pairs(value, back)
    return found and found._replace(path=f"[]{found.path}")


def _settings(value: Any) -> tuple[Any, Any]:
    return getattr(value, "default_factory", None), getattr(value, "maxlen", None)


def _of_pairs(values: Iterable[Any], backs: Iterable[Any]) -> _Found | None:
    for value, back in zip(values, backs, strict=True):
        if not _plainly_same(value, back) and (found := _difference(value, back)):
            return found
    return None


def _of_members(value: Iterable[Any], back: Iterable[Any]) -> _Found | None:
    known = {each: each for each in back}
    for each in value:
        if each != each:  # noqa: PLR0124 - NaN, which is never found
            continue
        if each not in known:
            return _changed(cast("Any", type(each)))
        if found := _difference(each, known[each]):
            return found
    return None


def _of_fields(value: Any, back: Any, names: Iterable[str]) -> _Found | None:
    for name in names:
        left, right = getattr(value, name, None), getattr(back, name, None)
        if not _plainly_same(left, right) and (found := _difference(left, right)):
            return found._replace(path=f".{name}{found.path}")
    return None
