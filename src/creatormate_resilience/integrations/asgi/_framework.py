"""What frameworks answer by themselves, outside of all handlers, in the shape of all other errors."""

from __future__ import annotations

from creatormate_resilience.exceptions import PayloadTooLargeError, ResilienceError
from creatormate_resilience.integrations.asgi._answer import ProblemAnswer
from creatormate_resilience.integrations.asgi._boundary import accepted_language
from creatormate_resilience.integrations.asgi._config import ErrorHandlingConfig
from creatormate_resilience.integrations.asgi._protocol import App, Message, Receive, Scope, Send
from creatormate_resilience.integrations.asgi._report import ErrorReporter
from creatormate_resilience.request_context import get_request_context

__all__ = ("FrameworkAnswers",)

_TOO_LARGE = b"Content Too Large"


class FrameworkAnswers:
    """Gives Starlette's own 413, a plain text sent by its limit on bodies, the body of a problem document.

    Args:
        app: The application inside.
        config: How errors are answered.
        reporter: Where they are reported.
    """

    def __init__(self, app: App, config: ErrorHandlingConfig, reporter: ErrorReporter) -> None:
        self.app = app
        self.config = config
        self.reporter = reporter

    def _error(self) -> ResilienceError:
        error = PayloadTooLargeError("the body is larger than max_body_size")
        if (request := get_request_context()) is not None and request.error_id is not None:
            return error.with_id(request.error_id)  # a handler has reported it already
        return self.reporter.report(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held: Message | None = None

        async def watch(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and message["status"] == 413:
                held = message  # until its body tells whose it is
                return
            if held is None:
                await send(message)
                return
            start, held = held, None
            if message.get("body") == _TOO_LARGE and not message.get("more_body", False):
                error = self._error()
                await ProblemAnswer(error, self.config, accept_language=accepted_language(scope, self.config))(
                    scope, receive, send
                )
                return
            await send(start)
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            if held is not None:  # it ended, or failed, before a body came
                await send(held)
