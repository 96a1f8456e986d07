"""Errors of what we call: the `ExternalAPI` family. An upstream's 401, 403 or 429 never becomes ours."""

from __future__ import annotations

from typing import Unpack

from creatormate_resilience.exceptions._root import ErrorOptions, ResilienceError
from creatormate_resilience.exceptions._vocabulary import ErrorCategory, Severity


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

    def __init__(self, service: str, detail: str | None = None, **options: Unpack[ErrorOptions]) -> None:
        super().__init__(detail, **options)
        self.service = service

    def __str__(self) -> str:
        return f"{self.service}: {super().__str__()}"


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
