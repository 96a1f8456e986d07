"""Values of a type, taken apart into plain values and put together again by pydantic."""

from __future__ import annotations

import enum
import ipaddress
import zoneinfo
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from creatormate_resilience.exceptions import CacheSerializationError, ConfigurationError

INSTALLED = find_spec("pydantic") is not None
if TYPE_CHECKING or INSTALLED:
    import pydantic

__all__ = ("INSTALLED", "PydanticShape", "is_frozen_model", "is_model", "simplified")

_AS_TEXT = (
    PurePath,
    ipaddress.IPv4Address, ipaddress.IPv4Interface, ipaddress.IPv4Network,
    ipaddress.IPv6Address, ipaddress.IPv6Interface, ipaddress.IPv6Network,
    zoneinfo.ZoneInfo,
)  # fmt: skip
_PLAINER: Mapping[Any, Callable[[Any], Any]] = MappingProxyType({deque: list, OrderedDict: dict, Counter: dict})


class PydanticShape:
    """Takes values of one type apart and puts them together.

    Args:
        of_type: What pydantic understands as a type.
        wanted_by: Who has this type; named in errors.

    Attributes:
        members: Enums of which the type names single members, which pydantic does not restore from their values.

    Raises:
        ConfigurationError: pydantic cannot handle the type.
    """

    __slots__ = ("_adapter", "members")

    def __init__(self, of_type: Any, wanted_by: str) -> None:
        try:
            self._adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(of_type)
        except pydantic.PydanticUserError as error:
            raise ConfigurationError(f"{wanted_by}: pydantic cannot handle the type {of_type!r}") from error
        self.members: frozenset[type[enum.Enum]] = frozenset(_named_members(self._adapter))

    def apart(self, value: Any) -> Any:
        """What the value consists of, by the names of its fields, whatever their aliases.

        Raises:
            ValueError: It is not of the type.
            PydanticUserError: The type is not complete.
        """
        return self._adapter.dump_python(value, round_trip=True, by_alias=False, warnings="error")

    def together(self, tree: Any) -> Any:
        """The value again, validated. Not strictly, even where the type is strict: a path is stored as its text."""
        return self._adapter.validate_python(tree, strict=False, by_name=True, by_alias=False)


def _named_members(adapter: pydantic.TypeAdapter[Any]) -> Iterator[type[enum.Enum]]:
    try:
        todo: list[Any] = [adapter.core_schema]
    except pydantic.PydanticUserError:  # not complete yet: it names a class that is defined later
        return
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            schema = cast("dict[str, Any]", part)
            todo.extend(inner for key, inner in schema.items() if key not in {"default", "metadata"})
            if schema.get("type") == "literal":
                yield from {type(each) for each in schema["expected"] if isinstance(each, enum.Enum)}
        elif isinstance(part, list | tuple):
            todo.extend(cast("list[Any]", part))


def simplified(value: Any) -> Any:
    """Something plainer, from which validation makes the same again; a secret, whose text is a mask, is none of it.

    Raises:
        CacheSerializationError: There is no such thing.
    """
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, _AS_TEXT) or hasattr(value, "unicode_string"):  # pydantic's URLs have that
        return str(value)
    kind = cast("Any", type(value))
    if kind in _PLAINER:
        return _PLAINER[kind](value)
    raise CacheSerializationError(f"{kind.__module__}.{kind.__qualname__} cannot be stored")


def is_model(of_type: Any) -> bool:
    """Whether this is a class of pydantic models."""
    return INSTALLED and isinstance(of_type, type) and issubclass(of_type, pydantic.BaseModel)


def is_frozen_model(value: Any) -> bool:
    """Whether this is a model whose attributes cannot be set: frozen, with no private ones and no extra ones."""
    if not INSTALLED or not isinstance(value, pydantic.BaseModel) or not value.model_config.get("frozen"):
        return False
    return value.model_extra is None and not type(value).__private_attributes__
