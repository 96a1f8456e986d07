"""Errors of websockets: a refused handshake or a close frame with a short reason, never what went wrong."""

from __future__ import annotations

from creatormate_resilience.exceptions import ClientDisconnectedError, InternalError, ResilienceError
from creatormate_resilience.integrations.asgi._answer import ProblemAnswer, sendable_status
from creatormate_resilience.integrations.asgi._config import ErrorHandlingConfig
from creatormate_resilience.integrations.asgi._protocol import App, Message, Receive, Scope, Send
from creatormate_resilience.integrations.asgi._report import ErrorReporter

__all__ = ("WebSocketBoundary", "close_message", "refuse")

_POLICY_VIOLATION, _INTERNAL_ERROR, _TRY_AGAIN_LATER = 1008, 1011, 1013


def close_message(error: ResilienceError) -> Message:
    """The close frame of an error (RFC 6455, section 7.4): whose fault it was, and the error's code as the reason."""
    try:
        shown = error.for_outside()
        status, reason = sendable_status(shown.status_code), shown.code
    except Exception:  # noqa: BLE001 - an application's own property may raise anything
        status, reason = 500, InternalError.code
    code = _POLICY_VIOLATION if status < 500 else _INTERNAL_ERROR
    if status in {429, 503}:
        code = _TRY_AGAIN_LATER
    return {"type": "websocket.close", "code": code, "reason": reason}


async def refuse(
    error: ResilienceError, config: ErrorHandlingConfig, scope: Scope, receive: Receive, send: Send
) -> None:
    """Refuse a handshake: with a problem document where the server can send one, else with a bare 403."""
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await ProblemAnswer(error, config)(scope, receive, send)
    else:
        await send(close_message(error))


class WebSocketBoundary:
    """One websocket's error boundary.

    Args:
        app: The application inside.
        config: How errors are answered.
        reporter: Where they are reported.
    """

    def __init__(self, app: App, config: ErrorHandlingConfig, reporter: ErrorReporter) -> None:
        self.app = app
        self.config = config
        self.reporter = reporter

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the websocket until it is closed."""
        accepted = closed = False

        async def watch(message: Message) -> None:
            nonlocal accepted, closed
            await send(message)
            accepted = accepted or message["type"] == "websocket.accept"
            closed = closed or message["type"] in {"websocket.close", "websocket.http.response.start"}

        async def listen() -> Message:
            nonlocal closed
            message = await receive()
            closed = closed or message["type"] == "websocket.disconnect"
            return message

        try:
            await self.app(scope, listen, watch)
        except Exception as exc:
            error = self.reporter.report(exc)
            if not closed and not isinstance(error, ClientDisconnectedError):
                if accepted:
                    await send(close_message(error))
                else:
                    await refuse(error, self.config, scope, receive, send)
            if self.config.reraise:
                raise
