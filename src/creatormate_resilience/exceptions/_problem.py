"""RFC 9457 problem documents: errors rendered for the outside, and rebuilt from a trusted peer's."""

from __future__ import annotations

import datetime
import math
import re
import sys
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, cast

from creatormate_resilience.exceptions._vocabulary import ErrorCategory
from creatormate_resilience.redaction import plain

__all__ = ("is_error_id", "parse_retry_after", "phrase", "read_problem", "render_problem", "safe_text", "time_from")

_MEMBERS = 32
_ERROR_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Renderable(Protocol):
    """What a problem document is made of."""

    code: ClassVar[str]
    category: ClassVar[ErrorCategory]
    status_code: ClassVar[int]

    @property
    def public(self) -> Mapping[str, object]: ...
    @property
    def errors(self) -> Sequence[Mapping[str, object]]: ...
    @property
    def error_id(self) -> str: ...
    @property
    def retryable(self) -> bool: ...
    @property
    def retry_after(self) -> float | None: ...


def render_problem(
    error: Renderable, detail: str, *, type_base_uri: str | None, domain: str | None, request_id: str | None
) -> dict[str, Any]:
    """The document of an error; see `ResilienceError.to_problem`."""
    error_id, wait = safe_text(error.error_id), time_from(error.retry_after)
    document: dict[str, Any] = {
        "type": "about:blank" if type_base_uri is None else type_base_uri + error.code.lower().replace("_", "-"),
        "title": phrase(error.status_code),
        "status": error.status_code,
        "detail": safe_text(detail),
        "instance": f"urn:uuid:{error_id}",
        "code": error.code,
        "category": str(error.category),
        "retryable": bool(error.retryable),
        "error_id": error_id,
    }
    if wait is not None:
        document["retry_after"] = wait
    if domain is not None:
        document["domain"] = safe_text(domain)
    if request_id is not None:
        document["request_id"] = safe_text(request_id)
    if error.public and (public := plain(error.public)):
        document["context"] = public
    if error.errors and (errors := plain(error.errors)):
        document["errors"] = errors
    return document


def safe_text(value: object) -> str:
    """A value as a text that may be sent."""
    if type(value) is str and len(value) <= 4096 and value.isascii():  # nothing in it could hurt
        return value
    return str(plain(value))


def read_problem(document: Mapping[str, Any], *, trusted_domain: str) -> tuple[str | None, dict[str, Any]]:
    """The code of a peer's document and the options of the error it describes; see `ResilienceError.from_problem`."""
    if not isinstance(trusted_domain, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"trusted_domain is {trusted_domain!r:.100}; accepted is the peer's domain, or '*' for any")
    if not isinstance(document, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"document is a {type(document).__name__}; accepted is a mapping")
    if len(document) > _MEMBERS:
        raise ValueError(f"document has {len(document)} members; accepted are at most {_MEMBERS}")
    if trusted_domain != "*" and document.get("domain") != trusted_domain:
        raise ValueError(
            f"document comes from domain {plain(document.get('domain'))!r}; accepted is {trusted_domain!r}"
        )
    context, errors, retryable = (plain(document.get(name)) for name in ("context", "errors", "retryable"))
    return _text(document.get("code")), {
        "user_message": _text(document.get("detail")),
        "public": cast("Mapping[str, Any]", context) if isinstance(context, dict) else None,
        "errors": _mappings(errors),
        "retryable": retryable if isinstance(retryable, bool) else None,
        "retry_after": time_from(document.get("retry_after"), longest=3600.0),
        "error_id": given if isinstance(given := document.get("error_id"), str) and is_error_id(given) else None,
    }


def parse_retry_after(value: object, *, now: float, longest: float = 3600.0) -> float | None:
    """Read a Retry-After header: seconds or an HTTP date.

    Args:
        value: The header's value.
        now: Wall time, in seconds since the epoch.
        longest: Longest wait believed, in seconds.

    Returns:
        Seconds within 0 and `longest`, or None where the value says nothing.
    """
    text = str(value).strip()[:64]
    if text.isascii() and text.isdigit():
        return min(float(text), longest)
    return _http_date(text, now, longest)


def _http_date(text: str, now: float, longest: float) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        moment = (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()  # an HTTP date is in GMT
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(0.0, moment - now), longest)


_PHRASES = MappingProxyType({status.value: status.phrase for status in HTTPStatus} | {499: "Client Closed Request"})


def phrase(status: int) -> str:
    """The title of an HTTP status."""
    return _PHRASES.get(status, "Error")


def is_error_id(text: str) -> bool:
    """Whether a text may stand in logs and documents as the id of an error."""
    return _ERROR_ID.fullmatch(text) is not None


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def _text(value: object) -> str | None:
    return value[:2048] if isinstance(value, str) else None


def time_from(value: object, *, longest: float = sys.float_info.max) -> float | None:
    """Seconds within 0 and `longest`, or None where the value is no finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -math.inf < value < math.inf:
        return None
    return float(min(max(0, value), longest))  # clamped first: a large int does not fit into a float
