"""What is the same in all runs of a statement: its text without literals, comments and the lengths of lists.

A small tokenizer, one pass, linear in the length of the text. It knows enough of each dialect to tell what is a
literal, and where that is in doubt it takes it for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ("Syntax", "fingerprint", "mask_literals", "syntax_of")

_READ = 16_384
"""Characters of a statement that are looked at."""
_KEPT = 2_000
"""Longest fingerprint; what is cut off there is replaced by an ellipsis."""

# No possessive groups, only possessive characters: Python before 3.11.5 gets groups wrong. Nothing needs them here:
# after a group there is one way to go on.
_STRING = r"(?:[NnBbXx]|[Uu]&)?'[^']*+(?:''[^']*+)*'?"
_ESCAPED = r"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*\\?'?"
_NUMBER = r"(?:\d[\d_]*+(?:\.[\d_]*+)?|\.\d[\d_]*+)(?:[eE][+-]?\d++)?\w*+"
_PARAMETER = r"\$\d++|%\(\w++\)s|%s\b|(?<![:\w]):[^\W\d]\w*+"
_OPERATOR = r"->>?|#>>?|<->|<#>|#-|@-@|-\|-|\?[|&]|[-+]"


@dataclass(frozen=True, slots=True)
class Syntax:
    """What a dialect does with quotes and comments.

    Attributes:
        token: Matches any one token, by the name of its kind.
        nested_comments: Whether a comment may hold comments.
        doubtful_quotes: Whether `"name"` may be a string, as it is for SQLite where no column has that name.
    """

    token: re.Pattern[str]
    nested_comments: bool = False
    doubtful_quotes: bool = False


def _syntax(
    *,
    literal: str,
    quotes: str,
    parameter: str = r"\?\d*+|@\w++",
    comment: str = r"--[^\n]*+",
    nested: bool = False,
    doubtful: bool = False,
) -> Syntax:
    closed = {'"': r'(?:[Uu]&)?"[^"]*+(?:""[^"]*+)*"(?!")', "`": "`[^`]*+`", "[": r"\[[^\]]*+\]"}
    names = "|".join(closed[quote] for quote in quotes)
    parameter = rf"{_PARAMETER}|{parameter}"
    token = re.compile(
        rf"(?P<space>\s++|{comment})|(?P<comment>/\*)|(?P<literal>{literal}|{_NUMBER})"
        rf"|(?P<name>{names})|(?P<unclosed>[{re.escape(quotes)}].*+)"
        rf"|(?P<word>[^\W\d][\w$]*+)|(?P<parameter>{parameter})"
        rf"|(?P<operator>{_OPERATOR}|(?:(?!/\*|{comment}|{parameter})[<>=!~@#%^&|*/])+)|(?P<other>::|:=|.)",
        re.DOTALL,
    )
    return Syntax(token, nested, doubtful)


_DOLLAR_QUOTED = r"\$(?P<tag>(?:[^\W\d]\w*+)?)\$(?:.*?\$(?P=tag)\$|.*+)"
_MYSQL = _syntax(
    literal=rf'(?:[NnBbXx])?{_ESCAPED}|"[^"\\]*+(?:(?:\\.|"")[^"\\]*+)*\\?"?',
    quotes="`",
    comment=r"--(?=\s|\Z)[^\n]*+|\#[^\n]*+",
)
_SYNTAXES = MappingProxyType(
    {
        "postgresql": _syntax(
            literal=rf"[Ee]{_ESCAPED}|{_STRING}|{_DOLLAR_QUOTED}", quotes='"', parameter=r"\?(?![|&])", nested=True
        ),
        "sqlite": _syntax(literal=_STRING, quotes='"`[', parameter=r"\?\d*+|[@$]\w++", doubtful=True),
        "mysql": _MYSQL,
        "mariadb": _MYSQL,
    }
)
_OTHER = _syntax(literal=_STRING, quotes='"[', nested=True)


def syntax_of(dialect: str) -> Syntax:
    """The syntax of a dialect, by SQLAlchemy's name of it; standard SQL for one that is not known."""
    return _SYNTAXES.get(dialect, _OTHER)


