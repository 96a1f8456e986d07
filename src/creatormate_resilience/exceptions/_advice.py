"""Whether trying again may help, and when: told by the raiser, else by the cause, else by the class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from creatormate_resilience.exceptions._chain import exception_chain

__all__ = ("RetryAdvice", "retry_advice")


class RetryAdvice(NamedTuple):
    """What one error says of being retried."""

    retryable: bool
    stated: float | None
    """Seconds that the raiser or an upstream named."""
    default: float | None
    """Seconds that a class names where nobody did."""


def retry_advice(error: Any, root: type[Any], advise: Callable[[BaseException], Any]) -> RetryAdvice:
    """The advice of an error with its causes.

    Args:
        error: An instance of `root`.
        root: `ResilienceError`; given, because it uses this.
        advise: Maps a foreign cause to an instance of `root`, or to None.
    """
    if error.__cause__ is None and error.__context__ is None:  # as for nearly all
        return _own_advice(error, None)
    family = [error]
    advice: RetryAdvice | None = None
    for cause in exception_chain(error):  # ends on cycles, so this does too
        # What merely was being handled means something to a wrapper only; a definite error speaks for itself.
        if cause is not family[-1].__cause__ and not family[-1].wraps_causes:
            break
        if not isinstance(cause, root):
            mapped = advise(cause)
            advice = None if mapped is None else _own_advice(mapped, None)
            break
        family.append(cause)
    for member in reversed(family):
        advice = _own_advice(member, advice)
    assert advice is not None  # noqa: S101 - the family has at least this error
    return advice


def _own_advice(error: Any, cause: RetryAdvice | None) -> RetryAdvice:
    own = RetryAdvice(error.default_retryable, None, error.default_retry_after)
    if cause is not None and (error.default_retryable or error.wraps_causes):
        default = own.default if cause.default is None else cause.default
        own = RetryAdvice(cause.retryable, cause.stated, default)
    given_retryable, given_wait = error.given_advice
    retryable = own.retryable if given_retryable is None else given_retryable
    stated = own.stated if given_wait is None else given_wait
    return RetryAdvice(retryable, stated, own.default)
