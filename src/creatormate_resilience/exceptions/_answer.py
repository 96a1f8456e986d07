"""What an HTTP client's response object says, read without trusting it and without knowing the client."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from creatormate_resilience.redaction import Redactor

__all__ = ("Answer", "read_answer")

_BODY_LIMIT = 64 * 1024
_BOUNDS = Redactor(secrets=False, max_depth=8, max_nodes=512, max_items=32, max_text=2048)
_MEMBERS = 32


class Answer(NamedTuple):
    """The parts of an answer that decide about an error."""

    status: int
    retry_after: str | None
    host: str | None
    problem: Mapping[str, Any] | None


def read_answer(response: Any, body: bytes | None) -> Answer:
    """Read a response of httpx, requests, aiohttp or the like.

    Args:
        response: It has `status_code` or `status`, and `headers`.
        body: The body, where it was read by the caller.

    Raises:
        TypeError: It has no status.
    """
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    if isinstance(status, bool) or not isinstance(status, int):
        raise TypeError(f"response is a {type(response).__name__}; accepted is one with a status_code or status")
    headers: Any = getattr(response, "headers", None) or {}
    kind = str(headers.get("content-type", "")).partition(";")[0].strip().lower()
    problem = _problem(kind, _held_body(response) if body is None else body)
    return Answer(status, headers.get("retry-after"), _host(response), problem)


def _host(response: Any) -> str | None:
    try:
        return urllib.parse.urlsplit(str(response.url)).hostname
    except (AttributeError, ValueError, RuntimeError):  # httpx raises RuntimeError for a response without its request
        return None


def _held_body(response: Any) -> bytes | None:
    if getattr(response, "_content", b"") is False:  # requests: reading now could mean gigabytes, or for ever
        return None
    try:
        content = response.content  # httpx raises where it was not read; aiohttp has a stream there
    except Exception:  # noqa: BLE001 - whatever the client raises: there is no body to be had
        return None
    return content if isinstance(content, bytes) else None


def _problem(kind: str, body: bytes | None) -> Mapping[str, Any] | None:
    if body is None or len(body) > _BODY_LIMIT or kind not in {"application/problem+json", "application/json"}:
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):  # no JSON, a huge number, or a tower of brackets
        return None
    if not isinstance(document, dict):
        return None
    members = cast("dict[str, Any]", document)
    if kind == "application/json" and not ({"type", "title"} & members.keys()):
        return None
    return cast("Mapping[str, Any]", _BOUNDS.redact(dict(list(members.items())[:_MEMBERS])))
