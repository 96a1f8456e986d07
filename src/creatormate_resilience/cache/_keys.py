"""Names of entries: checked, namespaced and versioned in Redis, hashed where long, made from templates."""

from __future__ import annotations

import enum
import hashlib
import inspect
import string
import uuid
from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias

from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("RESERVED", "KeySpace", "KeyTemplate", "Tags", "check_tags", "identity", "tag_identity")

_LONGEST = 65_536
_LONGEST_PLAIN = 200
_LONGEST_TAG = 500
_MOST_TAGS = 32
Tags: TypeAlias = Iterable[str]
RESERVED = "~"
"""Begins the names that this library makes; a key that begins so is hashed."""


def identity(key: str) -> str:
    """What a key is called inside: itself, or a hash of it where it is long or unprintable.

    Args:
        key: 1 to 65,536 characters.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty or too long.
    """
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"key is {type(key).__name__}; accepted is a text of 1 to {_LONGEST} characters")
    if not 0 < len(key) <= _LONGEST:
        raise ValueError(f"key has {len(key)} characters; accepted are 1 to {_LONGEST}")
    return key if _fits_plainly(key) else f"{RESERVED}{_digest(key)}"


def tag_identity(tag: str) -> str:
    """What a tag is called in the name of its mark."""
    return tag if _fits_plainly(tag) else f"{RESERVED}{_digest(tag)}"


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as entries carry them: each once, in order.

    Raises:
        TypeError: They are no texts.
        ValueError: One is empty or too long, or there are too many.
    """
    if isinstance(tags, str) or not isinstance(tags, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"tags is {tags!r:.200}; accepted are texts, in a list or tuple")
    given = tuple(tags)
    for tag in given:
        if not isinstance(tag, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"tags has {tag!r:.200}; accepted are texts")
        if not 0 < len(tag) <= _LONGEST_TAG or "\0" in tag:
            raise ValueError(f"tags has {tag!r:.200}; accepted are 1 to {_LONGEST_TAG} characters, none of them zero")
    if len(given) > _MOST_TAGS:
        raise ValueError(f"tags has {len(given)}; accepted are at most {_MOST_TAGS}")
    return tuple(sorted(set(given)))


def _fits_plainly(name: str) -> bool:
    """Whether a name may stand in Redis as it is."""
    return len(name) <= _LONGEST_PLAIN and name.isprintable() and not name.startswith(RESERVED)


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class KeySpace:
    """Where this cache's keys live in Redis.

    Args:
        namespace: Of the application.
        version: Of its stored data; raising it leaves everything old behind.
    """

    __slots__ = ("_prefix",)

    def __init__(self, namespace: str, version: int) -> None:
        self._prefix = f"{namespace}:v{version}:"

    def wire(self, name: str) -> str:
        """The key in Redis of an entry called `name` inside."""
        return self._prefix + name


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

    __slots__ = ("_escapes", "_fields", "_signature", "template")

    def __init__(self, template: str, fn: Callable[..., Any], *, constant: bool = False) -> None:
        self.template = template
        self._signature = inspect.signature(fn)
        self._fields = [_Field(literal, *rest) for literal, *rest in _parsed(template)]
        needed = self._signature.parameters.keys() - {"self", "cls"}
        if not template or (needed and not constant and not any(field.path for field in self._fields)):
            raise ConfigurationError(f"key template {template!r} names no parameter of {_name(fn)}")
        for field in self._fields:
            self._check(field, fn)
        self._escapes = str.maketrans({char: f"%{ord(char):02X}" for char in {"%", ":", *self._separators()}})

    def key(self, *args: Any, **kwargs: Any) -> str:
        """The key for these arguments.

        Raises:
            TypeError: They do not fit the signature, or a field's value has no stable text.
        """
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return "".join(field.literal + self._text(field, bound.arguments) for field in self._fields)

    def _text(self, field: _Field, arguments: dict[str, Any]) -> str:
        if not field.path:
            return ""
        value = arguments[field.path[0]]
        for attribute in field.path[1:]:
            value = getattr(value, attribute)
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
