"""Messages for users in their own language: a catalog, and which of its languages a client wants."""

from __future__ import annotations

import logging
import re
import string
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, cast

from creatormate_resilience.exceptions._chain import describe

__all__ = ("MessageCatalog", "Messages", "negotiate_locale", "translated")

_log = logging.getLogger("creatormate_resilience.exceptions")
_HEADER_LIMIT = 200
_RANGE = re.compile(r"([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,4})(?:[ \t]*;[ \t]*q=([01](?:\.\d{0,3})?))?")


class MessageCatalog(Protocol):
    """Where translated messages come from."""

    @property
    def locales(self) -> Sequence[str]:
        """The languages there are, such as "de" and "pt-BR"; the first is taken where a client names none of them."""
        ...

    def get(self, code: str, locale: str, params: Mapping[str, str]) -> str | None:
        """The message of an error code.

        Args:
            code: Such as "RESOURCE_NOT_FOUND".
            locale: One of `locales`.
            params: Scalars of the error's `public` data, as text.

        Returns:
            The message, or None where there is none: then the class's own is shown.
        """
        ...


class Messages:
    """A catalog made of plain mappings.

    Args:
        messages: Locale to code to text. `$name` in a text stands for that member of the error's `public` data.

    Raises:
        TypeError: It is no mapping of texts.
        ValueError: There is no locale in it, or a text has a `$` that begins no name.
    """

    def __init__(self, messages: Mapping[str, Mapping[str, str]]) -> None:
        if not isinstance(messages, Mapping) or not all(map(_is_texts, messages.items())):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"messages is {messages!r:.200}; accepted is a mapping of locale to code to text")
        if not messages:
            raise ValueError("messages is empty; accepted is a mapping of locale to code to text, with a locale in it")
        for locale, texts in messages.items():
            for code, text in texts.items():
                if not string.Template(text).is_valid():
                    raise ValueError(
                        f"the text of {code} in {locale} has a $ that begins no name; write $$ for a dollar"
                    )
        self._messages = MappingProxyType({
            locale: {code: string.Template(text) for code, text in texts.items()} for locale, texts in messages.items()
        })  # fmt: skip

    @property
    def locales(self) -> Sequence[str]:
        """The languages, in the order they were given."""
        return tuple(self._messages)

    def get(self, code: str, locale: str, params: Mapping[str, str]) -> str | None:
        """The text with its parameters filled in; None where one of them is missing."""
        text = self._messages.get(locale, {}).get(code)
        try:
            return None if text is None else text.substitute(params)
        except KeyError:
            return None

    def __repr__(self) -> str:
        return f"<Messages {', '.join(self._messages)}>"


def _is_texts(entry: tuple[object, object]) -> bool:
    locale, texts = entry
    if not isinstance(locale, str) or not isinstance(texts, Mapping):
        return False
    known = cast("Mapping[object, object]", texts)
    return all(isinstance(code, str) and isinstance(text, str) for code, text in known.items())


def negotiate_locale(accept_language: str | None, locales: Sequence[str]) -> str:
    """The language to answer in: the first of the client's choices that there is (RFC 9110, section 12.5.4).

    Args:
        accept_language: The header as received; only its first 200 characters are read, nonsense in it is skipped.
        locales: The languages there are, at least one.

    Returns:
        One of `locales`; "de" serves "de-AT", and the first of them serves whoever asked for none.

    Raises:
        ValueError: There are no locales.
    """
    if isinstance(locales, str) or not locales:
        raise ValueError(f"locales is {locales!r}; accepted is a sequence of at least one language")
    known = {locale.lower(): locale for locale in reversed(locales)}
    for wanted in _wanted(accept_language or ""):
        parts = wanted.split("-")
        for length in range(len(parts), 0, -1):  # RFC 4647, section 3.4, lookup: shorten from the end
            if found := known.get("-".join(parts[:length])):
                return found
    return locales[0]


def _wanted(header: str) -> list[str]:
    ranges: list[tuple[float, str]] = []
    for part in header[:_HEADER_LIMIT].split(","):
        match = _RANGE.fullmatch(part.strip(" \t"))
        if match and (quality := float(match[2] or 1)) > 0:
            ranges.append((quality, match[1].lower()))
    return [name for _, name in sorted(ranges, key=lambda pair: -pair[0])]


def translated(error: Any, catalog: MessageCatalog, locale: str) -> str | None:
    """The catalog's message for an error, or None where it has none or fails."""
    try:
        params = {name: str(value) for name, value in error.public.items() if isinstance(value, str | int | float)}
        return catalog.get(error.code, locale, params)
    except Exception as bug:  # noqa: BLE001 - rendering is total: a catalog that fails is logged, the class speaks
        _log.error("the message catalog failed for %s in %s: %s", error.code, locale, describe(bug))
        return None
