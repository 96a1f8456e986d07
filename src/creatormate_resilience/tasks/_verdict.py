"""What follows when an attempt has failed or timed out: another one, or the end. Pure."""

from __future__ import annotations

from typing import NamedTuple

from creatormate_resilience.exceptions import CircuitOpenError
from creatormate_resilience.log import get_logger
from creatormate_resilience.tasks._options import RetryAdvice, check_seconds
from creatormate_resilience.tasks._record import TaskStatus

__all__ = ("Verdict", "judge")

_log = get_logger("tasks")
_LEAST_PAUSE = 0.1  # a circuit that is just being tried says 0; asking it at once and again would be a busy loop


class Verdict(NamedTuple):
    """What becomes of a task.

    Attributes:
        status: RETRYING, or the final one.
        delay: Seconds to rest before the next attempt.
        counts: Whether the attempt counts as one.
    """

    status: TaskStatus
    delay: float = 0.0
    counts: bool = True


def judge(retry: RetryAdvice | None, attempts: int, status: TaskStatus, error: BaseException) -> Verdict:
    """Decide after an attempt.

    An attempt that an open circuit sent back did not reach what it needs. It is put off until the circuit may close,
    and does not count.

    Args:
        retry: The task's policy.
        attempts: Attempts made, this one included.
        status: What the task would end as: FAILED or TIMED_OUT.
        error: What the attempt raised, or the timeout's error.

    Returns:
        The verdict. A policy that raises gives up, and is named in the log: it must not lose the task's end.
    """
    if retry is None:
        return Verdict(status)
    try:
        refused = _refusal(error)
        if refused is not None:
            return Verdict(TaskStatus.RETRYING, max(refused.retry_after or 0.0, _LEAST_PAUSE), counts=False)
        if attempts >= retry.max_attempts:
            return Verdict(TaskStatus.DEAD if attempts > 1 else status)
        delay = retry.delay_before(attempts, error)
        if delay is None:
            return Verdict(status)
        check_seconds("the delay from the retry policy", delay, zero=True)
    except Exception as fault:  # noqa: BLE001 - the policy is the caller's
        _log.error("a retry policy raised; its task is not tried again", exc_info=fault)
        return Verdict(status)
    return Verdict(TaskStatus.RETRYING, delay)


def _refusal(error: BaseException) -> CircuitOpenError | None:
    """The open circuit that sent the attempt back, also where it was translated once (`raise ... from`)."""
    for one in (error, error.__cause__):
        if isinstance(one, CircuitOpenError):
            return one
    return None
