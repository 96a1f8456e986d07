"""The caller's deadline: taken over from a header, where the application opts in."""

from __future__ import annotations

import math

from creatormate_resilience.deadline import DEADLINE_HEADER, receive_deadline
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.integrations.asgi._protocol import App, Receive, Scope, Send

__all__ = ("DeadlineMiddleware",)

_NAME = DEADLINE_HEADER.lower().encode("ascii")


class DeadlineMiddleware:
    """Gives a request no more time than its caller has left: `app.add_middleware(DeadlineMiddleware, limit=30)`.

    Args:
        app: The application inside.
        limit: Longest time given to a caller that names one, in seconds.

    Policies inside see the deadline: a retry that cannot finish in time is not started. It interrupts nothing by
    itself, and running out of it is not held against what this service calls.

    Raises:
        ConfigurationError: `limit` is no finite number above 0.
    """

    def __init__(self, app: App, limit: float) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < math.inf:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"limit is {limit!r}; accepted are finite seconds above 0")
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == _NAME]
        with receive_deadline(given[0] if len(given) == 1 else None, limit=self.limit):
            await self.app(scope, receive, send)
