"""The request context: made for each request, seen by everything inside, told to the client by its id."""

from __future__ import annotations

from creatormate_resilience.client_ip import ClientIPResolver
from creatormate_resilience.integrations.asgi._protocol import App, Message, Receive, Scope, Send
from creatormate_resilience.request_context import RequestContext, request_scope

__all__ = ("RequestContextMiddleware",)

_HEADER = b"x-request-id"
_BEGINNINGS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class RequestContextMiddleware:
    """Makes a `RequestContext` for each request and websocket.

    Args:
        app: The application inside.
        client_ip: Finds the client's address; without one, no proxy is trusted.

    Inside, `get_request_context()` gives it, and so does `scope["state"]["request_context"]`
    (`request.state.request_context` in Starlette). The answer carries its id as `X-Request-ID`. Where an application is
    mounted in another that has this middleware, the outer one's context stays.
    """

    def __init__(self, app: App, client_ip: ClientIPResolver | None = None) -> None:
        self.app = app
        self._resolve = (client_ip or ClientIPResolver()).resolve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        if "request_context" in state:
            await self.app(scope, receive, send)
            return
        state["request_context"] = context = RequestContext(scope, self._resolve)
        header = (_HEADER, context.request_id.encode("ascii"))

        async def name_the_request(message: Message) -> None:
            if message["type"] in _BEGINNINGS:
                headers = message.get("headers") or ()
                for name, _ in headers:
                    if name == _HEADER:  # the application has its own
                        break
                else:
                    message["headers"] = [*headers, header]
            await send(message)

        try:
            with request_scope(context):
                await self.app(scope, receive, name_the_request)
        finally:
            state.pop("request_context", None)  # it knows the scope: a circle that only the collector would break
