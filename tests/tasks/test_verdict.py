"""What follows a failed attempt."""

from __future__ import annotations

from typing import Any

import pytest
from tests.tasks.fake_time import world

from creatormate_resilience.exceptions import CircuitOpenError, ExternalAPIError, TaskError, TaskTimeoutError
from creatormate_resilience.policies import Retry
from creatormate_resilience.tasks import TaskRetrying, TaskStatus
from creatormate_resilience.tasks._verdict import Verdict, judge

FAILED, DEAD, RETRYING, TIMED_OUT = TaskStatus.FAILED, TaskStatus.DEAD, TaskStatus.RETRYING, TaskStatus.TIMED_OUT


class Advice:
    """Says what it was made with."""

    def __init__(self, delay: Any, max_attempts: Any = 3) -> None:
        self.delay = delay
        self.max_attempts = max_attempts

    def delay_before(self, attempt: int, error: BaseException) -> Any:
        if isinstance(self.delay, BaseException):
            raise self.delay
        return self.delay


@pytest.mark.parametrize(
    ("advice", "attempts", "status", "verdict"),
    [
        (None, 1, FAILED, Verdict(FAILED)),
        (None, 1, TIMED_OUT, Verdict(TIMED_OUT)),
        (Advice(2.0), 1, FAILED, Verdict(RETRYING, 2.0)),
        (Advice(0), 2, TIMED_OUT, Verdict(RETRYING, 0)),
        (Advice(2.0), 3, FAILED, Verdict(DEAD)),
        (Advice(2.0), 3, TIMED_OUT, Verdict(DEAD)),
        (Advice(2.0, 1), 1, FAILED, Verdict(FAILED)),  # it was never to be tried again
        (Advice(2.0, 1), 1, TIMED_OUT, Verdict(TIMED_OUT)),
        (Advice(None), 1, FAILED, Verdict(FAILED)),
        (Advice(None), 2, FAILED, Verdict(FAILED)),  # trying again would not mend it
        (Advice(-1.0), 1, FAILED, Verdict(FAILED)),
        (Advice(float("nan")), 1, FAILED, Verdict(FAILED)),
        (Advice(float("inf")), 1, FAILED, Verdict(FAILED)),
        (Advice("soon"), 1, FAILED, Verdict(FAILED)),
        (Advice(ValueError()), 1, FAILED, Verdict(FAILED)),
        (Advice(1.0, "many"), 1, FAILED, Verdict(FAILED)),
        (Advice(1.0, None), 2, TIMED_OUT, Verdict(TIMED_OUT)),
    ],
)
def test_verdicts(advice: Any, attempts: int, status: TaskStatus, verdict: Verdict) -> None:
    """The policy decides; at its last attempt the task is DEAD; a policy that raises or talks nonsense gives up."""
    assert judge(advice, attempts, status, ValueError()) == verdict


def translated(error: BaseException) -> BaseException:
    outer = ExternalAPIError("OpenAI")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("retry_after", "delay"),
    [(7.0, 7.0), (0.0, 0.1), (-5.0, 0.1), (float("nan"), 0.1), (float("inf"), 0.1), ("soon", 0.1)],
)
@pytest.mark.parametrize("wrap", [lambda error: error, translated])
def test_an_open_circuit_puts_off_without_costing_an_attempt(retry_after: Any, delay: float, wrap: Any) -> None:
    """As long as the circuit says, and never a busy loop; also at the last attempt, and translated once."""
    verdict = judge(Advice(None), 3, FAILED, wrap(CircuitOpenError("db", retry_after)))
    assert (verdict.status, verdict.counts) == (RETRYING, False)
    assert verdict.delay == delay or (delay == 0.1 and 0.1 <= verdict.delay <= 3600)


def test_without_a_policy_an_open_circuit_is_a_failure() -> None:
    """Nobody asked to try again."""
    assert judge(None, 1, FAILED, CircuitOpenError("db", 1.0)) == Verdict(FAILED)


def test_the_library_s_own_policy_is_one() -> None:
    """`policies.Retry` advises by what the error calls retryable, and obeys its retry_after."""
    retry = Retry(max_attempts=3)
    assert judge(retry, 1, FAILED, ValueError()).status is FAILED
    busy = judge(retry, 1, FAILED, ExternalAPIError("OpenAI", retryable=True, retry_after=9.0))
    assert (busy.status, busy.counts) == (RETRYING, True)
    assert busy.delay >= 9.0
    assert judge(retry, 1, TIMED_OUT, TaskTimeoutError("late")).status in {RETRYING, TIMED_OUT}


def test_a_task_behind_an_open_circuit_waits_for_it_and_is_done() -> None:
    """Ten refusals, none faster than the circuit said, none an attempt; then it succeeds at its first."""
    with world() as w:
        at: list[float] = []

        async def calls() -> str:
            at.append(round(w.loop.time(), 1))
            if len(at) <= 10:
                raise CircuitOpenError("db", 2.0)
            return "done"

        handle = w.loop.do(w.executor.options(retry=Advice(None, 1)).submit(calls))
        for _ in range(250):
            w.loop.pass_time(0.1)
        assert w.loop.do(handle.result()) == "done"
        record = w.loop.do(handle.record())
        assert (at, record.attempts) == ([n * 2.0 for n in range(11)], 1)
        now = w.executor.statistics()
        assert (now.postponed, now.retries) == (10, 0)
        assert len([event for event in w.heard if isinstance(event, TaskRetrying)]) == 10


def test_an_open_circuit_does_not_keep_a_task_beyond_its_time() -> None:
    """What expires while it is put off is EXPIRED, with the circuit as the cause."""
    with world() as w:

        async def calls() -> None:
            raise CircuitOpenError("db", 2.0)

        handle = w.loop.do(w.executor.options(retry=Advice(None), expires=5.0).submit(calls))
        for _ in range(60):
            w.loop.pass_time(0.1)
        assert w.status(handle) is TaskStatus.EXPIRED
        with pytest.raises(TaskError) as caught:
            w.loop.do(handle.result())
        assert isinstance(caught.value.__cause__, CircuitOpenError)
