"""What a task takes along into another process: whose request it came from, its trace, its name and its deadline."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from creatormate_resilience.clock import SystemClock
from creatormate_resilience.deadline import Deadline, current_deadline, replace_deadline
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.request_context import RequestContext, get_request_context, request_scope
from creatormate_resilience.tasks._current import running_task
from creatormate_resilience.tasks._options import TagValue
from creatormate_resilience.tasks._record import TaskProgress

__all__ = ("CarriedTask", "carried", "carry_headers", "carry_task", "received_request")


@dataclass(frozen=True, slots=True)
class CarriedTask:
    """A task as a worker process sees it.

    Attributes:
        id: Its id.
        name: Its name.
        attempts: Attempts started, this one included.
        tags: Its tags.
        headers: Request id and trace of the request it came from, as headers.
        seconds: Left until its deadline when it was sent; None without one. A moment is never sent: another process may
            have another clock.
    """

    id: str
    name: str
    attempts: int
    tags: Mapping[str, TagValue]
    headers: Mapping[str, str]
    seconds: float | None

    def report(self, progress: TaskProgress) -> None:
        """Refuse: there is no way back to the executor while the function runs."""
        raise ConfigurationError(
            f"a task in a worker process cannot report progress ({progress.fraction:g}); take run_in='thread' for that"
        )


def carry_headers() -> dict[str, str]:
    """The current request's id and trace, by the names of their headers; empty outside a request."""
    request = get_request_context()
    if request is None:
        return {}
    headers = {"x-request-id": request.request_id}
    if request.trace_id is not None:
        headers["traceparent"] = f"00-{request.trace_id}-{request.parent_id}-{int(bool(request.sampled)):02x}"
    return headers


def carry_task() -> CarriedTask:
    """The running task with what it takes along."""
    task = running_task.get()
    deadline = current_deadline()
    seconds = None if deadline is None else deadline.remaining()
    return CarriedTask(task.id, task.name, task.attempts, dict(task.tags), carry_headers(), seconds)


def received_request(headers: Mapping[str, str]) -> request_scope:
    """Make the request that headers of `carry_headers` stand for the current one for a block."""
    if not headers:
        return request_scope(None)
    scope: dict[str, Any] = {"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    return request_scope(RequestContext(scope, lambda _peer, _headers: None))


@contextmanager
def carried(task: CarriedTask) -> Generator[None]:
    """Run a block as this task, in a process it was carried to."""
    clock = SystemClock()
    deadline = None if task.seconds is None else Deadline(clock.monotonic() + task.seconds, clock)
    with received_request(task.headers):
        token = running_task.set(task)
        replace_deadline(deadline)
        try:
            yield
        finally:
            running_task.reset(token)
            replace_deadline(None)
