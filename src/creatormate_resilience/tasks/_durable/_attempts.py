"""Attempts in this process at tasks that are kept elsewhere: one each, under the rules of the in-process engine."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.tasks._carrier import received_request
from creatormate_resilience.tasks._declaration import declared_options
from creatormate_resilience.tasks._durable._store import Row
from creatormate_resilience.tasks._engine import TaskSpec
from creatormate_resilience.tasks._envelope import Envelope, resolve
from creatormate_resilience.tasks._in_process import InProcessEngine
from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._kinds import bind, choose_kind
from creatormate_resilience.tasks._options import RetryAdvice, TaskOptions, TaskPriority
from creatormate_resilience.tasks._record import TaskProgress

__all__ = ("Attempt", "AttemptEngine")


@dataclass(slots=True)
class Attempt:
    """A task that was handed out to this worker.

    Attributes:
        id: The task's.
        run: Which handing-out this is; who has an older one has nothing to say any more.
        row: As `creatormate_fetch` gave it.
        job: The attempt in this process, once it has begun.
        reported: The progress that was written down last.
        carrier: The asyncio task that waits for it; None before its first step.
        waited: Whether it was seen without one.
    """

    id: str
    run: int
    row: Row
    job: Job | None = None
    reported: TaskProgress | None = None
    carrier: asyncio.Task[Any] | None = None
    waited: bool = False

    @property
    def ended_attempts(self) -> int:
        """Attempts that ended by themselves, this one included: a worker's crash is not the task's fault."""
        attempts: int = self.row["attempts"] - self.row["rescues"]
        return max(attempts, 1)


class AttemptEngine(InProcessEngine):
    """The in-process engine, for attempts that carry another engine's ids and numbers."""

    def begin(self, attempt: Attempt) -> tuple[asyncio.Future[None], RetryAdvice | None]:
        """Start an attempt.

        Args:
            attempt: It; its `job` is set.

        Returns:
            What is done when the attempt's verdict is there, and the retry policy that the function was declared with.

        Raises:
            ConfigurationError: Its function is not known here, its envelope cannot be read, or it cannot be run.
        """
        row = attempt.row
        envelope = Envelope.from_json({**row["envelope"], **row["call"], "id": attempt.id})
        fn = resolve(envelope.function)
        timeout, run_in = envelope.options.get("timeout"), envelope.options.get("run_in", "auto")
        try:
            options = TaskOptions(
                priority=TaskPriority(row["priority"]), timeout=timeout, run_in=run_in, tags=envelope.tags
            )
            kind = choose_kind(fn, run_in)
            spec = TaskSpec(envelope.name, kind, options)
            with received_request(envelope.headers):
                context = copy_context()
            work = bind(fn, tuple(envelope.args), _named(envelope.kwargs), kind)
            attempt.job = job = Job(attempt.id, spec, work, context, self)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"task {envelope.name} cannot be run here: {error}") from error
        job.attempts = row["attempts"] - 1  # the scheduler counts this one
        verdict: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        job.waiters = {verdict}
        self._scheduler.take(job)
        self._scheduler.dispatch()
        return verdict, declared_options(fn).get("retry")

    def still_runs(self, job: Job) -> bool:
        """Whether the attempt's function has not stopped yet, whatever was said of it."""
        return job in self._scheduler.runs

    async def stopped(self, job: Job, timeout: float | None) -> bool:
        """Wait until the attempt's function has really stopped; False where `timeout` seconds were not enough."""
        run = self._scheduler.runs.get(job)
        if run is not None and not run.done():
            await asyncio.wait((run,), timeout=timeout)
        return not self.still_runs(job)


def _named(arguments: Any) -> dict[str, object]:
    return dict(arguments)
