"""What a function says that it returns, where a codec has to know."""

from __future__ import annotations

import enum
import functools
import inspect
import ipaddress
import types
import typing
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Container, Iterable, Iterator, Reversible
from pathlib import PurePath
from typing import Any, ForwardRef, NewType, TypeVar, cast

__all__ = ("type_of_results",)

_TEXTUAL = (
    PurePath,
    ipaddress.IPv4Address, ipaddress.IPv4Network, ipaddress.IPv6Address, ipaddress.IPv6Network,
)  # fmt: skip
_RESTORED = ("__get_pydantic_core_schema__", "__pydantic_core_schema__", "__struct_fields__", "__dataclass_fields__")
"""Attributes by which classes are known that pydantic, or msgspec for its structs, takes apart and puts together."""
_NEVER_STORED: tuple[Any, ...] = (Iterator, AsyncIterable, Awaitable, Callable)
_VAGUE = frozenset({Collection, Container, Iterable, Reversible, type})
"""Of these validation cannot tell which class to make."""


def type_of_results(fn: Callable[..., Any]) -> Any | None:
    """The type to give a `ValueCodec` for what a function returns.

    Args:
        fn: A function, method, partial or callable object, with or without annotations.

    Returns:
        What its annotation says, without the awaitable around it, where that holds a class that plain values do not
        tell: a model, dataclass, enum, named tuple, typed dict of these, path, address. None where plain values are
        faithful by themselves (`dict[str, Any]`, `int`), and where nothing is said or it cannot be resolved.
    """
    annotated = _annotated(fn)
    told = getattr(annotated, "__annotations__", {}).get("return")
    if told is None:
        return None
    result = _resolved(told, getattr(annotated, "__globals__", {}))
    if not inspect.iscoroutinefunction(annotated):
        result = _awaited(result)
    return result if _needed(result, ()) else None


def _annotated(fn: Any) -> Any:
    """What carries the annotations: the function inside wrappers, partials, methods and callable objects."""
    fn = inspect.unwrap(fn)
    if isinstance(fn, functools.partial):
        return _annotated(cast("Any", fn).func)
    if inspect.ismethod(fn):
        return _annotated(fn.__func__)
    if inspect.isfunction(fn):
        return fn
    return None if inspect.isclass(fn) else getattr(cast("Any", type(fn)), "__call__", None)  # noqa: B004 - which one


def _resolved(told: Any, names: dict[str, Any]) -> Any:
    # Only the result's: another parameter may well name what is imported for type checkers alone.
    holder = types.SimpleNamespace(__annotations__={"return": told})
    try:
        return typing.get_type_hints(holder, globalns=names, include_extras=True)["return"]
    except (NameError, AttributeError, TypeError, ValueError, SyntaxError, LookupError):
        return None


def _awaited(result: Any) -> Any:
    origin = typing.get_origin(result)
    if isinstance(origin, type) and issubclass(origin, Awaitable):
        return typing.get_args(result)[-1]
    return result


def _needed(told: Any, within: tuple[Any, ...]) -> bool:
    """Whether plain values would not tell this. `within` are the typed dicts around it, which may hold themselves."""
    if isinstance(told, NewType):
        return _needed(told.__supertype__, within)
    if hasattr(told, "__value__"):  # `type Name = ...`
        return told not in within and _needed(told.__value__, (*within, told))
    if isinstance(told, TypeVar | ForwardRef | str):
        return False
    origin = typing.get_origin(told)
    if origin in _VAGUE:
        return False
    if origin is typing.Literal:
        return any(isinstance(value, enum.Enum) for value in typing.get_args(told))
    if any(hasattr(meant, _RESTORED[0]) for meant in getattr(told, "__metadata__", ())):
        return True
    if origin is not None and not (isinstance(origin, type) and issubclass(origin, _NEVER_STORED)):
        inner = typing.get_args(told)
        return _class_needed(origin, within) or any(_needed(each, within) for each in inner)
    return _class_needed(told, within)


def _class_needed(told: Any, within: tuple[Any, ...]) -> bool:
    if hasattr(told, "__required_keys__"):  # a typed dict, of typing or typing_extensions
        return told not in within and any(_needed(each, (*within, told)) for each in _fields(told))
    if not isinstance(told, type) or issubclass(told, _NEVER_STORED):
        return False
    kind = cast("Any", told)
    restored = any(hasattr(kind, attribute) for attribute in _RESTORED)
    is_named_tuple = hasattr(kind, "_fields") and issubclass(kind, tuple)
    return restored or is_named_tuple or issubclass(kind, (enum.Enum, *_TEXTUAL))


def _fields(typed_dict: Any) -> list[Any]:
    try:
        return list(typing.get_type_hints(typed_dict).values())
    except (NameError, AttributeError, TypeError, ValueError, SyntaxError, LookupError):
        return []
