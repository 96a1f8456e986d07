"""Errors of what we call: the `ExternalAPI` family. An upstream's 401, 403 or 429 never becomes ours."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Unpack

from creatormate_resilience.exceptions._answer import read_answer
from creatormate_resilience.exceptions._problem import parse_retry_after
from creatormate_resilience.exceptions._root import ErrorOptions, ResilienceError
from creatormate_resilience.exceptions._vocabulary import ErrorCategory, Severity
from creatormate_resilience.redaction import redact_text


class ExternalAPIError(ResilienceError):
    """A service we depend on had a problem.

    Args:
        service: Its name, such as "OpenAI".
        detail: For operators; may quote the upstream, never reaches a response.
        **options: See `ResilienceError`.

    Raised inside an `except` block it takes its retry advice from the exception being handled, so that
    `raise ExternalAPIError("OpenAI", str(e))` around a rejected request is not retried.
    """

    code = "UPSTREAM_ERROR"
    category = ErrorCategory.EXTERNAL_SERVICE
    status_code = 502
    grpc_code = "UNAVAILABLE"
    default_retryable = True
    default_user_message = "A service we depend on had a problem."
    wraps_causes = True
    service: str = "unknown"
    upstream_status: int | None = None
    """The HTTP status that the upstream answered with, where `from_response` made this."""
    problem: Mapping[str, Any] | None = None
    """The upstream's own problem document, bounded; for code that knows the upstream, never for responses."""

    def __init__(self, service: str, detail: str | None = None, **options: Unpack[ErrorOptions]) -> None:
        super().__init__(detail, **options)
        self.service = service

    def __str__(self) -> str:
        return f"{self.service}: {super().__str__()}"

    @staticmethod
    def from_response(response: Any, *, service: str | None = None, body: bytes | None = None) -> ExternalAPIError:
        """The error that an upstream's answer means for us. Nothing in the answer is trusted.

        Args:
            response: Of httpx, httpx2, requests or aiohttp: anything with a `status_code` or `status`, and `headers`.
            service: Name of the upstream; left out, the host that was asked.
            body: The body, where the response does not hold it (aiohttp, streams). What was not read is not read here.

        Returns:
            An error of the family, as `upstream_error` chooses it, with `upstream_status`, and `problem` where the
            body is an RFC 9457 document of at most 64 KiB: cut to 32 members, depth 8 and texts of 2,048 characters.

        Raises:
            TypeError: It has no status.
            ValueError: The status is no failure.
        """
        answer = read_answer(response, body)
        detail = f"answered {answer.status}"
        if answer.problem is not None:
            named = (answer.problem.get("title"), answer.problem.get("code") or answer.problem.get("type"))
            detail = " ".join([detail, *(f"{text:.200}" for text in named if isinstance(text, str))])
        name = service or answer.host or "unknown"
        error = upstream_error(name, answer.status, retry_after=answer.retry_after, detail=redact_text(detail))
        if answer.problem is not None and isinstance(theirs := answer.problem.get("error_id"), str):
            error.context["upstream_error_id"] = theirs  # under which the upstream's own log knows it
        error.upstream_status, error.problem = answer.status, answer.problem
        return error


class ExternalAPIUnavailableError(ExternalAPIError):
    """The upstream cannot be reached, or says that it is down."""

    code = "UPSTREAM_UNAVAILABLE"
    status_code = 503
    default_retry_after = 5.0
    default_user_message = "A service we depend on is not available."
    wraps_causes = False


class ExternalAPITimeoutError(ExternalAPIError):
    """The upstream did not answer in time."""

    code = "UPSTREAM_TIMEOUT"
    status_code = 504
    grpc_code = "DEADLINE_EXCEEDED"
    default_user_message = "A service we depend on took too long."
    wraps_causes = False


class ExternalAPIRateLimitedError(ExternalAPIError):
    """The upstream says that we ask too often."""

    code = "UPSTREAM_RATE_LIMITED"
    status_code = 503
    severity = Severity.WARNING
    default_user_message = "A service we depend on is busy."
    wraps_causes = False


class ExternalAPIAuthError(ExternalAPIError):
    """The upstream refuses our credentials."""

    code = "UPSTREAM_AUTH_FAILED"
    grpc_code = "INTERNAL"
    severity = Severity.CRITICAL
    default_retryable = False
    wraps_causes = False


class ExternalAPIRejectedError(ExternalAPIError):
    """The upstream calls our request wrong; the same request will be wrong again."""

    code = "UPSTREAM_REJECTED"
    grpc_code = "INTERNAL"
    default_retryable = False
    wraps_causes = False


class ExternalAPIProtocolError(ExternalAPIError):
    """The upstream's answer cannot be understood."""

    code = "UPSTREAM_BAD_RESPONSE"
    grpc_code = "INTERNAL"
    default_retryable = False
    wraps_causes = False


def upstream_error(
    service: str, status: int, *, retry_after: str | None = None, detail: str | None = None
) -> ExternalAPIError:
    """The error that an upstream's HTTP status means for us.

    Args:
        service: Name of the upstream.
        status: Its HTTP status, 400 to 599.
        retry_after: Its Retry-After header, as received; a wait of more than an hour counts as an hour.
        detail: For operators.

    Returns:
        401 and 403 are our credentials' fault, 429 our rate's, 408 and 504 time, other 4xx our request's, 5xx theirs.

    Raises:
        ValueError: The status is no failure.
    """
    if type(status) is not int or not 400 <= status < 600:
        raise ValueError(f"status is {status!r}; accepted are 400 to 599")
    wait = None if retry_after is None else parse_retry_after(retry_after, now=time.time())
    if status in {401, 403}:
        return ExternalAPIAuthError(service, detail)
    if status == 429 or (status == 503 and wait is not None):
        return ExternalAPIRateLimitedError(service, detail, retry_after=wait)
    if status in {408, 504}:
        return ExternalAPITimeoutError(service, detail)
    if status < 500:
        return ExternalAPIRejectedError(service, detail)
    return ExternalAPIUnavailableError(service, detail) if status == 503 else ExternalAPIError(service, detail)
