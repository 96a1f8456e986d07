"""The patterns themselves: right on every Python from 3.11.0 on."""

from __future__ import annotations

import importlib
import pkgutil
import re
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

import creatormate_resilience.redaction as package
from creatormate_resilience.redaction import Redactor, redact_text
from creatormate_resilience.redaction._pairs import pairs

ONE_CHARACTER = {"ANY", "IN", "LITERAL", "NOT_LITERAL"}


def patterns() -> Iterator[re.Pattern[str]]:
    """Every pattern of the package, and those it makes of an application's own names."""
    yield pairs(("_own_name_",))
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            yield from (
                each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, re.Pattern)
            )


def groups_that_give_nothing_back(node: Any) -> list[Any]:
    """Possessive quantifiers over more than a character, and atomic groups, in a parsed pattern."""
    found: list[Any] = []
    for each in node if isinstance(node, list | tuple | re._parser.SubPattern) else ():
        if isinstance(each, tuple) and each and str(each[0]) == "POSSESSIVE_REPEAT":
            repeated = list(each[1][2])
            found += [repeated] if len(repeated) != 1 or str(repeated[0][0]) not in ONE_CHARACTER else []
        if isinstance(each, tuple) and each and str(each[0]) == "ATOMIC_GROUP":
            found.append(each)
        found += groups_that_give_nothing_back(each)
    return found


def test_no_group_is_possessive_or_atomic():
    """Python before 3.11.5 matches such groups wrongly where they hold something that can be given back."""
    assert len(list(patterns())) > 12
    for pattern in patterns():
        assert groups_that_give_nothing_back(re._parser.parse(pattern.pattern)) == [], pattern.pattern


def test_the_search_for_such_groups_finds_them():
    """The test above can fail."""
    for wrong in ("(?:ab?c)?+", "(?:a|bc)*+", "(?>ab)", "x(?=(?:ab)++)"):
        assert groups_that_give_nothing_back(re._parser.parse(wrong))
    assert not groups_that_give_nothing_back(re._parser.parse("a++[b-c]?+.*+(?:ab)+"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token_count=100", "token_count=100"),
        ("token_count=abc", "token_count=[REDACTED]"),
        ("token_counter=100", "token_counter=[REDACTED]"),
        ("tokens=100", "tokens=100"),
        ("passwords[%5D=x", "passwords[%5D=x"),
        ("password%5D=hunter2", "password%5D=[REDACTED]"),
        ("password]%3Dhunter2", "password]%3D[REDACTED]"),
        ("password%5=hunter2", "password%5=hunter2"),
        ('password\\"\\\\: hunter2', 'password\\"\\\\: hunter2'),
        ("IDENTIFIED WITH caching BY 'hunter2'", "IDENTIFIED WITH caching BY '[REDACTED]'"),
        ("IDENTIFIED BY PASSWORD 'hunter2'", "IDENTIFIED BY PASSWORD '[REDACTED]'"),
        ("IDENTIFIED WITHOUT BY 'hunter2'", "IDENTIFIED WITHOUT BY 'hunter2'"),
        ("secret=a%41b;c", "secret=[REDACTED];c"),
        ("cookie: a=b; c=d ;", "cookie: [REDACTED] ;"),
        ('authorization: Digest a=b, c="d", e f', "authorization: [REDACTED], e f"),
        ("mail a@b.c.d.", "mail [REDACTED]."),
        ("mail a@b.c@d.e@f", "mail [REDACTED]@f"),
        ("basic authentication/method", "basic authentication/method"),
    ],
)
def test_what_was_taken_is_not_given_back(text, shown):
    """Where one piece of a pattern could end in two places, it ends in the first that fits, and that is kept."""
    assert redact_text(text) == shown


@pytest.mark.parametrize(
    "text",
    ["a@a." * 8000, "-----BEGIN PRIVATE KEY-----" + "-" * 32_000, "secret=" + "%a" * 16_000, "a@a" + ".a" * 16_000,
     "cookie: a" + ";a" * 16_000, "authorization: a a" + ",a=a" * 8000],
    ids=["addresses", "dashes", "percents", "labels", "cookies", "parameters"],
)  # fmt: skip
def test_a_long_text_takes_memory_in_proportion(text):
    """A group that was repeated remembers each time until the match is over."""
    redactor = Redactor(max_text=100_000)
    tracemalloc.start()
    try:
        redactor.redact(text)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 150 * len(text)
