"""Secrets known by their look: keys with a prefix, logins in URLs, private keys, e-mail addresses, card numbers."""

from __future__ import annotations

import re

from creatormate_resilience.redaction._marks import REDACTED, keep_first_group

__all__ = (
    "is_card_number",
    "without_cards",
    "without_credentials",
    "without_emails",
    "without_inputs",
    "without_key_blocks",
    "without_logins",
    "without_tokens",
)

# As for pairs, time stays linear and small: tried only at a rare character, and nothing taken is given back.
_TOKEN = re.compile(
    r"((?:"
    r"J(?<=eyJ)(?:(?<![A-Za-z0-9]eyJ)|(?<=\\[nrt]eyJ)|(?<=%[0-9A-F]{2}eyJ))(?=[\w+/=.-]{10})"  # JWT
    r"|I(?<=A[KS]I)A(?=[A-Z0-9]{12})"  # AWS
    r"|z(?<=AIz)a(?=[\w-]{20})"  # Google
    r"|\.(?<=29\.|SG\.)(?:(?<=ya29\.)(?=[\w-]{20})|(?<=SG\.)(?=[\w-]{16,40}+\.[\w-]{16}))"  # Google OAuth, SendGrid
    r"|-(?<=sk-|at-|x[a-z]-|pp-|pi-)(?:"
    r"(?<=sk-)(?<![A-Za-z0-9]sk-)(?=[\w-]{8})"  # OpenAI, Anthropic
    r"|(?<=glpat-)(?=[\w-]{16})|(?<=pypi-)(?=[\w-]{16})"  # GitLab, PyPI
    r"|(?:(?<=xox[a-z]-)|(?<=xapp-))(?=[\w-]{8}))"  # Slack
    r"|_(?<=[spr]k_|h[opsru]_|at_|pm_|hf_)(?:"
    r"(?<![A-Za-z0-9].k_)(?:"
    r"(?<=[spr]k_)(?:live|test|prod)_(?=\w{8})|(?<=sk_)(?=[A-Za-z_]{0,30}+[0-9])(?=\w{16}))"  # Stripe
    r"|(?<=gh[opsru]_)(?=[A-Za-z0-9]{16})|(?:(?<=b_pat_)|(?<=shpat_))(?=\w{16})"  # GitHub, Shopify
    r"|(?:(?<=npm_)|(?<=hf_)(?<![A-Za-z0-9]hf_))(?=[A-Za-z0-9]{20}))"  # npm, Hugging Face
    r"))[\w+/=.-]++",
    re.ASCII,
)
_ORDINARY = r"(?:auth\w*|errors?|for|formats?|headers?|is|methods?|of|or|realm|schemes?|tokens?|was)\b"
_SCHEME = re.compile(
    rf"([Bb](?:[Ee][Aa][Rr][Ee][Rr][ \t]{{1,8}}+(?!{_ORDINARY})|[Aa][Ss][Ii][Cc][ \t]{{1,8}}+"
    r"(?![A-Z]?[a-z]{1,24}+(?:[/-][A-Za-z]?[a-z]{1,24}+)?(?![\w~+=/-]))))(?=[\w.~+/=-]{4})[\w.~+/=-]++",
    re.ASCII,
)
_KEY_BLOCK = re.compile(r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)[^-]*+(?:-(?!----END )[^-]*+)*")
_END_OF_KEY_BLOCK = re.compile(r"(-----END [A-Z0-9 ]{0,40}PRIVATE KEY)")
_IN_KEY_BLOCK = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\\r\n"
_URL = re.compile(r"(://)([^\s\"'<>]*@|)([^\s\"'<>]*+)", re.ASCII)
_ENCODED_URL = re.compile(r"(%3[Aa]%2[Ff]%2[Ff])([^\s\"'<>&]*%40|)([^\s\"'<>&]*+)", re.ASCII)
_LABEL = r"[^\x00-,./:-@\[-^`{-\x7f]++"
_DOMAIN = rf"(?![0-9.]++(?![\w-])){_LABEL}\.{_LABEL}(?:\.{_LABEL})*"
_AT, _ENCODED_AT = r"@(?<=[\w.%+-]@)", r"%40(?<=[\w.%+-]%40)"
_AT_DOMAINS, _ANY_AT_DOMAINS = (  # two, because what can begin with one character only is found far faster
    re.compile(rf"{at}{_DOMAIN}(?:{at}{_DOMAIN})*", re.ASCII) for at in (_AT, f"(?:{_AT}|{_ENCODED_AT})")
)
_LOCAL_PART = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.%+-"
_CARD = re.compile(
    r"([2-6](?<![0-9].)[0-9]{3}(?<![0-9][.]....)"
    r"(?:[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{1,7}+|[ -][0-9]{6}[ -][0-9]{4,5}+)(?![0-9])(?![.][0-9]))"
)
_UUID = re.compile(r"-(?<=[0-9a-f]{8}-)(?<![\w-].{9})(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![\w-])", re.ASCII)
_BEFORE_DASH = 8  # digits of a UUID, which is sought at its first dash
_INPUT = re.compile(r"(input_value=)(?!\[REDACTED\])[^\n]{0,512}?(?=, input_type=|\n|$)")
_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")


