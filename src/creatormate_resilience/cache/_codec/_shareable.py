"""Which values all readers may have as one, because nobody can change it."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import ipaddress
import uuid
from collections.abc import Iterable
from dataclasses import fields
from decimal import Decimal
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, cast

from creatormate_resilience.cache._codec.msgspec import is_struct
from creatormate_resilience.cache._codec.pydantic import is_frozen_model

__all__ = ("shareable",)

_UNCHANGEABLE: frozenset[Any] = frozenset({
    str, bytes, bool, float, type(None), int, Decimal, uuid.UUID, dt.datetime, dt.date, dt.time, dt.timedelta,
    ipaddress.IPv4Address, ipaddress.IPv4Interface, ipaddress.IPv4Network,
    ipaddress.IPv6Address, ipaddress.IPv6Interface, ipaddress.IPv6Network,
    PurePosixPath, PureWindowsPath, PosixPath, WindowsPath,
})  # fmt: skip

_UNSET = object()


def shareable(value: Any) -> bool:
    """Whether nobody can change this value, so that all readers may have the same one.

    What goes around a class on purpose (`object.__setattr__`) is not looked at.
    """
    kind = cast("Any", type(value))
    if kind in _UNCHANGEABLE:
        return True
    if kind in {list, dict, set}:
        return False
    if kind in {tuple, frozenset} or (issubclass(kind, tuple) and not hasattr(value, "__dict__")):
        return all(map(shareable, value))
    return isinstance(value, enum.Enum) or _frozen(value, kind)


def _frozen(value: Any, kind: Any) -> bool:
    """Whether it consists of fields only, none of which can be set or changed."""
    if _is_frozen_dataclass(kind):
        names: Iterable[str] = [field.name for field in fields(kind)]
    elif is_frozen_model(value):
        names = kind.model_fields
    elif is_struct(kind) and kind.__struct_config__.frozen:
        names = kind.__struct_fields__
    else:
        return False
    if not set(names).issuperset(getattr(value, "__dict__", ())) or _keeps_what_it_computes(kind):
        return False
    return all(shareable(getattr(value, name, _UNSET)) for name in names)


def _is_frozen_dataclass(kind: Any) -> bool:
    # Of this very class: an undecorated subclass of a frozen one takes new attributes.
    own = cast("dict[str, Any]", vars(kind))
    return "__dataclass_params__" in own and own["__dataclass_params__"].frozen is True


def _keeps_what_it_computes(kind: Any) -> bool:
    """Whether something changeable may yet appear in it."""
    bases: tuple[type, ...] = kind.__mro__
    return any(isinstance(member, functools.cached_property) for base in bases for member in vars(base).values())