def fingerprint(statement: str, syntax: Syntax) -> str:
    """The text of a statement without what differs from run to run.

    Literals and parameters become `?`, lists of equal elements after IN and ARRAY one element, rows of VALUES one row;
    comments go, whitespace becomes one space. A text is looked at up to 16,384 characters, and a
    fingerprint ends after 2,000.

    Args:
        statement: The SQL, as the driver gets it.
        syntax: How the dialect quotes.

    Returns:
        The fingerprint. Taking it of a fingerprint changes nothing.
    """
    tokens = list(_mask(statement[:_READ], syntax))
    if len(statement) > _READ:
        tokens = [*_without_unclosed(tokens), ("…", True)]
    return _join(_collapse(tokens))


def mask_literals(text: str, syntax: Syntax) -> str:
    """A piece of SQL with its literals as `?`, its lists as they are."""
    return _join(_mask(text[:_READ], syntax))


# From text to tokens --------------------------------------------------------------------------------------------------
_Token = tuple[str, bool]
"""A piece of the fingerprint, and whether space stood before it."""
_SIGNS = frozenset("+-")
_OPENS = frozenset({"(", ",", "["})
_OPERATORS = frozenset("<>=!~@#%^&|*/+-")
_COMPARING = frozenset({"LIKE", "GLOB", "MATCH", "REGEXP", "ESCAPE", "BETWEEN", "THEN", "ELSE", "ILIKE", "DEFAULT"})
_BEFORE_VALUES = frozenset(
    {"SELECT", "DISTINCT", "WHERE", "AND", "OR", "HAVING", "BY", "CASE", "WHEN", "LIMIT", "OFFSET"}
)
_CONSTANTS = frozenset({"NULL", "TRUE", "FALSE"})
_BEFORE_LISTS = frozenset({"VALUES", "IN"})
_AFTER_LISTS = frozenset({"SELECT", "FROM", "WHERE", "ON", "AS", "SET", "GROUP", "ORDER", "RETURNING", "UNION"})


def _mask(text: str, syntax: Syntax) -> Iterator[_Token]:
    """The tokens, with `?` for what is a literal or a parameter."""
    position, spaced, in_list = 0, False, False
    before, last = "", ""
    while match := syntax.token.match(text, position):
        position, kind, piece = match.end(), match.lastgroup, match[0]
        if kind == "comment":
            position = _end_of_comment(text, position, nested=syntax.nested_comments)
        if kind in {"space", "comment"}:
            spaced = True
            continue
        if last in _SIGNS and not (kind == "literal" and _takes_value(before)):
            yield last, True
        if kind == "word":
            in_list = piece.upper() in _BEFORE_LISTS or (in_list and piece.upper() not in _AFTER_LISTS)
        doubtful = syntax.doubtful_quotes and (_compares(last) or (in_list and last in _OPENS))
        piece = _shown(kind, piece, last, doubtful)
        if piece not in _SIGNS:
            yield piece, spaced
        before, last, spaced = last, piece, False
    if last in _SIGNS:
        yield last, True


def _end_of_comment(text: str, position: int, *, nested: bool) -> int:
    """Where the comment ends whose first two characters end here."""
    if not nested:
        end = text.find("*/", position)
        return len(text) if end < 0 else end + 2
    depth = 1
    for mark in re.compile(r"/\*|\*/").finditer(text, position):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def _shown(kind: str | None, piece: str, last: str, doubtful: bool) -> str:
    if kind in {"literal", "parameter", "unclosed"}:
        return "?"
    if kind == "word":
        constant = piece.upper() in _CONSTANTS and _takes_value(last)
        return "?" if constant or last.upper() == "SAVEPOINT" else piece  # SQLAlchemy numbers its savepoints
    return "?" if kind == "name" and piece[0] == '"' and doubtful else piece


