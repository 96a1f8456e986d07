"""aiohttp: a client middleware that puts a breaker before each host."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractAsyncContextManager, nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Unpack

from creatormate_resilience.clients._call import Call, Outgoing, Tried, refused
from creatormate_resilience.clients._config import ClientConfig, ClientOptions
from creatormate_resilience.clients._hosts import origin
from creatormate_resilience.clients._verdict import BODY_LIMIT, network_error
from creatormate_resilience.exceptions import (
    CircuitOpenError,
    DeadlineExceededError,
    ExternalAPIProtocolError,
    MissingDependencyError,
    ResilienceError,
)
from creatormate_resilience.options import config_of
from creatormate_resilience.time_limit import time_limit

_INSTALLED = find_spec("aiohttp") is not None
if TYPE_CHECKING or _INSTALLED:
    import aiohttp
    from aiohttp import http_exceptions

__all__ = ("ResilientMiddleware",)


class ResilientMiddleware:
    """A middleware for a session: `ClientSession(middlewares=(ResilientMiddleware(),))`.

    Args:
        config: How it behaves, or `**options`, its fields.
        **options: See `ClientConfig`.

    Raises:
        ConfigurationError: An option is not accepted.
        MissingDependencyError: aiohttp is not installed.
    """

    def __init__(self, config: ClientConfig | None = None, **options: Unpack[ClientOptions]) -> None:
        if not _INSTALLED:
            raise MissingDependencyError("aiohttp", extra="aiohttp", needed_by=type(self).__name__)
        self.config = config_of(ClientConfig, config, options)

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request, again where that is safe and may help.

        Raises:
            CircuitOpenError: The circuit of its host is open; nothing was sent.
            DeadlineExceededError: The deadline leaves no time; nothing was sent.
            ExternalAPIError: It failed, and `translate` or `raise_for_status` asks for it.
        """
        if self.config.retry is None:
            return await self._give(await self._try(request, handler))
        attempts = aiter(self.config.retry)
        while True:
            attempt = await anext(attempts)
            tried = Tried()
            try:
                async with attempt:
                    tried = await self._try(request, handler)
                    tried.ask_again()
            except ResilienceError as error:
                if not tried.is_behind(error):
                    raise
            if attempt.delay is None:
                return await self._give(tried)
            if tried.response is not None:
                tried.response.close()

    async def _try(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> Tried:
        sent = _outgoing(request)
        try:
            call = Call(self.config, sent, _translate)
        except (CircuitOpenError, DeadlineExceededError) as error:
            return refused(error, sent)
        try:
            async with _limit(call.seconds, sent.host):
                response = await handler(request)
        except Exception as exc:  # noqa: BLE001 - it surfaces, or what it means
            return call.raised(
                exc, unsent=isinstance(exc, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            )
        except BaseException as exc:
            call.fail(TimeoutError("total timeout") if _has_timed_out(request, exc) else exc)
            raise
        tried = call.answered(response, response.status, response.headers)
        if call.awaits_body:
            _judge_body(response, call)
        return tried

    async def _give(self, tried: Tried) -> aiohttp.ClientResponse:
        if tried.response is None:
            raise tried.surfacing(self.config)
        response: aiohttp.ClientResponse = tried.response
        if tried.error is None or not self.config.raise_for_status:
            return response
        body = bytearray()
        try:
            while len(body) <= BODY_LIMIT and (part := await response.content.read(BODY_LIMIT)):
                body += part
        except (aiohttp.ClientError, TimeoutError):  # that it failed is known; why, it could not say
            body.clear()
        finally:
            response.close()
        raise tried.surfacing(self.config, bytes(body))

    def __repr__(self) -> str:
        return f"<ResilientMiddleware {self.config.name!r}>"


def _judge_body(response: aiohttp.ClientResponse, call: Call) -> None:
    """Tell the breaker when the body is here, or the connection let go before that."""
    content = response.content

    def let_go() -> None:
        if content.is_eof():
            call.complete()
            return
        # Whoever lets go because of an exception is handling it now; nobody else is told that reading timed out.
        error = content.exception()
        if error is None or type(error) is aiohttp.ClientConnectionError:  # the latter says: closed on this side
            error = sys.exception()
        if isinstance(error, aiohttp.ClientError | TimeoutError | asyncio.CancelledError):
            call.fail(error)
        else:
            call.abandon()

    if response.connection is None:  # the body came with the head
        call.complete()
    else:
        response.connection.add_callback(let_go)


def _outgoing(request: aiohttp.ClientRequest) -> Outgoing:
    url = request.url
    host = url.host or "unknown"
    whole = isinstance(request.body, bytes | aiohttp.BytesPayload)
    return Outgoing(request, request.method, origin(url.scheme, host, url.port), host, request.headers, whole)


def _limit(seconds: float | None, host: str) -> AbstractAsyncContextManager[object]:
    return nullcontext() if seconds is None else time_limit(seconds, what=f"the answer of {host}")


def _has_timed_out(request: aiohttp.ClientRequest, exc: BaseException) -> bool:
    """Whether the request's `ClientTimeout(total=)` has struck: aiohttp makes it a cancellation until it leaves."""
    timer = getattr(request, "_timer", None)
    return isinstance(exc, asyncio.CancelledError) and getattr(timer, "_cancelled", False) is True


def _translate(exc: Exception, service: str) -> ResilienceError | None:
    # aiohttp says 400 where it could not read the answer; no upstream has said that our request is wrong.
    if isinstance(exc, aiohttp.ClientResponseError) and isinstance(exc.__cause__, http_exceptions.HttpProcessingError):
        return ExternalAPIProtocolError(service, type(exc.__cause__).__name__).with_cause(exc)
    # What the caller's own upload raised arrives as a lost connection.
    if type(exc) is aiohttp.ClientConnectionError and isinstance(exc.__cause__, Exception):
        return network_error(exc, service) if network_error(exc.__cause__, service) else None
    return network_error(exc, service)
