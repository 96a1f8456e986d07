"""Errors of this service itself: time, protection, configuration, availability, bugs."""

from __future__ import annotations

from typing import Any, Unpack

from creatormate_resilience.exceptions._problem import time_from
from creatormate_resilience.exceptions._root import ErrorOptions, ResilienceError
from creatormate_resilience.exceptions._vocabulary import ErrorCategory, Severity

_BUSY = "We are busy. Please try again shortly."


class OperationTimeoutError(ResilienceError, TimeoutError):
    """An operation took longer than allowed. Also a builtin `TimeoutError`."""

    code = "OPERATION_TIMEOUT"
    category = ErrorCategory.TIMEOUT
    status_code = 504
    grpc_code = "DEADLINE_EXCEEDED"
    default_retryable = True
    default_user_message = "This took too long. Please try again."

    __str__ = ResilienceError.__str__


class DeadlineExceededError(OperationTimeoutError):
    """The time for the whole request is used up; nothing that would be started could still help."""

    code = "DEADLINE_EXCEEDED"
    severity = Severity.WARNING
    default_retryable = False


class CircuitOpenError(ResilienceError):
    """A circuit breaker let the call not through.

    Args:
        breaker: Name of the breaker.
        retry_after: Seconds until it may let calls through again; always a number.
        last_failure: What it saw last, as a short redacted text.
        **options: See `ResilienceError`; `retry_after` is the argument above.
    """

    code = "CIRCUIT_OPEN"
    category = ErrorCategory.CIRCUIT_BREAKER
    status_code = 503
    grpc_code = "UNAVAILABLE"
    severity = Severity.WARNING
    default_retryable = True
    default_retry_after = 5.0
    default_user_message = "This feature is temporarily unavailable."

    def __init__(self, breaker: str, retry_after: float = 5.0, last_failure: str | None = None, **options: Any) -> None:
        if options:
            super().__init__(None, **options)
        self.args = (breaker, retry_after, last_failure)

    # A breaker that rejects makes thousands of these, so an error is nothing but its arguments until it is looked at.
    @property
    def breaker(self) -> str:
        """Name of the breaker."""
        return str(self.args[0]) if self.args else "unknown"

    @property
    def last_failure(self) -> str | None:
        """What the breaker saw last, as a short redacted text."""
        return self.args[2] if len(self.args) > 2 else None

    @property
    def given_advice(self) -> tuple[bool | None, float | None]:
        """Its wait is its second argument, unless it was rebuilt from a document."""
        return self._retryable, time_from(self.args[1]) if len(self.args) > 1 else self._retry_after

    def __str__(self) -> str:
        seen = f"; last failure: {self.last_failure}" if self.last_failure else ""
        return f"circuit {self.breaker!r} is open, try again in {self.retry_after:.3g} s{seen}"


class RetriesExhaustedError(ResilienceError):
    """Every attempt failed; the cause is the last failure. Not retryable, so that nested retries do not multiply."""

    code = "RETRIES_EXHAUSTED"
    category = ErrorCategory.CIRCUIT_BREAKER
    status_code = 503
    grpc_code = "UNAVAILABLE"
    default_user_message = "This feature is temporarily unavailable."


class ConfigurationError(ResilienceError):
    """The application is set up wrong; the message names the parameter and what is accepted."""

    code = "CONFIGURATION_ERROR"
    category = ErrorCategory.CONFIGURATION
    grpc_code = "FAILED_PRECONDITION"
    severity = Severity.CRITICAL


class MissingDependencyError(ConfigurationError):
    """An optional package is needed and not installed.

    Args:
        package: The package that is missing.
        extra: The extra of creatormate-resilience that brings it.
        needed_by: What needs it.
        **options: See `ResilienceError`.
    """

    code = "MISSING_DEPENDENCY"

    def __init__(self, package: str, *, extra: str, needed_by: str, **options: Unpack[ErrorOptions]) -> None:
        command = f'pip install "creatormate-resilience[{extra}]"'
        super().__init__(
            f"{needed_by} needs the package {package!r}, which is not installed; run: {command}", **options
        )


class ServiceUnavailableError(ResilienceError):
    """This service cannot answer right now."""

    code = "SERVICE_UNAVAILABLE"
    category = ErrorCategory.AVAILABILITY
    status_code = 503
    grpc_code = "UNAVAILABLE"
    default_retryable = True
    default_retry_after = 5.0
    default_user_message = _BUSY


class MaintenanceError(ServiceUnavailableError):
    """This service is down on purpose."""

    code = "MAINTENANCE"
    severity = Severity.INFO
    default_retry_after = 60.0
    default_user_message = "We are down for maintenance."


class ShuttingDownError(ServiceUnavailableError):
    """This process is stopping; another may answer."""

    code = "SHUTTING_DOWN"
    severity = Severity.INFO
    default_retry_after = 1.0


class FeatureDisabledError(ResilienceError):
    """A feature was switched off by configuration."""

    code = "FEATURE_DISABLED"
    category = ErrorCategory.AVAILABILITY
    status_code = 501
    grpc_code = "UNIMPLEMENTED"
    severity = Severity.INFO
    default_user_message = "This feature is not available."


class InternalError(ResilienceError):
    """A bug of ours."""

    code = "INTERNAL_ERROR"


class DataCorruptionError(InternalError):
    """Stored data is broken."""

    code = "DATA_CORRUPTION"
    grpc_code = "DATA_LOSS"
    severity = Severity.CRITICAL
