"""What an answer, an exception and the end of a body say about an upstream. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from creatormate_resilience.exceptions import (
    ExternalAPIError,
    ExternalAPIProtocolError,
    ExternalAPITimeoutError,
    ExternalAPIUnavailableError,
    InternalError,
    ResilienceError,
    map_exception,
)

__all__ = ("BODY_LIMIT", "ends_with_head", "is_idempotent", "network_error", "status_error")

BODY_LIMIT = 64 * 1024
"""How much of an error's body is read for its problem document, in bytes."""

# RFC 9110 section 9.2.2; QUERY is safe by its definition (RFC 9110 has not got it yet).
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
_NO_BODY = frozenset({204, 205})


def is_idempotent(method: str, headers: Mapping[str, str]) -> bool:
    """Whether doing it twice is as good as doing it once, by its method or because the upstream is given a key."""
    return method in _IDEMPOTENT or bool(headers.get("idempotency-key", "").strip())


def ends_with_head(method: str, status: int, headers: Mapping[str, str]) -> bool:
    """Whether all is said with the head of an answer below 400: no body comes, or none counts (a redirect)."""
    return not 200 <= status < 300 or method == "HEAD" or status in _NO_BODY or headers.get("content-length") == "0"


def status_error(response: Any, status: int, service: str, body: bytes | None = None) -> ExternalAPIError | None:
    """The error that an answer means; None below 400.

    Args:
        response: The client's response object.
        status: Its status.
        service: Name of the upstream.
        body: The body, where it was read.
    """
    if status < 400:
        return None
    if status < 600:
        return ExternalAPIError.from_response(response, service=service, body=body)
    return ExternalAPIProtocolError(service, f"answered {status}")


def network_error(exc: Exception, service: str) -> ResilienceError | None:
    """The error that an exception of a client means.

    Args:
        exc: What the client raised.
        service: Name of the upstream.

    Returns:
        An error of the `ExternalAPI` family, or one of ours where it is not the upstream's fault (an exhausted pool);
        None where it has nothing to do with the network, such as a bug.
    """
    if isinstance(exc, TimeoutError) and not isinstance(exc, ExternalAPIError):
        return ExternalAPITimeoutError(service, type(exc).__name__).with_cause(exc)
    error = map_exception(exc)
    if error is exc:
        return error
    if isinstance(error, ExternalAPIError):
        error.service = service
        return error
    if isinstance(error, InternalError):
        return None
    if isinstance(exc, OSError):  # without a number it was not the operating system that said it
        return None if exc.errno is None else ExternalAPIUnavailableError(service, error.detail).with_cause(exc)
    return error
