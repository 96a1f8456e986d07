"""What an attempt came to, from the job that made it; and what a task came to, from its row. Pure."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from creatormate_resilience.exceptions import (
    ConfigurationError,
    ResilienceError,
    TaskCancelledError,
    TaskError,
    TaskExpiredError,
    WorkerCrashedError,
)
from creatormate_resilience.redaction import redact_text
from creatormate_resilience.tasks._durable._store import Row
from creatormate_resilience.tasks._envelope import check_json
from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._options import RetryAdvice, TaskPriority
from creatormate_resilience.tasks._record import TaskProgress, TaskRecord, TaskStatus
from creatormate_resilience.tasks._verdict import judge

__all__ = ("GIVEN_BACK", "Ending", "ending_of", "outcome_of", "record_of", "storable", "unrunnable")

_DOMAIN: Final = "creatormate-resilience/tasks"
_MOST_BYTES: Final = 1024 * 1024
_LONGEST_TEXT: Final = 2000
_UNRUNNABLE_REST: Final = 5.0


class Ending(NamedTuple):
    """What `creatormate_finish` writes down.

    Attributes:
        status: The final one, or QUEUED for another attempt.
        delay: Seconds until that; None where there is none.
        uncounted: Whether this attempt does not count.
        rescued: Whether it counts among those that a worker could not make.
        result: What was returned, as JSON.
        error: What was raised.
    """

    status: TaskStatus
    delay: float | None = None
    uncounted: bool = False
    rescued: bool = False
    result: str | None = None
    error: BaseException | None = None

    def to_json(self, progress: TaskProgress | None, *, hold: bool) -> dict[str, str | None]:
        """As the arguments of `creatormate_finish`; `hold` keeps the job, because the function still runs.

        Result and error go apart, because their texts are the task's own, and PostgreSQL reads no NUL inside JSON.
        """
        head = {
            "status": self.status.value,
            "delay": self.delay,
            "uncounted": int(self.uncounted),
            "rescued": int(self.rescued),
            "progress": None if progress is None else progress.fraction,
            "message": None if progress is None else storable(progress.message),
            "hold": hold,
        }
        error = None if self.error is None else json.dumps(_error_document(self.error))
        return {"ending": json.dumps(head), "result": self.result, "error": error}


GIVEN_BACK: Final = Ending(TaskStatus.QUEUED, 0.0, uncounted=True)
"""The worker shuts down, and the task waits for another one."""


def ending_of(job: Job, retry: RetryAdvice | None, attempts: int) -> Ending:
    """What becomes of a task after an attempt.

    Args:
        job: The attempt, ended.
        retry: The policy that the function was declared with.
        attempts: Attempts that have ended by themselves, this one included.
    """
    if job.status is TaskStatus.SUCCEEDED:
        return _success(job)
    if job.error is None or job.status not in {TaskStatus.FAILED, TaskStatus.TIMED_OUT}:
        return Ending(job.status, error=job.error)
    verdict = judge(retry, attempts, job.status, job.error)
    if verdict.status is TaskStatus.RETRYING:
        return Ending(TaskStatus.QUEUED, verdict.delay, uncounted=not verdict.counts, error=job.error)
    return Ending(verdict.status, error=job.error)


def unrunnable(error: ConfigurationError, rescues: int, most: int) -> Ending:
    """What becomes of a task that this worker does not know how to run; another one, of a newer version, may."""
    if rescues < most:
        return Ending(TaskStatus.QUEUED, _UNRUNNABLE_REST, uncounted=True, rescued=True, error=error)
    return Ending(TaskStatus.FAILED, error=error)


def storable(text: str | None) -> str | None:
    """A task's own words as PostgreSQL takes them: no NUL, no half characters, not too long."""
    return text and text[:_LONGEST_TEXT].replace("\0", "").encode("utf-8", "replace").decode()


def record_of(row: Row) -> TaskRecord:
    """A row as a snapshot."""
    fraction = row["progress"]
    error = row["error"]
    return TaskRecord(
        id=str(row["id"]),
        name=row["name"],
        status=TaskStatus(row["status"]),
        priority=TaskPriority(row["priority"]),
        run_in=row["kind"],
        tags=row["tags"],
        key=row["key"],
        attempts=row["attempts"],
        submitted_at=row["submitted_at"],
        wait_time=row["wait_time"],
        run_time=row["run_time"],
        progress=None if fraction is None else TaskProgress(round(fraction, 6), row["progress_message"]),
        error=None if error is None else error["text"],
    )


def outcome_of(row: Row) -> object:
    """What the function returned, or raise what stands for what it did."""
    status, error = TaskStatus(row["status"]), row["error"]
    if status is TaskStatus.SUCCEEDED:
        return row["result"]
    what = f"task {row['name']} ({row['id']})"
    if status is TaskStatus.CANCELLED:
        raise TaskCancelledError(f"{what} was cancelled")
    if status is TaskStatus.EXPIRED:
        raise TaskExpiredError(f"{what} could not start in time")
    if status is TaskStatus.LOST:
        raise WorkerCrashedError(f"{what} was lost: the processes that ran it died")
    text = "no error was kept" if error is None else error["text"]
    if error is not None and error["problem"] is not None:
        problem = ResilienceError.from_problem(error["problem"], trusted_domain=_DOMAIN)
        problem.detail = text
        raise problem
    raise TaskError(f"{what} failed with {text}")


def _success(job: Job) -> Ending:
    try:
        check_json(job.result, "what the task returned")
    except TypeError as error:
        return Ending(TaskStatus.FAILED, error=TaskError(str(error)))
    packed = json.dumps(job.result)
    if len(packed) <= _MOST_BYTES:
        return Ending(TaskStatus.SUCCEEDED, result=packed)
    refusal = f"what the task returned takes {len(packed)} bytes as JSON; accepted are {_MOST_BYTES}"
    return Ending(TaskStatus.FAILED, error=TaskError(refusal))


def _error_document(error: BaseException) -> dict[str, Any]:
    text = TaskError().with_cause(error).cause_chain[0]
    problem = error.to_problem(domain=_DOMAIN) if isinstance(error, ResilienceError) else None
    return {"text": storable(redact_text(text, _LONGEST_TEXT)), "problem": problem}
