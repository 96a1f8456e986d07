"""Errors of the caller's making: who they are, what they sent, how often."""

from __future__ import annotations

import copy
from typing import ClassVar, Unpack

from creatormate_resilience.exceptions._root import ErrorOptions, ResilienceError
from creatormate_resilience.exceptions._vocabulary import ErrorCategory, Severity


class AuthenticationError(ResilienceError):
    """We do not know who is calling."""

    code = "UNAUTHENTICATED"
    category = ErrorCategory.AUTHENTICATION
    status_code = 401
    grpc_code = "UNAUTHENTICATED"
    severity = Severity.WARNING
    default_user_message = "Please sign in to continue."


class InvalidCredentialsError(AuthenticationError):
    """The name or the secret is wrong."""

    code = "INVALID_CREDENTIALS"
    default_user_message = "The credentials are not correct."


class TokenExpiredError(AuthenticationError):
    """The token was good once."""

    code = "TOKEN_EXPIRED"
    severity = Severity.INFO
    default_user_message = "Your session has expired. Please sign in again."


class InvalidTokenError(AuthenticationError):
    """The token was never good."""

    code = "INVALID_TOKEN"
    default_user_message = "Your session is not valid. Please sign in again."


class AuthorizationError(ResilienceError):
    """We know who is calling; they may not do this.

    Args:
        detail: For operators.
        conceal: Tell clients that there is no such thing (404), where its existence is a secret too. Given as an error,
            clients see that one: the error that the same request raises where there really is nothing.
        **options: See `ResilienceError`.
    """

    code = "PERMISSION_DENIED"
    category = ErrorCategory.AUTHORIZATION
    status_code = 403
    grpc_code = "PERMISSION_DENIED"
    severity = Severity.WARNING
    default_user_message = "You do not have access to this resource."
    conceal: bool | ResilienceError = False

    def __init__(
        self, detail: str | None = None, *, conceal: bool | ResilienceError = False, **options: Unpack[ErrorOptions]
    ) -> None:
        super().__init__(detail, **options)
        if not isinstance(conceal, bool | ResilienceError):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"conceal is {conceal!r:.100}; accepted are True, False and an error to show instead")
        self.conceal = conceal

    def for_outside(self) -> ResilienceError:
        """Itself, or what it shows instead, with the same id."""
        if self.conceal is False:
            return self
        shown = copy.copy(self.conceal) if isinstance(self.conceal, ResilienceError) else NotFoundError()
        return shown.with_id(self.error_id)


class InsufficientScopeError(AuthorizationError):
    """The token lacks a scope."""

    code = "INSUFFICIENT_SCOPE"
    default_user_message = "This action needs additional permissions."


class RequestError(ResilienceError):
    """The request is wrong."""

    code = "BAD_REQUEST"
    category = ErrorCategory.VALIDATION
    status_code = 400
    grpc_code = "INVALID_ARGUMENT"
    severity = Severity.INFO
    default_user_message = "The request is not valid."


class MalformedRequestError(RequestError):
    """The request cannot be parsed."""

    code = "MALFORMED_REQUEST"
    default_user_message = "The request could not be read."


class InputValidationError(RequestError):
    """Fields of the request are wrong; `errors` names them."""

    code = "VALIDATION_FAILED"
    status_code = 422
    default_user_message = "Some fields are not valid."


class PayloadTooLargeError(RequestError):
    """The request body is larger than allowed."""

    code = "PAYLOAD_TOO_LARGE"
    status_code = 413
    default_user_message = "The request is too large."


class UnsupportedMediaTypeError(RequestError):
    """The request body is of a type we do not read."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    status_code = 415
    default_user_message = "This content type is not supported."


class MethodNotAllowedError(RequestError):
    """The resource exists, this method does not."""

    code = "METHOD_NOT_ALLOWED"
    status_code = 405
    grpc_code = "UNIMPLEMENTED"
    default_user_message = "This method is not allowed here."


class BusinessRuleError(ResilienceError):
    """Well-formed, permitted, and against the rules of the domain."""

    code = "BUSINESS_RULE_VIOLATED"
    category = ErrorCategory.VALIDATION
    status_code = 422
    grpc_code = "FAILED_PRECONDITION"
    severity = Severity.INFO
    default_user_message = "This action is not allowed right now."


class NotFoundError(ResilienceError):
    """There is no such thing."""

    code = "RESOURCE_NOT_FOUND"
    category = ErrorCategory.NOT_FOUND
    status_code = 404
    grpc_code = "NOT_FOUND"
    severity = Severity.INFO
    default_user_message = "The requested item was not found."


class GoneError(NotFoundError):
    """There was such a thing."""

    code = "RESOURCE_GONE"
    status_code = 410
    default_user_message = "The requested item no longer exists."


class ConflictError(ResilienceError):
    """The request does not fit the current state."""

    code = "CONFLICT"
    category = ErrorCategory.CONFLICT
    status_code = 409
    grpc_code = "ABORTED"
    severity = Severity.INFO
    default_user_message = "The request conflicts with the current state."


class AlreadyExistsError(ConflictError):
    """What was to be made exists."""

    code = "ALREADY_EXISTS"
    grpc_code = "ALREADY_EXISTS"
    default_user_message = "This item already exists."


class StaleVersionError(ConflictError):
    """It was changed since the caller read it."""

    code = "STALE_VERSION"
    status_code = 412
    grpc_code = "FAILED_PRECONDITION"
    default_user_message = "The item was changed by someone else. Reload and try again."


class RateLimitExceededError(ResilienceError):
    """The caller asks too often."""

    code = "RATE_LIMIT_EXCEEDED"
    category = ErrorCategory.RATE_LIMIT
    status_code = 429
    grpc_code = "RESOURCE_EXHAUSTED"
    severity = Severity.WARNING
    default_retryable = True
    default_retry_after: ClassVar[float | None] = 1.0
    default_user_message = "Too many requests. Please wait a moment."


class QuotaExceededError(RateLimitExceededError):
    """The caller's quota is used up."""

    code = "QUOTA_EXCEEDED"
    default_retryable = False
    default_retry_after = None
    default_user_message = "Your quota is used up."


class ConcurrencyLimitError(RateLimitExceededError):
    """Too much at once: a bulkhead or a connection pool of ours is full."""

    code = "CONCURRENCY_LIMIT_EXCEEDED"
    status_code = 503
    default_user_message = "We are busy. Please try again shortly."


class ClientDisconnectedError(ResilienceError):
    """The caller hung up. 499 is for logs and metrics; nothing is sent."""

    code = "CLIENT_DISCONNECTED"
    category = ErrorCategory.CLIENT
    status_code = 499
    grpc_code = "CANCELLED"
    severity = Severity.INFO
    default_user_message = "The request was closed by the client."
