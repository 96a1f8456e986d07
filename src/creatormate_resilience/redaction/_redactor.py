"""The redactor: which secrets it knows, how much it keeps, and its walk through a value."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from creatormate_resilience.redaction._keys import KeyVerdict, judge_key, words_of
from creatormate_resilience.redaction._pairs import pairs
from creatormate_resilience.redaction._text import Reader, TextRules
from creatormate_resilience.redaction._walk import Names, Walk

__all__ = ("Redactor",)

_KEY_LENGTH = 128  # characters kept of a key
_KEYS_REMEMBERED = 4096  # a bound, because keys may come from strangers
_PAIRS = pairs(())


@dataclass(frozen=True)
class Redactor:
    """Turns any value into plain data that may be logged or sent.

    Attributes:
        secrets: Replace what looks like a secret; False only bounds and flattens.
        max_depth: Levels of nesting kept.
        max_nodes: Values visited at most.
        max_items: Items kept of one list.
        max_text: Characters kept of one text.
        emails: Replace e-mail addresses too.
        keys: Further names whose values are secret, in fields and in text: "iban" means `customer_iban` and
            `customerIban` too.
        patterns: Further patterns whose matches are replaced in every text; they must be fast on any text.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a budget is not positive, or a key holds no word.
    """

    secrets: bool = True
    max_depth: int = 12
    max_nodes: int = 2000
    max_items: int = 200
    max_text: int = 4096
    emails: bool = True
    keys: tuple[str, ...] = ()
    patterns: tuple[re.Pattern[str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_depth", "max_nodes", "max_items", "max_text"):
            _check_budget(name, getattr(self, name))
        object.__setattr__(self, "keys", _checked("keys", self.keys, str, "names"))
        object.__setattr__(self, "patterns", _checked("patterns", self.patterns, re.Pattern, "compiled patterns"))
        _check_names(self.keys)
        _check_patterns(self.patterns)

    @functools.cached_property
    def _own(self) -> tuple[str, ...]:
        return tuple(map(words_of, self.keys))

    @functools.cached_property
    def _rules(self) -> TextRules | None:
        if not self.secrets:
            return None
        return TextRules(pairs(self._own) if self._own else _PAIRS, self.emails, self.patterns)

    @functools.cached_property
    def _reader(self) -> Reader:
        return Reader(self.max_text, self._rules)

    @functools.cached_property
    def _names(self) -> Names:
        judge = functools.partial(judge_key, own=self._own) if self.secrets else _harmless
        return _Names(Reader(_KEY_LENGTH, self._rules).read, judge)

    def __reduce__(self) -> tuple[Any, ...]:
        settings = (
            self.max_depth,
            self.max_nodes,
            self.max_items,
            self.max_text,
            self.emails,
            self.keys,
            self.patterns,
        )
        return Redactor, (self.secrets, *settings)

    def redact(self, value: object) -> Any:
        """The value as dicts, lists, texts, numbers, booleans and None; never raises.

        Args:
            value: Anything at all.

        Returns:
            JSON-safe data: no NaN, no lone surrogates, no huge integers, no cycles.
        """
        return Walk(self._reader, self._names, self.max_depth, self.max_items, self.max_nodes).start(value)

    def redact_text(self, text: str) -> str:
        """The text without secrets, cut at `max_text` characters.

        Args:
            text: Any text.
        """
        return self._reader.read(str.__str__(text))


def _check_budget(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is {type(value).__name__}; accepted is a whole number from 1 on")
    if value < 1:
        raise ValueError(f"{name} is {value}; accepted is a whole number from 1 on")


def _checked(name: str, values: object, kind: type, accepted: str) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} is {type(values).__name__}; accepted is a tuple of {accepted}")
    checked: tuple[object, ...] = tuple(values)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    for value in checked:
        if not isinstance(value, kind):
            raise TypeError(f"{name} holds {type(value).__name__}; accepted are {accepted}")
    return checked


def _check_names(keys: tuple[str, ...]) -> None:
    for key in keys:
        if words_of(key) == "__":
            raise ValueError(f"keys holds {key!r}; accepted are names with a letter or a digit")


def _check_patterns(patterns: tuple[re.Pattern[Any], ...]) -> None:
    for pattern in patterns:
        if not isinstance(pattern.pattern, str):
            raise TypeError(f"patterns holds {pattern.pattern!r}; accepted are patterns for str")


def _harmless(_name: str) -> KeyVerdict:
    return KeyVerdict.HARMLESS


class _Names(dict[str, tuple[str, KeyVerdict]]):
    """What becomes of keys, remembered, because a program uses the same few over and over."""

    def __init__(self, read: Callable[[str], str], judge: Callable[[str], KeyVerdict]) -> None:
        super().__init__()
        self._read = read
        self._judge = judge

    def __missing__(self, key: str) -> tuple[str, KeyVerdict]:
        name = self._read(key)
        verdict = self._judge(name)
        if verdict is KeyVerdict.HARMLESS and name != key:
            verdict = self._judge(key[:_KEY_LENGTH])
        if len(key) <= _KEY_LENGTH:
            if len(self) >= _KEYS_REMEMBERED:
                self.clear()
            self[key] = name, verdict
        return name, verdict
