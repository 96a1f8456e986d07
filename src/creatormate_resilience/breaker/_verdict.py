"""What the end of a call means to a circuit breaker."""

from __future__ import annotations

from typing import cast

from creatormate_resilience.breaker._config import CircuitBreakerConfig
from creatormate_resilience.deadline import current_deadline
from creatormate_resilience.log import get_logger
from creatormate_resilience.outcome import Outcome, OutcomeKind, classify

__all__ = ("judge",)

_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, GeneratorExit)
_log = get_logger("breaker")


def judge(name: str, config: CircuitBreakerConfig, outcome: Outcome, *, slow: bool) -> OutcomeKind:
    """Decide how a call counts. Runs user code (a classifier), so it is called outside the lock; it never raises.

    Args:
        name: The breaker's, for the log.
        config: Its configuration.
        outcome: How the call ended.
        slow: Whether it took as long as a slow call takes.

    Returns:
        What to count. `ignore` comes first, then `record`, then the classifier.
    """
    error = outcome.exception
    if error is None:
        return _classify(name, config, outcome)
    if not isinstance(error, Exception):
        return _judge_cancellation(error, slow=slow)
    if isinstance(error, config.ignore):
        return OutcomeKind.IGNORED
    if config.record == (Exception,):
        return _classify(name, config, outcome)
    if isinstance(error, config.record):
        return OutcomeKind.FAILURE
    kind = _classify(name, config, outcome)
    return OutcomeKind.SUCCESS if kind is OutcomeKind.FAILURE else kind


def _judge_cancellation(error: BaseException, *, slow: bool) -> OutcomeKind:
    if isinstance(error, _INTERRUPTIONS):
        return OutcomeKind.IGNORED
    deadline = current_deadline()
    out_of_time = deadline is not None and not deadline.received and deadline.expired
    return OutcomeKind.FAILURE if slow or out_of_time else OutcomeKind.IGNORED


def _classify(name: str, config: CircuitBreakerConfig, outcome: Outcome) -> OutcomeKind:
    if config.classify is None:
        return classify(outcome)
    try:
        kind = cast("object", config.classify(outcome))  # what it promised may not be what it returns
    except Exception:  # noqa: BLE001 - logged; whatever an application's classifier raises must not reach the caller
        _log.exception("classify raised; the default classifier decides", breaker=name)
        return classify(outcome)
    if isinstance(kind, OutcomeKind):
        return kind
    _log.error("classify returned no OutcomeKind; the default classifier decides", breaker=name, returned=kind)
    return classify(outcome)