def without_inputs(text: str) -> str:
    """What pydantic's errors show of a rejected value goes: with its middle left out, nobody could tell what it was."""
    return keep_first_group(_INPUT, text) if "input_value=" in text else text


def without_key_blocks(text: str) -> str:
    """Private keys go up to their end or the text's; of one whose beginning was cut away, what is left of it."""
    if "PRIVATE KEY" not in text:
        return text
    parts = _END_OF_KEY_BLOCK.split(keep_first_group(_KEY_BLOCK, text))
    before = [piece.rstrip(_IN_KEY_BLOCK) for piece in parts[:-1:2]]
    parts[:-1:2] = [cut + REDACTED if cut != piece else piece for cut, piece in zip(before, parts[:-1:2], strict=True)]
    return "".join(parts)


def without_logins(text: str) -> str:
    """User and password in URLs go up to the last @, because a password may hold one, and slashes too."""
    if "@" in text and "://" in text:
        text = _without_logins(text, _URL, "@")
    return _without_logins(text, _ENCODED_URL, "%40") if "%40" in text else text


def _without_logins(text: str, url: re.Pattern[str], at: str) -> str:
    parts = url.split(text)
    parts[2::4] = [login and REDACTED + at for login in parts[2::4]]
    return "".join(parts)


def without_tokens(text: str) -> str:
    """Keys with a known prefix, which is kept, and JSON web tokens."""
    return keep_first_group(_TOKEN, text)


def without_credentials(text: str) -> str:
    """What follows Bearer and Basic, where it is no ordinary word."""
    lowered = text.lower()
    return keep_first_group(_SCHEME, text) if "bearer" in lowered or "basic" in lowered else text


def without_emails(text: str) -> str:
    """E-mail addresses go whole; an @ that nothing stands before stays."""
    *before, rest = (_ANY_AT_DOMAINS if "%40" in text else _AT_DOMAINS).split(text)
    return REDACTED.join([*[piece.rstrip(_LOCAL_PART) for piece in before], rest]) if before else text


def without_cards(text: str) -> str:
    """Card numbers go, in one piece or in their usual groups; the digits of a UUID stay, for ids are looked for."""
    if _CARD.search(text) is None:
        return text
    parts: list[str] = []
    done = 0
    for uuid in _UUID.finditer(text):
        start = uuid.start() - _BEFORE_DASH
        parts += _without_cards(text[done:start]), text[start : uuid.end()]
        done = uuid.end()
    return "".join((*parts, _without_cards(text[done:])))


def _without_cards(text: str) -> str:
    parts = _CARD.split(text)
    if len(parts) > 1:
        shown = {digits: REDACTED if _is_card(digits) else digits for digits in set(parts[1::2])}
        parts[1::2] = [shown[digits] for digits in parts[1::2]]
    return "".join(parts)


def is_card_number(number: int) -> bool:
    """Whether a number has the length, first digits and check digit (Luhn, ISO/IEC 7812) of a payment card."""
    return 10**12 <= number < 10**19 and _is_card(str(number))


def _is_card(text: str) -> bool:
    digits = text.encode().translate(None, b" -")
    if not b"22" <= digits[:2] < b"28" and not b"3" <= digits[:1] < b"7":
        return False  # a timestamp or a running number, of which every tenth has a fitting check digit
    total = sum(digits[-1::-2]) + sum(digits[-2::-2].translate(_DOUBLED)) - 48 * len(digits)
    return total % 10 == 0
