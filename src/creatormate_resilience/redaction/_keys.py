"""Which names of fields promise a secret: judged by words, so that `wildcard` is no card and `max_tokens` no token."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

__all__ = ("KeyVerdict", "judge_key", "words_of")


class KeyVerdict(enum.Enum):
    """What the name of a field says about its value."""

    HARMLESS = "harmless"
    SECRET = "secret"  # noqa: S105 - a verdict, no password
    COUNT = "count"  # a number there is a count, a limit or an age; anything else is a secret


_WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")

# Searched in "_user_password_". What stands between underscores is a whole word; the rest hits inside words too,
# because nothing harmless holds it and many names are written without a separator.
_SECRET = re.compile(
    r"pass_?word|passwd|pass_?phrase|pass_?code|pwd|secret(?!ar)|token(?!i[sz]|s_details?_)|credential|authori[sz]ation_"
    r"|cookie|signature|session_?id|sess_?id|connection_?string|conn_?str_|credit_?card|card_?num|seed_?phrase"
    r"|(?:api|access|private|secret|account|auth|encryption|master|shared|signing|ssh|subscription)_?key"
    r"|(?:backup|one_time|recovery|security|verification)_codes?_"
    r"|(?:admin|db|ftp|http|login|mail|mysql|pg|postgres|proxy|redis|root|smtp|user)_?pass_"
    r"|_(?:card|csrf|cvc|cvv|dsn|jwt|mnemonic|otp|pw|session|sig|ssn|totp|xsrf)_"
    r"|_pin_(?:code_|number_|hash_|block_)?$|_auth_$"
)
_COUNT = re.compile(
    r"_(?:age|attempts|budget|count|counts|days|duration|enabled|errors|exists|expired|expires|expiry|failures|has|hours"
    r"|is|length|limit|max|min|minutes|missing|ms|present|rate|ratio|remaining|required|retries|seconds|size|timeout"
    r"|tokens|total|ttl|usage|used|valid)_"
)


def words_of(name: str) -> str:
    """The words of a name in snake case between underscores: `_user_password_` for `userPassword`.

    Args:
        name: A name in any case, with any separators.
    """
    return f"_{'_'.join(_WORD.findall(name)).lower()}_"


def judge_key(name: str, own: Iterable[str] = ()) -> KeyVerdict:
    """Say whether the value under this name has to be replaced.

    Args:
        name: The name of a field; at most a few hundred characters.
        own: Further secret names, as `words_of` gives them.
    """
    words = words_of(name)
    if any(key in words for key in own):
        return KeyVerdict.SECRET
    if not _SECRET.search(words):
        return KeyVerdict.HARMLESS
    return KeyVerdict.COUNT if _COUNT.search(words) else KeyVerdict.SECRET
