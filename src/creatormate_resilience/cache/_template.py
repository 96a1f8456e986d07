"""Keys and tags made from a function's arguments."""

from __future__ import annotations

import enum
import inspect
import string
import uuid
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("KeyTemplate",)


class KeyTemplate:
    """Makes keys from a function's arguments: `"user:{user_id}:{kind}"`.

    Args:
        template: Literals and `{parameter}` or `{parameter.attribute}` fields.
        fn: The function whose parameters they are.
        constant: Whether it may do without fields although the function has parameters.

    Raises:
        ConfigurationError: A field is no parameter of the function, or two fields could not be told apart.

    Fields are escaped: whatever the arguments are, two different sets of them never make the same key.
    """

    __slots__ = ("_arguments", "_escapes", "_fields", "_signature", "template")

    def __init__(self, template: str, fn: Callable[..., Any], *, constant: bool = False) -> None:
        self.template = template
        self._signature = inspect.signature(fn)
        self._fields = [_Field(literal, *rest) for literal, *rest in _parsed(template)]
        needed = self._signature.parameters.keys() - {"self", "cls"}
        if not template or (needed and not constant and not any(field.path for field in self._fields)):
            raise ConfigurationError(f"key template {template!r} names no parameter of {_name(fn)}")
        for field in self._fields:
            self._check(field, fn)
        self._arguments = _Arguments(self._signature)
        self._escapes = str.maketrans({char: f"%{ord(char):02X}" for char in {"%", ":", *self._separators()}})

    def key(self, *args: Any, **kwargs: Any) -> str:
        """The key for these arguments.

        Raises:
            TypeError: They do not fit the signature, or a field's value has no stable text.
        """
        arguments = self._arguments.bound(args, kwargs)
        return "".join([field.literal + self._text(field, arguments) for field in self._fields])

    def _text(self, field: _Field, arguments: Mapping[str, Any]) -> str:
        if not field.path:
            return ""
        value = arguments[field.path[0]]
        for attribute in field.path[1:]:
            value = getattr(value, attribute)
        if type(value) is str and value.isalnum():
            return value
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, bool | float | None):
            return "%~" + str(value).translate(self._escapes)  # no escape starts like this: None is not "None"
        if isinstance(value, str | int | uuid.UUID | date | Decimal):
            return str(value).translate(self._escapes)
        raise TypeError(
            f"{'.'.join(field.path)} in key template {self.template!r} is {type(value).__name__}; accepted are texts, "
            "numbers, booleans, None, enums, UUIDs and dates"
        )

    def _separators(self) -> list[str]:
        between = self._fields[1:] if self._fields[0].path else []
        return [field.literal[0] for field in between if field.path and field.literal]

    def _check(self, field: _Field, fn: Callable[..., Any]) -> None:
        where = f"key template {self.template!r} of {_name(fn)}"
        if not field.path:
            return
        if field.decorated:
            raise ConfigurationError(f"{where}: accepted are plain fields, without conversion or format")
        parameter = self._signature.parameters.get(field.path[0])
        if parameter is None:
            known = ", ".join(self._signature.parameters) or "none"
            raise ConfigurationError(f"{where}: {field.path[0]!r} is not a parameter; there are: {known}")
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise ConfigurationError(f"{where}: {field.path[0]!r} takes any number of values and makes no key")
        separator = field.literal[:1]
        if field is not self._fields[0] and (not separator or separator.isalnum() or separator == "%"):
            raise ConfigurationError(f"{where}: between two fields there must be a sign such as ':' to tell them apart")


class _Arguments:
    """Finds which argument is which parameter's: what `Signature.bind` does, for less where the call is a usual one."""

    __slots__ = ("_count", "_defaults", "_names", "_positional", "_signature", "_usual")

    def __init__(self, signature: inspect.Signature) -> None:
        parameters = signature.parameters.values()
        self._signature = signature
        self._usual = all(each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY} for each in parameters)
        self._positional = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
        self._names = signature.parameters.keys()
        self._count = len(self._names)
        self._defaults = {each.name: each.default for each in parameters if each.default is not each.empty}

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
        """Every parameter's value, defaults included.

        Raises:
            TypeError: They do not fit.
        """
        if self._usual and len(args) <= len(self._positional):
            given = dict(zip(self._positional, args, strict=False))
            if not kwargs or (kwargs.keys() <= self._names and kwargs.keys().isdisjoint(given)):
                whole = {**self._defaults, **given, **kwargs}
                if len(whole) == self._count:
                    return whole
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments


class _Field:
    """A literal and the field after it; `path` is empty where the template ends with the literal."""

    __slots__ = ("decorated", "literal", "path")

    def __init__(self, literal: str, name: str | None, form: str | None, conversion: str | None) -> None:
        self.literal = literal
        self.path = [] if name is None else name.split(".")
        self.decorated = bool(form or conversion)


def _parsed(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(string.Formatter().parse(template))
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"key template {template!r} is malformed: {error}") from error


def _name(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__qualname__", repr(fn))
