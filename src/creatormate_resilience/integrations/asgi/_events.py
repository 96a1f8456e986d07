"""What web adapters tell listeners."""

from __future__ import annotations

from dataclasses import dataclass

from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import ResilienceError
from creatormate_resilience.request_context import RequestContext

__all__ = ("RequestFailed",)


@dataclass(frozen=True, slots=True)
class RequestFailed(Event):
    """A request ended with an error. Told once for each exception.

    Attributes:
        source: "asgi".
        error: What went wrong, in this library's terms.
        exception: What was raised; the error itself, or a foreign exception.
        status: HTTP status of the answer; 499 where the client had gone.
        unexpected: Whether it is a bug: nothing knows this exception.
        request: The request, where the context middleware runs.
    """

    error: ResilienceError
    exception: BaseException
    status: int
    unexpected: bool
    request: RequestContext | None
