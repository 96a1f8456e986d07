"""How an error crosses processes: never through its constructor, never with what cannot be sent, never lost."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping
from typing import Any

from creatormate_resilience.exceptions._chain import printed
from creatormate_resilience.exceptions._registry import types_below
from creatormate_resilience.redaction import redact

__all__ = ("portable_state", "portable_text", "rebuild", "type_path")

TypePath = tuple[tuple[str, str], ...]
"""Module and qualified name of a class and of its parents, the class first."""


def type_path(cls: type[Any], root: type[Any]) -> TypePath:
    """The names under which `rebuild` looks for a class, and for its parents where the class is gone."""
    return tuple((parent.__module__, parent.__qualname__) for parent in cls.__mro__ if issubclass(parent, root))


def rebuild(root: type[Any], path: TypePath, args: tuple[Any, ...]) -> Any:
    """Make an error without calling its constructor, whose arguments are not known here.

    Args:
        root: `ResilienceError`.
        path: As `type_path` gave it.
        args: The exception's arguments.
    """
    cls = next(filter(None, (_find(root, module, name) for module, name in path)), root)
    error = cls.__new__(cls, *args)
    error.args = args
    return error


def _find(root: type[Any], module: str, name: str) -> type[Any] | None:
    if (known := _known(root, module, name)) is not None:
        return known
    try:
        importlib.import_module(module)
    except ImportError:  # the other process has code that this one has not: a parent class will do
        return None
    return _known(root, module, name)


def _known(root: type[Any], module: str, name: str) -> type[Any] | None:
    return next((cls for cls in types_below(root) if (cls.__module__, cls.__qualname__) == (module, name)), None)


def portable_state(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as they can be sent; one that cannot be pickled is replaced by its type's name."""
    return {name: value if _can_be_sent(value) else redact(value) for name, value in fields.items()}


def _can_be_sent(value: object) -> bool:
    if value is None or type(value) in {bool, int, float, str, bytes}:
        return True
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - a foreign __reduce__ may raise anything; then it stays here
        return False
    return True


def portable_text(value: object) -> object:
    """An argument of an exception as a scalar."""
    return value if value is None or isinstance(value, str | int | float) else printed(value)