def _compares(last: str) -> bool:
    return last[:1] in _OPERATORS or last.upper() in _COMPARING


def _takes_value(last: str) -> bool:
    """Whether a sign after this belongs to the number that follows, and NULL is a value."""
    return last in _OPENS or _compares(last) or last.upper() in _BEFORE_VALUES


# From tokens to text --------------------------------------------------------------------------------------------------
_NO_SPACE_BEFORE = frozenset({")", "]", ",", ";", ".", ":", "::"})
_NO_SPACE_AFTER = frozenset({"(", "[", ".", "::"})


def _collapse(tokens: list[_Token]) -> list[_Token]:
    """Leave out the rows of VALUES but the first, and the equal elements of a list but the first."""
    closing = _closing(tokens)
    jumps: dict[int, int] = {}
    kept: list[_Token] = []
    place = 0
    while place < len(tokens):
        if place in jumps:
            place = jumps[place]
            continue
        kept.append(tokens[place])
        word, place = tokens[place][0].upper(), place + 1
        if place in closing and word in {"IN", "ARRAY"}:
            jumps.update(_equal_elements(tokens, place, closing))
        elif place in closing and word == "VALUES":
            jumps.update(_further_rows(tokens, closing[place] + 1, closing))
    return kept


def _without_unclosed(tokens: list[_Token]) -> list[_Token]:
    """The tokens up to the row or list that the end of the text cuts through."""
    closing = _closing(tokens)
    opened = (place for place, (piece, _) in enumerate(tokens) if piece in {"(", "["} and place not in closing)
    place = next(opened, len(tokens))
    return tokens[: place - 1 if place and tokens[place - 1][0] == "," else place]


def _closing(tokens: list[_Token]) -> dict[int, int]:
    """Where each bracket is closed."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for place, (piece, _) in enumerate(tokens):
        if piece in {"(", "["}:
            opened.append(place)
        elif piece in {")", "]"} and opened:
            found[opened.pop()] = place
    return found


def _equal_elements(tokens: list[_Token], opened: int, closing: dict[int, int]) -> dict[int, int]:
    """A jump from the end of the first element to the end of the list, where all elements are alike."""
    starts = [opened + 1]
    place, end = opened + 1, closing[opened]
    while place < end:
        if tokens[place][0] == ",":
            starts.append(place + 1)
        place = closing.get(place, place) + 1
    size = (starts[1] if len(starts) > 1 else end + 1) - starts[0]
    if len(starts) == 1 or any(
        later - sooner != size for sooner, later in zip(starts, [*starts[1:], end + 1], strict=True)
    ):
        return {}
    first = [piece for piece, _ in tokens[starts[0] : starts[0] + size - 1]]
    alike = all([piece for piece, _ in tokens[start : start + size - 1]] == first for start in starts[1:])
    return {starts[1] - 1: end} if alike else {}


def _further_rows(tokens: list[_Token], start: int, closing: dict[int, int]) -> dict[int, int]:
    """A jump from the end of the first row to the end of the last, where there are several."""
    place = start
    while place + 1 in closing and tokens[place][0] == "," and tokens[place + 1][0] == "(":
        place = closing[place + 1] + 1
    return {start: place} if place > start else {}


def _join(tokens: Iterator[_Token] | list[_Token]) -> str:
    pieces: list[str] = []
    length, last = 0, "("
    for piece, spaced in tokens:
        bare = piece in _NO_SPACE_BEFORE or last in _NO_SPACE_AFTER or (piece in {"(", "["} and not spaced)
        shown = piece if bare else f" {piece}"
        length, last = length + len(shown), piece
        pieces.append(shown if length <= _KEPT else " …" if pieces else "…")
        if length > _KEPT:
            break
    return "".join(pieces)
