"""`retryable` and `retry_after`: given, of the class, or from what caused the error."""

from __future__ import annotations

import httpx
import pytest

from creatormate_resilience.exceptions import (
    CircuitOpenError,
    DatabaseError,
    DatabaseUnavailableError,
    ExternalAPIError,
    ExternalAPIRateLimitedError,
    ExternalAPITimeoutError,
    ExternalAPIUnavailableError,
    InternalError,
    NotFoundError,
    ResilienceError,
    RetriesExhaustedError,
    TransactionConflictError,
)

REQUEST = httpx.Request("GET", "https://api.example/v1")


def status_error(status: int, headers: dict[str, str] | None = None) -> httpx.HTTPStatusError:
    """What `raise_for_status()` raises."""
    response = httpx.Response(status, headers=headers, request=REQUEST)
    return httpx.HTTPStatusError(f"status {status}", request=REQUEST, response=response)


def as_the_guide_does(cause: Exception) -> ExternalAPIError:
    """`except Exception as e: raise ExternalAPIError("OpenAI", str(e))`."""
    with pytest.raises(ExternalAPIError) as caught:
        try:
            raise cause
        except Exception as e:
            raise ExternalAPIError("OpenAI", str(e))  # noqa: B904 - the guide's own line
    return caught.value


@pytest.mark.parametrize(
    ("cause", "retryable", "retry_after"),
    [
        (status_error(400), False, None),
        (status_error(401), False, None),
        (status_error(429, {"Retry-After": "7"}), True, 7.0),
        (status_error(500), True, None),
        (httpx.ReadTimeout("slow", request=REQUEST), True, None),
        (httpx.ConnectError("refused", request=REQUEST), True, 5.0),
        (TimeoutError("slow"), True, None),
        (RuntimeError("something else"), True, None),
        (NotFoundError("of ours"), False, None),
        (ExceptionGroup("one", [status_error(400)]), False, None),
    ],
    ids=lambda value: f"{type(value).__name__}" if isinstance(value, Exception) else str(value),
)
def test_the_guides_way_of_raising_takes_the_advice_of_its_cause(cause, retryable, retry_after):
    """Around a rejected request it is not retryable, around a timeout it is, around the unknown the class decides."""
    error = as_the_guide_does(cause)
    assert (error.retryable, error.retry_after) == (retryable, retry_after)


def test_what_was_given_wins_over_the_cause():
    """The raiser knows best."""
    error = ExternalAPIError("OpenAI", retryable=True, retry_after=3.0).with_cause(status_error(400))
    assert (error.retryable, error.retry_after) == (True, 3.0)


def test_a_wait_travels_through_several_wrappers():
    """Wrapped twice, the upstream's wait is still known."""
    inner = ExternalAPIError("OpenAI").with_cause(status_error(429, {"Retry-After": "11"}))
    assert ExternalAPIError("agent").with_cause(inner).retry_after == 11.0


def test_a_definite_error_does_not_listen_to_what_merely_was_being_handled():
    """A backup's timeout is retryable, although it happened while the primary's NotFound was being handled."""
    with pytest.raises(ExternalAPITimeoutError) as caught:
        try:
            raise NotFoundError("primary")
        except NotFoundError:
            raise ExternalAPITimeoutError("backup")  # noqa: B904 - the context is the point
    assert caught.value.retryable
    explicit = ExternalAPIUnavailableError("backup").with_cause(NotFoundError("primary"))
    assert not explicit.retryable


def test_an_error_that_is_never_retryable_stays_so():
    """Exhausted retries do not become retryable by their cause, so nested retries do not multiply."""
    error = RetriesExhaustedError("gave up").with_cause(ExternalAPITimeoutError("OpenAI"))
    assert not error.retryable


def test_the_root_of_a_family_is_retryable_only_through_its_cause():
    """A bare database error is not; one around a conflict is."""
    assert not DatabaseError("x").retryable
    assert DatabaseError("x").with_cause(TransactionConflictError("deadlock")).retryable


@pytest.mark.parametrize("length", [1, 2, 3])
def test_cause_cycles_end(length):
    """Errors that cause each other in a circle give advice all the same."""
    errors = [ExternalAPIError(str(number)) for number in range(length)]
    for number, error in enumerate(errors):
        error.__cause__ = errors[(number + 1) % length]
    assert errors[0].retryable is True
    assert errors[0].retry_after is None


@pytest.mark.parametrize(
    ("error", "stated", "known"),
    [
        (ExternalAPIUnavailableError("OpenAI"), None, 5.0),
        (ExternalAPIUnavailableError("OpenAI", retry_after=3.0), 3.0, 3.0),
        (ExternalAPIError("OpenAI").with_cause(DatabaseUnavailableError("x")), None, 2.0),
        (ExternalAPIError("OpenAI").with_cause(ExternalAPIRateLimitedError("x", retry_after=4.0)), 4.0, 4.0),
        (CircuitOpenError("openai", 9.0), 9.0, 9.0),
        (InternalError("x"), None, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_stated_wait_is_told_from_a_classes_default(error: ResilienceError, stated, known):
    """A default is good enough for a client; it is no wish of the upstream."""
    assert (error.stated_retry_after, error.retry_after) == (stated, known)
