"""Problem documents in OpenAPI: their schema, and their place in a document that a framework has made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from creatormate_resilience.exceptions import ErrorCategory, ResilienceError

__all__ = ("describe_problems", "problem_content", "problem_schema")

_MEDIA_TYPE = "application/problem+json"
_NAME = "Problem"
_FRAMEWORK_NAMES = ("HTTPValidationError", "ValidationError")
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace", "query"})


def problem_schema(codes: Iterable[str] = ()) -> dict[str, Any]:
    """The JSON schema of a problem document.

    Args:
        codes: The error codes it may carry; none means any.
    """
    text = {"type": "string"}
    code: dict[str, Any] = {"type": "string", "enum": sorted(set(codes))} if codes else dict(text)
    field = {"in": text, "pointer": text, "code": text, "detail": text}
    return {
        "type": "object",
        "title": _NAME,
        "description": "An error, as RFC 9457 describes it.",
        "required": ["type", "title", "status", "detail", "code", "category", "retryable", "error_id"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "instance": {"type": "string", "format": "uri-reference"},
            "code": code,
            "category": {"type": "string", "enum": [str(category) for category in ErrorCategory]},
            "retryable": {"type": "boolean"},
            "retry_after": {"type": "number", "description": "Seconds to wait before trying again."},
            "error_id": text,
            "request_id": text,
            "trace_id": text,
            "domain": text,
            "context": {"type": "object"},
            "errors": {"type": "array", "items": {"type": "object", "properties": field}},
        },
    }


def problem_content(types: Iterable[type[ResilienceError]] = ()) -> dict[str, Any]:
    """The `content` of a response that is a problem document.

    Args:
        types: The errors it may be; none means any.
    """
    return {_MEDIA_TYPE: {"schema": problem_schema([cls.code for cls in types])}}


def describe_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Show problem documents where an OpenAPI document of FastAPI shows FastAPI's own errors.

    Args:
        document: The document; changed in place. Doing it twice changes nothing.

    Returns:
        The same document: each operation answers 422 with a problem where it answered with `HTTPValidationError`, and
        has a `default` response for all other errors, where it has none of its own.
    """
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    name = (
        _NAME
        if schemas.get(_NAME, {}).get("description") in (None, problem_schema()["description"])
        else f"Resilience{_NAME}"
    )
    schemas[name] = problem_schema()
    content = {_MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    for operation in _operations(document):
        responses = operation.setdefault("responses", {})
        if "HTTPValidationError" in str(responses.get("422")):
            responses["422"] = {"description": "Some fields are not valid.", "content": content}
        responses.setdefault("default", {"description": "Any other error.", "content": content})
    for unused in _FRAMEWORK_NAMES:
        if f"#/components/schemas/{unused}'" not in str(document):
            schemas.pop(unused, None)
    return document


def _operations(document: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for path in document.get("paths", {}).values():
        for method, operation in path.items():
            if method in _METHODS:
                yield cast("dict[str, Any]", operation)
