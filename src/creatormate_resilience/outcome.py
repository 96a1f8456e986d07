"""How a call ended, and the one classifier that breaker, retry, fallback and limiter share."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from creatormate_resilience.exceptions import (
    CircuitOpenError,
    ConfigurationError,
    ErrorCategory,
    ExternalAPIRateLimitedError,
    ExternalAPIRejectedError,
    FeatureDisabledError,
    RateLimitExceededError,
    ResilienceError,
    ShuttingDownError,
    TaskQueueFullError,
    map_exception,
)
from creatormate_resilience.exceptions._chain import exception_chain
from creatormate_resilience.options import check_function

__all__ = ("Classifier", "On", "Outcome", "OutcomeKind", "classify", "predicate")


class OutcomeKind(enum.Enum):
    """What an outcome says about the dependency that was called."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"
    """Nothing: the call was cancelled, refused by ourselves, or wrong through its caller's fault."""
    THROTTLED = "throttled"
    """It is alive and asks us to come back later (429, or 503 with Retry-After)."""

    __hash__ = object.__hash__  # members are singletons; Enum's own hash runs Python code for every counted call


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended.

    Attributes:
        result: What it returned; None when it raised.
        exception: What it raised, or None.
        elapsed: Seconds it took, or None where nobody measured.
    """

    result: Any = None
    exception: BaseException | None = None
    elapsed: float | None = None


Classifier: TypeAlias = Callable[[Outcome], OutcomeKind]
On: TypeAlias = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]
"""Which exceptions are meant: types, or a predicate."""

_OUR_REFUSALS = (
    CircuitOpenError,
    RateLimitExceededError,
    TaskQueueFullError,
    ShuttingDownError,
    FeatureDisabledError,
    ConfigurationError,
    ExternalAPIRejectedError,
)
_OURS = f"{__name__.partition('.')[0]}."
_CALLERS_FAULT = frozenset(
    {
        ErrorCategory.AUTHENTICATION,
        ErrorCategory.AUTHORIZATION,
        ErrorCategory.VALIDATION,
        ErrorCategory.NOT_FOUND,
        ErrorCategory.CONFLICT,
        ErrorCategory.CLIENT,
    }
)


def classify(outcome: Outcome) -> OutcomeKind:
    """Say what an outcome means for the health of the dependency.

    Args:
        outcome: How the call ended.

    Returns:
        SUCCESS for any result. For an exception, what `map_exception` makes of it decides; an error that only wraps
        (`ExternalAPIError` raised while another exception is handled) counts as what it wraps.
    """
    if outcome.exception is None:
        return OutcomeKind.SUCCESS
    return _classify_exception(outcome.exception)


def _classify_exception(exc: BaseException) -> OutcomeKind:
    if not isinstance(exc, Exception) or _is_miscall(exc):
        return OutcomeKind.IGNORED
    for link in (exc, *exception_chain(exc)):
        if not isinstance(link, Exception):
            return OutcomeKind.IGNORED
        error = map_exception(link)
        if error is not link or not error.wraps_causes:  # a foreign exception is what it is, whatever came before it
            return _kind(error)
    return OutcomeKind.FAILURE


def _is_miscall(exc: Exception) -> bool:
    """Whether nothing ran because the call itself is wrong: not callable, other parameters, nothing to await."""
    trace = exc.__traceback__
    if type(exc) is not TypeError or trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__")).startswith(_OURS)  # where we call what we were given


def _kind(error: ResilienceError) -> OutcomeKind:
    if isinstance(error, ExternalAPIRateLimitedError):
        return OutcomeKind.THROTTLED
    if isinstance(error, _OUR_REFUSALS) or error.category in _CALLERS_FAULT:
        return OutcomeKind.IGNORED
    return OutcomeKind.FAILURE


def predicate(name: str, on: On) -> Callable[[Exception], bool]:
    """The question that types or a predicate ask of an exception.

    Args:
        name: The parameter's name, for the error.
        on: An exception type, a tuple of them, or a function of an exception.

    Returns:
        A function that says whether an exception is meant.

    Raises:
        ConfigurationError: It is none of these.
    """
    types: tuple[Any, ...] = on if isinstance(on, tuple) else (on,)  # pyright: ignore[reportUnknownVariableType]
    if types and all(isinstance(item, type) and issubclass(item, BaseException) for item in types):
        return lambda error: isinstance(error, types)
    accepted = "accepted are exception types, or a function of an exception"
    if isinstance(on, tuple | type):
        raise ConfigurationError(f"{name} is {on!r}; {accepted}")
    check_function(name, on, accepted)
    return on
