"""One bounded redactor for responses, logs, Sentry and health: plain data comes out, secrets and surprises do not.

Every walk has a budget on depth, nodes and text, so hostile data costs bounded time; what is over budget is cut, never
passed through. Objects that are not plain data appear as their type's name, because a `repr()` may show anything.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from creatormate_resilience.redaction._marks import REDACTED, TRUNCATED
from creatormate_resilience.redaction._redactor import Redactor

__all__ = ("REDACTED", "TRUNCATED", "Redactor", "plain", "redact", "redact_text", "redact_url")

_DEFAULT = Redactor()
_PLAIN = Redactor(secrets=False)


def redact(value: object) -> Any:
    """`Redactor().redact(value)`: plain, bounded data without secrets."""
    return _DEFAULT.redact(value)


def plain(value: object) -> Any:
    """Plain, bounded, JSON-safe data; for what an application has declared public."""
    return _PLAIN.redact(value)


@functools.lru_cache(64)
def _for_texts_of(limit: int) -> Redactor:
    return Redactor(max_text=limit)


def redact_text(text: str, limit: int = 4096) -> str:
    """Replace what looks like a secret inside a text.

    Args:
        text: The text; only its first `limit` characters are kept.
        limit: Characters kept at most.

    Returns:
        The text without passwords in URLs, tokens, keys, card numbers and e-mail addresses.

    Raises:
        ValueError: If `limit` is not positive.
    """
    return _for_texts_of(limit).redact_text(text)


def redact_url(url: str) -> str:
    """A URL without its user, password, query and fragment, for reprs and messages.

    Args:
        url: The URL, which may be malformed: a password may hold a slash or a question mark that was not encoded.

    Returns:
        Scheme, host, port and path; only the scheme where it is not certain where the password ends.
    """
    scheme, separator, rest = url.partition("://")
    before, _, after = (rest if separator else url).rpartition("@")
    location = re.split(r"[?#]", after, maxsplit=1)[0]
    if not separator:
        return redact_text(location, 256)
    return f"{scheme[:64]}://{REDACTED if re.search('[/?#]', before) else location}"
