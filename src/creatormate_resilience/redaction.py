"""One bounded redactor for responses, logs, Sentry and health: plain data comes out, secrets and surprises do not.

Every walk has a budget on depth, nodes and text, so hostile data costs bounded time; what is over budget is cut, never
passed through. Objects that are not plain data appear as their type's name, because a `repr()` may show anything.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import re
import uuid
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ("REDACTED", "TRUNCATED", "Redactor", "plain", "redact", "redact_text", "redact_url")

REDACTED = "[REDACTED]"
TRUNCATED = "[TRUNCATED]"

_SECRET_KEYS = re.compile(
    r"password|passwd|pwd|passphrase|secret|token|api_?key|authorization|cookie|session|credential|private_key|access_key"
    r"|signature|dsn|connection_string|card|cvv|ssn"
)
_SECRET_KEYS_EXACT = frozenset({"pin", "otp", "pw", "auth"})

_KEY = (
    r"[A-Za-z_-]{0,20}(?:password|passwd|pwd|passphrase|secret|token|api[_-]?key|credential|signature|session"
    r"|authorization|private[_-]?key|access[_-]?key)[A-Za-z_-]{0,20}"
)

# The time stays linear on hostile text: a quantifier after which a match can still fail is bounded, and the prefilter
# keeps the patterns off harmless text.
_MAYBE_SECRET = re.compile(
    r"[@=]|eyJ|A[KS]IA|[spr]k[-_]|gh[pousr]_|-----BEGIN|\d{4}|[\"']\s{0,4}:|:\s{0,4}[\"']|bearer|basic", re.IGNORECASE
)
_SECRET_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.{0,8192}", re.DOTALL), REDACTED),
    # Up to the last @, because a password may hold one, and slashes too.
    (re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s\"'<>]{0,2048}@"), rf"\1{REDACTED}@"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,2048}\.[A-Za-z0-9_-]{2,}(?:\.[A-Za-z0-9_-]*)?"), REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)[ \t]{1,8}[A-Za-z0-9._~+/=-]{4,}"), rf"\1 {REDACTED}"),
    (re.compile(r"\bA[KS]IA[A-Z0-9]{12,32}\b"), REDACTED),
    (re.compile(r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{8,}"), REDACTED),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{16,}"), REDACTED),
    (re.compile(rf"(?i)({_KEY}=)[^\s&;,\"']+"), rf"\1{REDACTED}"),
    (re.compile(rf"(?is)({_KEY}[\"']?\s{{0,4}}[=:]\s{{0,4}})([\"'])(?:\\.|(?!\2).)+"), rf"\1\2{REDACTED}"),
    (re.compile(rf"(?i)([\"']{_KEY}[\"']\s{{0,4}}:\s{{0,4}})[^\s,;\"'\[\]{{}}]+"), rf"\1{REDACTED}"),
    (re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,6}"), REDACTED),
)
_DIGITS = re.compile(r"(?<!\d)(?<!\d\.)\d(?:[ -]?\d){12,18}(?!\.?\d)")


def _luhn(digits: str) -> bool:
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = int(char) * (1 + index % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _card(match: re.Match[str]) -> str:
    text = match.group()
    return REDACTED if _luhn(re.sub(r"\D", "", text)) else text


def redact_text(text: str, limit: int = 4096) -> str:
    """Replace what looks like a secret inside a text.

    Args:
        text: The text; only its first `limit` characters are kept.
        limit: Characters kept at most.

    Returns:
        The text without passwords in URLs, tokens, keys, card numbers and e-mail addresses.
    """
    return _cut(text, limit, _without_secrets)


def _cut(text: str, limit: int, change: Callable[[str], str]) -> str:
    body = text.removesuffix(TRUNCATED)  # cut before: it stays as it is, with one mark
    kept = change(body[:limit].encode("utf-8", "replace").decode("utf-8"))
    return kept + TRUNCATED if len(body) > limit or len(body) < len(text) else kept


def _without_secrets(text: str) -> str:
    if _MAYBE_SECRET.search(text):
        for pattern, replacement in _SECRET_TEXT:
            text = pattern.sub(replacement, text)
        text = _DIGITS.sub(_card, text)
    return text


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


def _is_secret_key(key: str) -> bool:
    name = key[:128].casefold().replace("-", "_").replace(" ", "_")
    return name in _SECRET_KEYS_EXACT or _SECRET_KEYS.search(name) is not None


_Container: TypeAlias = Mapping[Any, Any] | Set[Any] | list[Any] | tuple[Any, ...]


@dataclass(slots=True)
class _Walk:
    redactor: Redactor
    nodes_left: int
    ancestors: set[int]

    def value(self, value: object, depth: int) -> Any:
        self.nodes_left -= 1
        if self.nodes_left < 0 or depth > self.redactor.max_depth:
            return TRUNCATED
        try:
            return self.content(value, depth)
        except Exception:  # noqa: BLE001 - a hostile __iter__ or __str__ must not break the error path
            return _type_name(value)

    def content(self, value: object, depth: int) -> Any:
        if isinstance(value, Mapping | Set | list | tuple):
            container: _Container = value  # pyright: ignore[reportUnknownVariableType]
            return self.container(container, depth)
        return _scalar(value, self.redactor)

    def container(self, value: _Container, depth: int) -> Any:
        if id(value) in self.ancestors:
            return "[CYCLE]"
        self.ancestors.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self.mapping(value, depth)
            return self.items(value, depth)
        finally:
            self.ancestors.discard(id(value))

    def mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in value.items():
            if self.nodes_left <= 0:
                result[TRUNCATED] = TRUNCATED
                break
            name = _key_name(key, self.redactor)
            if self.redactor.secrets and _is_secret_key(name):
                self.nodes_left -= 1
                result[name] = REDACTED
            else:
                result[name] = self.value(item, depth + 1)
        return result

    def items(self, value: Set[Any] | list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        result: list[Any] = []
        for index, item in enumerate(value):
            if index >= self.redactor.max_items or self.nodes_left <= 0:
                result.append(TRUNCATED)
                break
            result.append(self.value(item, depth + 1))
        return result


@dataclass(frozen=True, slots=True)
class Redactor:
    """Turns any value into plain data that may be logged or sent.

    Attributes:
        secrets: Replace what looks like a secret; False only bounds and flattens.
        max_depth: Levels of nesting kept.
        max_nodes: Values visited at most.
        max_items: Items kept of one list.
        max_text: Characters kept of one text.
    """

    secrets: bool = True
    max_depth: int = 12
    max_nodes: int = 2000
    max_items: int = 200
    max_text: int = 4096

    def redact(self, value: object) -> Any:
        """The value as dicts, lists, texts, numbers, booleans and None; never raises.

        Args:
            value: Anything at all.

        Returns:
            JSON-safe data: no NaN, no lone surrogates, no huge integers, no cycles.
        """
        return _Walk(self, self.max_nodes, set()).value(value, 0)


def _key_name(key: object, redactor: Redactor) -> str:
    name = key[:128].decode("utf-8", "replace") if isinstance(key, bytes) else _scalar(key, redactor)
    return _text(str(name), redactor)[:128]  # as text, because that is what it will be from now on


def _scalar(value: object, redactor: Redactor) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _scalar(value.value, redactor)
    if isinstance(value, str):
        return _text(value, redactor)
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else f"[int of {value.bit_length()} bits]"
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal | uuid.UUID):
        return _text(str(value), redactor)
    return _type_name(value)


def _type_name(value: object) -> str:
    return f"[{type(value).__name__}]"


def _text(value: str, redactor: Redactor) -> str:
    text = str.__str__(value)
    return _cut(text, redactor.max_text, _without_secrets if redactor.secrets else str)


_DEFAULT = Redactor()
_PLAIN = Redactor(secrets=False)


def redact(value: object) -> Any:
    """`Redactor().redact(value)`: plain, bounded data without secrets."""
    return _DEFAULT.redact(value)


def plain(value: object) -> Any:
    """Plain, bounded, JSON-safe data; for what an application has declared public."""
    return _PLAIN.redact(value)
