"""Names of entries: checked, namespaced and versioned in Redis, hashed where long; and tags."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeAlias

__all__ = ("RESERVED", "KeySpace", "Tags", "check_tags", "check_values", "identity", "several", "tag_identity")

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


def several(keys: Iterable[str]) -> Iterable[str]:
    """Keys as they were given, unless they are one text, whose letters nobody means.

    Raises:
        TypeError: It is one text.
    """
    if isinstance(keys, str):
        raise TypeError(f"keys is {keys!r:.200}; accepted are keys in a list or another iterable")
    return keys


def check_values(values: Mapping[str, object]) -> None:
    """See that these are keys and values.

    Raises:
        TypeError: They are something else.
    """
    if not isinstance(values, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"values is {values!r:.200}; accepted is a mapping of keys to values")


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
