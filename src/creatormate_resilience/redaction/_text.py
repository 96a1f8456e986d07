"""All rules for secrets in one text, and the cut at its length; the outcome goes through again unchanged."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from creatormate_resilience.redaction._looks import (
    without_cards,
    without_credentials,
    without_emails,
    without_inputs,
    without_key_blocks,
    without_logins,
    without_tokens,
)
from creatormate_resilience.redaction._marks import REDACTED, TRUNCATED, keep_first_group
from creatormate_resilience.redaction._pairs import COOKIES, CREDENTIALS

__all__ = ("Reader", "TextRules")

# What every secret holds, at a rare character each; most texts hold none of it and pass after this one search. Every
# alternative begins with a plain character, so that the search runs from one of these to the next; frequent ones first.
_CARD_LIKE = r"[0-9]{3}(?:[ -]?[0-9]{4}[ -]?[0-9]{4}|[ -][0-9]{6}[ -])"
_SIGNS = (
    r"_(?<=pm_|hf_|at_)",
    *(f"{digit}{_CARD_LIKE}" for digit in "23456"),
    r":(?!//|[0-9](?<=[0-9]:.))",
    r"g(?:h[opsru]_|ithub_pat_|lpat-)",
    r"k[-_](?<=[spr]k.)",
    r"b(?:[Ee][Aa][Rr][Ee][Rr]|[Aa][Ss][Ii][Cc])[ \t]",
    r"B(?:[Ee][Aa][Rr][Ee][Rr]|[Aa][Ss][Ii][Cc])[ \t]",
    r"y(?:a29\.|pi-)|x(?:ox|app-)",
    r"=|'|\"|%(?=[34])|J(?<=eyJ)|I(?<=A[KS]I)|z(?<=AIz)|SG\.|V(?<=PRIV)",
)
_SUSPECT = re.compile("|".join((*_SIGNS, "@")))
_SUSPECT_BUT_AT = re.compile("|".join(_SIGNS))
_ANNOUNCES = re.compile(r"[=:'\"%]")
_CALM = 11  # fewer letters and digits than any token has
_LOOK_AHEAD = 256  # characters behind the cut that are read, so that a secret across it is known as one
_PASSES = 5
_LONG, _MANY = 4096, 64  # characters, secrets
_ENDS_A_URL = "\t\n\r \"'<>"


@dataclass(frozen=True, slots=True)
class TextRules:
    """Which secrets are taken out of a text.

    Attributes:
        pairs: Finds the values of secret names; `pairs()` makes it.
        emails: Whether e-mail addresses go too.
        patterns: What else goes, whole.
    """

    pairs: re.Pattern[str]
    emails: bool
    patterns: tuple[re.Pattern[str], ...]

    def without_secrets(self, text: str) -> str:
        """One pass over all rules; a second one may find more where two secrets met."""
        if "@" in text and "://" not in text and not self.patterns and _SUSPECT_BUT_AT.search(text) is None:
            return without_emails(text) if self.emails else text
        text = without_logins(without_tokens(without_cards(without_key_blocks(text))))
        if _ANNOUNCES.search(text):
            text = self._without_pairs(without_inputs(text))
        if " " in text or "\t" in text:
            text = without_credentials(text)
        if self.emails and ("@" in text or "%40" in text):
            text = without_emails(text)
        for pattern in self.patterns:
            text = REDACTED.join(_without(pattern, piece) for piece in text.split(REDACTED))
        return text

    def _without_pairs(self, text: str) -> str:
        lowered = text.lower()
        if "authoriz" in lowered:
            text = keep_first_group(CREDENTIALS, text)
        if "cookie" in lowered:
            text = keep_first_group(COOKIES, text)
        return keep_first_group(self.pairs, text)


def _without(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda match: REDACTED if match.group() else "", text)


class Reader:
    """What every text goes through.

    Args:
        limit: Characters kept at most.
        rules: Which secrets go; None keeps them.

    Attributes:
        suspect: Finds in a text that it may hold a secret at all.
        calm: So many letters and digits are no secret that is known by its look.
    """

    __slots__ = ("calm", "limit", "rules", "suspect")

    def __init__(self, limit: int, rules: TextRules | None) -> None:
        self.limit = limit
        self.rules = rules
        own = rules is not None and bool(rules.patterns)
        self.calm = 0 if own else min(limit, _CALM)
        self.suspect: Callable[[str], object] = len if own else _nothing if rules is None else _SUSPECT.search

    def read(self, text: str) -> str:
        """The text after all rules, at most `limit` characters and a mark that it was cut.

        Args:
            text: Any text; lone surrogates become question marks.
        """
        if len(text) <= self.limit and text.isascii() and self.suspect(text) is None:
            return text
        return self.read_closely(text)

    def read_closely(self, text: str) -> str:
        """The same for a text that is known to be long, not in ASCII, or suspect."""
        if text == REDACTED:
            return text
        body = text.removesuffix(TRUNCATED)  # cut before: it stays as it is, with one mark
        cut = len(body) != len(text)
        if len(body) > self.limit:
            body, cut = _window(body, self.limit), True
        if not body.isascii():
            body = body.encode("utf-8", "replace").decode("utf-8")
            if not cut and self.suspect(body) is None:
                return body
        return self._settled(body, cut)

    def _settled(self, text: str, cut: bool) -> str:
        """Apply the rules until they change nothing more, so that what came out comes out of it again.

        Should that not be reached, nothing of the text is kept. A long text full of secrets is gone through once.
        """
        for _ in range(_PASSES):
            changed = text if self.rules is None else self.rules.without_secrets(text)
            once = len(text) > _LONG and not cut and changed.count(REDACTED) > _MANY
            if len(changed) > self.limit:
                changed, cut = _head(changed, self.limit), True
            if changed == text or once or self.suspect(changed) is None:
                return changed + TRUNCATED if cut else changed
            text = changed
        return TRUNCATED


def _nothing(_text: str) -> None:
    return None


def _window(text: str, limit: int) -> str:
    window = text[: limit + _LOOK_AHEAD]
    if len(window) == len(text):
        return window
    last = window[max(map(window.rfind, _ENDS_A_URL)) + 1 :]
    before, separator, _ = last.partition("://")  # its login may go on for longer than was read
    return window if not separator else f"{window.removesuffix(last)}{before}{separator}{REDACTED}"


def _head(text: str, limit: int) -> str:
    mark = text.rfind(REDACTED, 0, limit + len(REDACTED) - 1)
    return text[: mark if mark >= 0 and mark + len(REDACTED) > limit else limit]
