"""Any ASGI application: the request context, the error boundary, errors as problem documents. Needs no framework."""

from __future__ import annotations

from creatormate_resilience.integrations.asgi._answer import Changes, ProblemAnswer
from creatormate_resilience.integrations.asgi._boundary import ErrorBoundaryMiddleware, accepted_language
from creatormate_resilience.integrations.asgi._config import ErrorHandlingConfig, ErrorHandlingOptions
from creatormate_resilience.integrations.asgi._context import RequestContextMiddleware
from creatormate_resilience.integrations.asgi._deadline import DeadlineMiddleware
from creatormate_resilience.integrations.asgi._events import RequestFailed
from creatormate_resilience.integrations.asgi._framework import FrameworkAnswers
from creatormate_resilience.integrations.asgi._report import ErrorReporter

__all__ = (
    "Changes",
    "DeadlineMiddleware",
    "ErrorBoundaryMiddleware",
    "ErrorHandlingConfig",
    "ErrorHandlingOptions",
    "ErrorReporter",
    "FrameworkAnswers",
    "ProblemAnswer",
    "RequestContextMiddleware",
    "RequestFailed",
    "accepted_language",
)
