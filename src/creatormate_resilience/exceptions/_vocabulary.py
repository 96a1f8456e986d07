"""The closed vocabularies of errors: what kind, how bad."""

from __future__ import annotations

import enum

__all__ = ("ErrorCategory", "Severity")


class ErrorCategory(enum.StrEnum):
    """What an error is about."""

    AUTHENTICATION = "authentication"
    AUTHORIZATION = "authorization"
    VALIDATION = "validation"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    RATE_LIMIT = "rate_limit"
    EXTERNAL_SERVICE = "external_service"
    TIMEOUT = "timeout"
    CIRCUIT_BREAKER = "circuit_breaker"
    CACHE = "cache"
    DATABASE = "database"
    TASK = "task"
    CONFIGURATION = "configuration"
    AVAILABILITY = "availability"
    CLIENT = "client"
    INTERNAL = "internal"


class Severity(enum.IntEnum):
    """How bad it is, in OpenTelemetry's severity numbers."""

    INFO = 9
    WARNING = 13
    ERROR = 17
    CRITICAL = 21
