"""One walk through a value: containers become dicts and lists, the rest texts and numbers, each within a budget."""

from __future__ import annotations

import datetime
import decimal
import enum
import itertools
import math
import uuid
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, TypeAlias

from creatormate_resilience.redaction._keys import KeyVerdict
from creatormate_resilience.redaction._looks import is_card_number
from creatormate_resilience.redaction._marks import REDACTED, TRUNCATED
from creatormate_resilience.redaction._text import Reader

__all__ = ("Names", "Walk")

_CYCLE = "[CYCLE]"
_KEY_LENGTH = 128
_TYPE_NAME_LENGTH = 100

Names: TypeAlias = Mapping[str, tuple[str, KeyVerdict]]

# Looked up once: a union or a member of an enumeration would be made or sought anew for every value.
_LISTS = frozenset({list, tuple, set, frozenset})
_PAIRS = frozenset({list, tuple})
_MAPPINGS = (dict, Mapping)
_SEQUENCES = (list, tuple, Set)
_LOW, _HIGH = -(10**12), 10**12  # what lies between is shorter than any card number
_TOLD_AS_TEXT = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID)
_NUMBERS = (int, float)
_TEXTS = (str, bytes)
_kind_of: Callable[[object], type] = type
_HARMLESS = KeyVerdict.HARMLESS
_COUNT = KeyVerdict.COUNT


class Walk:
    """What one walk has left of its budget, and where it is.

    Args:
        reader: What a text becomes.
        names: What a key becomes, and what it says about its value.
        depth: Levels of nesting kept.
        items: Items kept of one list.
        nodes: Values visited at most.
    """

    __slots__ = ("_ancestors", "_depth", "_items", "_names", "_nodes_left", "_reader", "_text")

    def __init__(self, reader: Reader, names: Names, depth: int, items: int, nodes: int) -> None:
        self._reader = reader
        self._text = reader.read
        self._names = names
        self._depth = depth
        self._items = items
        self._nodes_left = nodes - 1
        self._ancestors: set[int] = set()

    def start(self, value: object) -> Any:
        """The plain data made of a value."""
        return self._value(value, 1)

    def _value(self, value: Any, depth: int) -> Any:
        kind = _kind_of(value)
        if kind is str:
            return self._text(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return self._whole(value)
        if kind is float:
            return value if math.isfinite(value) else None
        try:  # a hostile __iter__ or __str__ must not break the error path, nor the end of the stack
            if kind in _LISTS:
                return self._list(value, depth)
            if isinstance(value, _MAPPINGS):
                return self._mapping(value, depth)
            return self._list(value, depth) if isinstance(value, _SEQUENCES) else self._scalar(value)
        except Exception:  # noqa: BLE001 - whatever it was
            return self._type_name(kind)

    def _mapping(self, value: Any, depth: int) -> Any:
        here, ancestors = id(value), self._ancestors
        if here in ancestors or depth > self._depth:
            return self._text(_CYCLE) if here in ancestors else TRUNCATED
        ancestors.add(here)
        kind = _kind_of(value)
        result: dict[str, Any] = {}
        names, reader = self._names, self._reader
        suspect, longest, calm = reader.suspect, reader.limit, reader.calm
        try:
            entries: Iterable[tuple[Any, Any]] = value.items()
            more = False
            if kind is dict and len(value) <= self._nodes_left:
                self._nodes_left -= len(value)
            else:
                entries, more = self._taken(entries, self._nodes_left)
            for key, item in entries:  # the hot path: the commonest values cost no call of ours
                name, verdict = names[key if type(key) is str else self._key(key)]
                its_kind = _kind_of(item)
                if verdict is not _HARMLESS:
                    result[name] = self._count(item) if verdict is _COUNT else REDACTED
                elif its_kind is str:
                    is_clean = (len(item) <= calm and item.isalnum()) or (
                        len(item) <= longest and item.isascii() and suspect(item) is None
                    )
                    result[name] = item if is_clean else reader.read_closely(item)
                elif item is None or its_kind is bool or (its_kind is int and _LOW < item < _HIGH):
                    result[name] = item
                else:
                    result[name] = self._mapping(item, depth + 1) if its_kind is dict else self._value(item, depth + 1)
            if more:
                result[TRUNCATED] = TRUNCATED
        except Exception:  # noqa: BLE001 - also a dict may change under the walk
            return self._type_name(kind)
        finally:
            ancestors.discard(here)
        return result

    def _count(self, value: object) -> Any:
        shown = self._value(value, 0) if issubclass(type(value), _NUMBERS) else None
        return shown if isinstance(shown, _NUMBERS) else REDACTED

    def _list(self, value: Any, depth: int) -> Any:
        here, ancestors = id(value), self._ancestors
        if here in ancestors or depth > self._depth:
            return self._text(_CYCLE) if here in ancestors else TRUNCATED
        ancestors.add(here)
        kind = _kind_of(value)
        try:
            items: Iterable[Any] = value
            more = False
            if kind in _LISTS and len(value) <= self._items and len(value) <= self._nodes_left:
                self._nodes_left -= len(value)
            else:
                items, more = self._taken(value, min(self._items, self._nodes_left))
            visit = self._value
            result = [visit(item, depth + 1) for item in items]
            if len(result) == 2 and kind in _PAIRS and isinstance(value[0], _TEXTS):  # a header, a form field
                _, verdict = self._names[result[0] if type(value[0]) is str else self._key(value[0])]
                if verdict is not _HARMLESS:
                    result[1] = self._count(value[1]) if verdict is _COUNT else REDACTED
            return [*result, TRUNCATED] if more else result
        finally:
            ancestors.discard(here)

    def _taken(self, items: Iterable[Any], room: int) -> tuple[list[Any], bool]:
        """What the budget allows of some items, and whether there is more."""
        taken = list(itertools.islice(items, room + 1))
        self._nodes_left -= min(len(taken), room)
        return (taken, False) if len(taken) <= room else (taken[:room], True)

    def _key(self, key: object) -> str:
        """The key as text, because that is what it will be from now on."""
        try:
            return str(key[:_KEY_LENGTH].decode("utf-8", "replace") if isinstance(key, bytes) else self._scalar(key))
        except Exception:  # noqa: BLE001 - a key may be as hostile as a value
            return self._type_name(type(key))

    def _scalar(self, value: object) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self._scalar(value.value)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return self._whole(int.__index__(value))
        if isinstance(value, float):
            number = float.__float__(value)
            return number if math.isfinite(number) else None
        if isinstance(value, _TOLD_AS_TEXT):
            return self._text(str(value))
        return self._type_name(type(value))

    def _whole(self, number: int) -> Any:
        if _LOW < number < _HIGH:
            return number
        if not -(2**63) <= number < 2**63:
            return self._text(f"[int of {number.bit_length()} bits]")
        return REDACTED if self._reader.rules is not None and is_card_number(abs(number)) else number

    def _type_name(self, kind: type) -> str:
        name: str = type.__dict__["__name__"].__get__(kind)  # not a metaclass's own idea of it
        return self._text(f"[{name[:_TYPE_NAME_LENGTH]}]")
