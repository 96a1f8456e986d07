"""The one classifier: what the end of a call says about the dependency."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import redis.exceptions
import trio

from creatormate_resilience.exceptions import (
    AuthenticationError,
    CircuitOpenError,
    ConcurrencyLimitError,
    ConfigurationError,
    DatabaseError,
    ExternalAPIError,
    ExternalAPIRateLimitedError,
    ExternalAPIRejectedError,
    ExternalAPITimeoutError,
    FeatureDisabledError,
    InputValidationError,
    NotFoundError,
    OperationTimeoutError,
    RetriesExhaustedError,
    ShuttingDownError,
    TaskQueueFullError,
)
from creatormate_resilience.outcome import Outcome, OutcomeKind, classify, predicate

REQUEST = httpx.Request("GET", "https://api.example/v1")


def status_error(status: int, headers: dict[str, str] | None = None) -> httpx.HTTPStatusError:
    """What `raise_for_status()` raises."""
    return httpx.HTTPStatusError(
        "x", request=REQUEST, response=httpx.Response(status, headers=headers, request=REQUEST)
    )


@pytest.mark.parametrize("result", [None, 0, "", False, httpx.Response(500)])
def test_any_result_is_a_success(result):
    """Only a classifier of the caller's own looks into results."""
    assert classify(Outcome(result=result)) is OutcomeKind.SUCCESS


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError("x"), OutcomeKind.FAILURE),
        (ConnectionRefusedError("x"), OutcomeKind.FAILURE),
        (ValueError("x"), OutcomeKind.FAILURE),
        (redis.exceptions.ConnectionError("x"), OutcomeKind.FAILURE),
        (status_error(500), OutcomeKind.FAILURE),
        (status_error(401), OutcomeKind.FAILURE),
        (status_error(404), OutcomeKind.IGNORED),
        (status_error(429), OutcomeKind.THROTTLED),
        (status_error(503), OutcomeKind.FAILURE),
        (status_error(503, {"Retry-After": "3"}), OutcomeKind.THROTTLED),
        (ExternalAPIError("x"), OutcomeKind.FAILURE),
        (ExternalAPIRejectedError("x"), OutcomeKind.IGNORED),
        (ExternalAPIRateLimitedError("x"), OutcomeKind.THROTTLED),
        (DatabaseError("x"), OutcomeKind.FAILURE),
        (OperationTimeoutError("x"), OutcomeKind.FAILURE),
        (RetriesExhaustedError("x"), OutcomeKind.FAILURE),
        (NotFoundError("x"), OutcomeKind.IGNORED),
        (InputValidationError("x"), OutcomeKind.IGNORED),
        (AuthenticationError("x"), OutcomeKind.IGNORED),
        (CircuitOpenError("x"), OutcomeKind.IGNORED),
        (ConcurrencyLimitError("x"), OutcomeKind.IGNORED),
        (TaskQueueFullError("x"), OutcomeKind.IGNORED),
        (ShuttingDownError("x"), OutcomeKind.IGNORED),
        (FeatureDisabledError("x"), OutcomeKind.IGNORED),
        (ConfigurationError("x"), OutcomeKind.IGNORED),
        (asyncio.CancelledError(), OutcomeKind.IGNORED),
        (KeyboardInterrupt(), OutcomeKind.IGNORED),
        (GeneratorExit(), OutcomeKind.IGNORED),
        (ExceptionGroup("one", [NotFoundError("x")]), OutcomeKind.IGNORED),
        (BaseExceptionGroup("one", [asyncio.CancelledError()]), OutcomeKind.IGNORED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.value,
)
def test_an_exception_is_judged_by_what_it_means(error, kind):
    """The dependency's failures count; the caller's faults, our refusals and cancellations do not."""
    assert classify(Outcome(exception=error)) is kind


def test_trios_cancellation_is_ignored():
    """Trio's `Cancelled` cannot be made by hand; a cancelled scope raises one."""

    async def main() -> OutcomeKind | None:
        kind = None
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep(1)
            except BaseException as error:
                kind = classify(Outcome(exception=error))
                raise
        return kind

    assert trio.run(main) is OutcomeKind.IGNORED


def raised(error: Exception, while_handling: BaseException) -> Exception:
    """The error as it comes out of an `except` block."""
    error.__context__ = while_handling
    return error


def test_a_wrapper_counts_as_what_it_wraps():
    """The guide's `raise ExternalAPIError("OpenAI", str(e))` hides neither a rejection nor a timeout."""
    assert classify(Outcome(exception=raised(ExternalAPIError("x"), status_error(400)))) is OutcomeKind.IGNORED
    assert classify(Outcome(exception=raised(ExternalAPIError("x"), status_error(429)))) is OutcomeKind.THROTTLED
    assert classify(Outcome(exception=raised(ExternalAPIError("x"), TimeoutError()))) is OutcomeKind.FAILURE
    nested = raised(ExternalAPIError("outer"), raised(ExternalAPIError("inner"), NotFoundError("x")))
    assert classify(Outcome(exception=nested)) is OutcomeKind.IGNORED
    assert classify(Outcome(exception=raised(ExternalAPIError("x"), asyncio.CancelledError()))) is OutcomeKind.IGNORED


def test_a_definite_error_does_not_count_as_what_was_being_handled():
    """The backup's 500 is a failure, although it came while the primary's NotFound was being handled."""
    assert classify(Outcome(exception=raised(status_error(500), NotFoundError("x")))) is OutcomeKind.FAILURE
    assert classify(Outcome(exception=raised(ExternalAPITimeoutError("x"), NotFoundError("x")))) is OutcomeKind.FAILURE
    assert classify(Outcome(exception=raised(ValueError("x"), NotFoundError("x")))) is OutcomeKind.FAILURE


def test_wrappers_in_a_circle_are_failures():
    """A cycle of causes ends."""
    first, second = ExternalAPIError("first"), ExternalAPIError("second")
    first.__cause__, second.__cause__ = second, first
    assert classify(Outcome(exception=first)) is OutcomeKind.FAILURE


def test_a_predicate_from_types():
    """One type, several types, and their subclasses."""
    assert predicate("on", OSError)(ConnectionError())
    assert not predicate("on", (OSError, KeyError))(ValueError())
    assert predicate("on", lambda error: "x" in str(error))(ValueError("x"))


@pytest.mark.parametrize("on", [(), None, 7, "ValueError", (ValueError, 7), int, (int,), [ValueError]])
def test_what_is_no_predicate_is_refused(on):
    """The error names the parameter and what is accepted."""
    with pytest.raises(ConfigurationError, match=r"retry_on is .*; accepted are exception types, or a function"):
        predicate("retry_on", on)
