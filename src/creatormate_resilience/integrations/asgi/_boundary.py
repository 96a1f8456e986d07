"""The error boundary: answers what nobody handled, and never lets an error break the connection it need not break."""

from __future__ import annotations

import asyncio

from creatormate_resilience.exceptions import ClientDisconnectedError
from creatormate_resilience.integrations.asgi._answer import ProblemAnswer
from creatormate_resilience.integrations.asgi._config import ErrorHandlingConfig
from creatormate_resilience.integrations.asgi._protocol import App, Message, Receive, Scope, Send
from creatormate_resilience.integrations.asgi._report import ErrorReporter
from creatormate_resilience.integrations.asgi._websocket import WebSocketBoundary

__all__ = ("ErrorBoundaryMiddleware", "accepted_language")


class ErrorBoundaryMiddleware:
    """Answers an exception with a problem document where nothing was sent yet; aborts the stream where something was.

    Args:
        app: The application inside.
        config: How errors are answered.
        reporter: Shared by all layers of an application, so that an exception is logged once; None makes one.

    Cancellation and what is no `Exception` pass through. An exception after a whole answer, of a background task, is
    reported and goes no further, so that the connection stays open.
    """

    def __init__(
        self, app: App, config: ErrorHandlingConfig | None = None, reporter: ErrorReporter | None = None
    ) -> None:
        self.app = app
        self.config = config or ErrorHandlingConfig()
        self.reporter = reporter or ErrorReporter(self.config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketBoundary(self.app, self.config, self.reporter).run(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent: int | None = None  # the status, once an answer has begun
        completed = False
        broken: list[BaseException] = []

        async def watch(message: Message) -> None:
            nonlocal sent, completed
            kind = message["type"]
            if kind == "http.response.start":
                sent = message["status"]  # before sending: what fails halfway cannot be answered again
            try:
                await send(message)
            except Exception as exc:
                broken.append(exc)
                raise
            whole = kind == "http.response.body" and not message.get("more_body", False)
            completed = whole or kind == "http.response.pathsend"

        try:
            await self.app(scope, receive, watch)
        except (Exception, asyncio.CancelledError) as exc:
            # What the server, or a layer outside, ended on purpose is theirs; so is the end of this request.
            if exc in broken or (issubclass(type(exc), asyncio.CancelledError) and _is_being_cancelled()):
                raise
            if sent is None:
                error = self.reporter.report(exc)
                if not isinstance(error, ClientDisconnectedError):
                    answer = ProblemAnswer(error, self.config, accept_language=accepted_language(scope, self.config))
                    await answer(scope, receive, send)
            else:
                self.reporter.report(_original(exc), status=sent, aborted=not completed)
                if not completed:
                    raise  # the server must abort the stream, so that the client sees that it is not whole
            if self.config.reraise:
                raise


def _is_being_cancelled() -> bool:
    """Whether it is this request that is cancelled, and not something that it waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def accepted_language(scope: Scope, config: ErrorHandlingConfig) -> str | None:
    """The client's `Accept-Language`, where there is a catalog to choose from."""
    if config.catalog is None:
        return None
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"accept-language"]
    return ",".join(lines) or None


def _original(exc: BaseException) -> BaseException:
    """What was raised after the answer had begun: Starlette wraps that for which there is a handler."""
    cause, text = exc.__cause__, exc.args[0] if type(exc) is RuntimeError and exc.args else None
    return cause if cause is not None and isinstance(text, str) and "already started" in text else exc
