"""Secrets in text that a name announces: `password=x`, `"token": "x"`, `Authorization: x`, cookies, SQL passwords."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from types import MappingProxyType

__all__ = ("COOKIES", "CREDENTIALS", "pairs")

# Time stays linear and small on hostile text: a match is tried only at a rare letter of a word (the first behind the
# bar; the whole word is then looked back at), and no quantifier gives back what it took. One over a character is
# possessive. One over a group is not, as Python before 3.11.5 gets those wrong: behind it there is one way to go on.
_WORDS = (
    "pass|word", "pass|wd", "pass|phrase", "pass|code", "p|wd", "se|cret", "to|ken", "|credential", "si|gnature",
    "sess|ion", "sess|id", "api|key", "api[-_ ]|key", "access|key", "access[-_ ]|key", "private|key",
    "private[-_ ]|key", "account|key", "account[-_]|key", "shared|key", "shared[-_]|key", "connectionstrin|g",
    "connection[-_ ]strin|g",
)  # fmt: skip
_WHOLE_WORDS = ("|pin", "ot|p", "p|w", "c|vv", "c|vc", "si|g", "j|wt", "a|uth", "|pass")
_ORDINARY = MappingProxyType({"cret": "(?!ar)", "ken": "(?!i[sz])", "ion": "(?!s)"})  # secretary, tokenizer, sessions
_NEAR = r"(?=[A-Za-z0-9_.-]{0,24}+[\]\\\"']{0,9}+\s{0,4}+[=:%\"'])"  # else not worth a closer look
_COUNT = (  # what was found ahead is not given back: the number of a count is no secret
    r"(?=(s(?<=[Kk][Ee][Nn]s)(?![A-Za-z0-9_.-])|(?=[A-Za-z_-])[_-]?+"
    r"(?:[Aa]ge|[Cc]ount|[Ll](?:imit|ength)|[Ss]ize|[Tt](?:imeout|[Tt][Ll])|[Uu]s(?:age|ed))(?![a-z]))|)(?(2)\2)"
)
_TAIL = r"[A-Za-z0-9_.-]{0,24}+(?:\]|%5[Dd]|)"
_CLOSE = r"\\{0,8}+(?:[\"']|(?<!\\))"
_BY = r"\s(?:(?<=[Oo][Rr][Dd]\s)|(?<=[Bb][Yy]\s))\s{0,7}+(?=[\"'])"  # SQL: PASSWORD 'x', IDENTIFIED BY 'x'
_SEPARATOR = rf"(?:\s{{0,4}}+(?::(?!//|[0-9](?<=[0-9]:.))=?+|(=>?+|%3[Dd])|%3A)\s{{0,4}}+|{_BY})"
_IDENTIFIED = (
    r"[Ii][Ee][Dd](?<=[Ii][Dd][Ee][Nn][Tt][Ii]....)(?:\s{1,4}+[Ww][Ii][Tt][Hh]\s{1,4}+[\w\"'`]{1,40}+)?\s{1,4}+[Bb][Yy]"
    r"(?:\s{1,4}+[Pp][Aa][Ss][Ss][Ww][Oo][Rr][Dd])?"
)
_PREFIX = r"[bfruBFRU]{0,2}+"
_DONE = rf"(?!\[REDACTED\](?![^\s&;,\"'\[\]{{}}()<>])|{_PREFIX}\\{{0,8}}+[\"'])"
_NUMBER = r"[0-9.]++(?![\w-])"  # max_tokens=100
_TOLD = r"(?:(?<=oken: )|(?<=ssion: )|(?<=ature: ))[a-z]{1,15}+(?![\w.~+/=-])"  # invalid token: expired
_LIST = r"\[[^\[\]]*+\]?+[^\s&;,\"'\[\]{}()<>]*+"
_NO_END = r"%(?!26|3[Bb])"
_AFTER_EQUALS = rf"(?:[^\s&;,\"'%]|{_NO_END})[^\s&;,\"'%]*+(?:{_NO_END}[^\s&;,\"'%]*+)*"
_AFTER_COLON = r"[^\s,;\"'\[\]{}]++"
_BARE = rf"(?(2)(?!{_NUMBER})){_DONE}(?!{_TOLD})(?:{_LIST}|(?(3){_AFTER_EQUALS}|{_AFTER_COLON}))"


def _with_value(name: str, quote: int, bare: str) -> re.Pattern[str]:
    """A name and its value, which ends at the quote it began with behind as many backslashes, or with the text.

    Args:
        name: What stands before the value, and is kept.
        quote: The number of the group for the quote.
        bare: The value, where it is not quoted.
    """
    opening = rf"(?:{_PREFIX}(\\{{0,8}}+[\"'])(?!\[REDACTED\]\{quote})|)"
    quoted = rf"(?:[^\\\"']++|''|(?!\{quote})(?:\\++[\"']?+|[\"']))+"
    return re.compile(rf"({name}{opening})(?({quote}){quoted}|{bare})", re.ASCII)


_HEADER = rf"{_CLOSE}\s{{0,4}}+(?:=|:(?!//))\s{{0,4}}+"
COOKIES = _with_value(
    rf"[Kk](?<=[Cc][Oo][Oo].)[Ii][Ee][Ss]?+{_HEADER}", 2, rf"{_DONE}[^\s,;\"']++(?:;[ \t]*+[^\s,;\"']++)*"
)
_PARAMETER = r"(?:\"[^\"]*+\"?|[^\s,\"]++)"
CREDENTIALS = _with_value(  # one word, or the name of a scheme and one word or a list of parameters
    rf"[Zz](?<=[Uu][Tt][Hh][Oo][Rr][Ii].)[Aa][Tt][Ii][Oo][Nn]{_HEADER}",
    2,
    rf"{_DONE}[^\s,;\"']++(?:[ \t]++[^\s,;\"']++(?:\"[^\"]*+\"?)?(?:,\s*+[\w-]++={_PARAMETER})*)?",
)


def _letters(text: str) -> str:
    """The pattern for a text in any case; what stands in brackets is left alone."""
    return re.sub(r"[^\W\d_](?![^\[]*\])", lambda letter: f"[{letter[0]}{letter[0].upper()}]", text)


def _width(pattern: str) -> int:
    return len(re.sub(r"\[.*?\]", ".", pattern))


def _tried(words: Iterable[str], guard: str = "") -> Iterator[tuple[str, str]]:
    """The letter to try at and what has to stand around it; words that end alike share the look ahead."""
    ends: dict[str, list[str]] = {}
    for word in words:
        before, after = word.split("|")
        ends.setdefault(after, []).append(_letters(before) + "." * _width(after))  # the rest is matched already
    for after, whole in ends.items():
        behind: list[str] = []
        for width in sorted(set(map(_width, whole))):
            alike = "|".join(word for word in whole if _width(word) == width)
            behind.append(f"(?<={alike})" + (f"(?<![A-Za-z0-9]{'.' * width})" if guard else ""))
        ahead = guard or _ORDINARY.get(after, "")
        yield after[0], f"{_letters(after[1:])}{ahead}(?:{'|'.join(behind)}){_NEAR}"


def _own_word(words: str) -> tuple[str, str]:
    first, rest = words[1], words[2:-1]
    parts = "[-_ ]?".join(map(_letters, rest.split("_")))
    return first, f"(?<![a-z][a-z])(?<![A-Z][A-Z]){parts}(?![a-z]){_NEAR}"


def pairs(own: Iterable[str]) -> re.Pattern[str]:
    """The pattern of names of secrets with their values; what is to be kept of a match is its first group.

    Args:
        own: Further names, as `words_of` gives them.
    """
    tried = [*_tried(_WORDS), *_tried(_WHOLE_WORDS, r"(?![\w.-])"), ("f", _IDENTIFIED), *map(_own_word, own)]
    letters: dict[str, list[str]] = {letter: [] for letter in "pwkcigufv"}  # the commonest in hostile text first
    for first, rest in tried:
        letters.setdefault(first, []).append(rest)
    cases = ((case, rest) for letter, rest in letters.items() for case in dict.fromkeys((letter, letter.upper())))
    names = "|".join(f"{case}(?:{'|'.join(rest)})" for case, rest in cases if rest)
    return _with_value(f"(?:{names}){_COUNT}{_TAIL}{_CLOSE}{_SEPARATOR}", 4, _BARE)
