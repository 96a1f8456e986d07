"""httpx and httpx2: transports that put a breaker before each host, sync and async, asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

import anyio

from creatormate_resilience.clients._call import Call, Outgoing, Tried, refused
from creatormate_resilience.clients._config import ClientConfig, ClientOptions
from creatormate_resilience.clients._hosts import origin
from creatormate_resilience.clients._verdict import BODY_LIMIT, network_error
from creatormate_resilience.exceptions import (
    CircuitOpenError,
    ConfigurationError,
    DeadlineExceededError,
    ExternalAPIRejectedError,
    ExternalAPIUnavailableError,
    MissingDependencyError,
    ResilienceError,
)
from creatormate_resilience.options import config_of

_HTTPX = find_spec("httpx") is not None
_HTTPX2 = find_spec("httpx2") is not None
if TYPE_CHECKING or _HTTPX:
    import httpx
if TYPE_CHECKING or _HTTPX2:
    import httpx2

__all__ = ("AsyncResilientTransport", "ResilientTransport")

# `httpx2.alias_httpx()` makes both names mean one package.
_PACKAGES: tuple[Any, ...] = tuple(dict.fromkeys([*([httpx] if _HTTPX else ()), *([httpx2] if _HTTPX2 else ())]))


def _types(*names: str) -> tuple[Any, ...]:
    """These classes of every package that is installed."""
    return tuple(getattr(package, name) for package in _PACKAGES for name in names)


_UNSENT = _types("ConnectError", "ConnectTimeout", "PoolTimeout")
_OUR_FAULT = _types("LocalProtocolError")
_DISCONNECTED = _types("RemoteProtocolError")
_BODY_ERRORS: tuple[type[Exception], ...] = _types("RequestError")
_BYTES = _types("ByteStream")

# One class that is a transport, or a stream, to both packages: each insists on its own.
if TYPE_CHECKING:

    class _Transport(httpx.BaseTransport, httpx2.BaseTransport):
        def handle_request(self, request: Any) -> Any: ...

    class _AsyncTransport(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any: ...

    class _Stream(httpx.SyncByteStream, httpx2.SyncByteStream): ...

    class _AsyncStream(httpx.AsyncByteStream, httpx2.AsyncByteStream): ...
else:
    _Transport = type("_Transport", _types("BaseTransport"), {})
    _AsyncTransport = type("_AsyncTransport", _types("AsyncBaseTransport"), {})
    _Stream = type("_Stream", _types("SyncByteStream"), {})
    _AsyncStream = type("_AsyncStream", _types("AsyncByteStream"), {})


class ResilientTransport(_Transport):
    """A transport for `httpx.Client` and `httpx2.Client`: `Client(transport=ResilientTransport(HTTPTransport()))`.

    Args:
        inner: What sends the requests. Options of the connection, such as `verify`, `http2` and `limits`, belong to it:
            a client that is given a transport ignores its own.
        config: How it behaves, or `**options`, its fields.
        **options: See `ClientConfig`.

    Raises:
        ConfigurationError: `inner` is no sync transport, or an option is not accepted.
        MissingDependencyError: Neither package is installed.
    """

    def __init__(self, inner: Any, config: ClientConfig | None = None, **options: Unpack[ClientOptions]) -> None:
        self.inner = _checked(inner, "handle_request", "HTTPTransport")
        self.config = config_of(ClientConfig, config, options)

    def handle_request(self, request: Any) -> Any:
        """Send a request, again where that is safe and may help.

        Raises:
            CircuitOpenError: The circuit of its host is open; nothing was sent.
            DeadlineExceededError: The deadline leaves no time; nothing was sent.
            ExternalAPIError: It failed, and `translate` or `raise_for_status` asks for it.
        """
        if self.config.retry is None:
            return self._give(self._try(request))
        attempts = iter(self.config.retry)
        while True:
            attempt = next(attempts)
            tried = Tried()
            try:
                with attempt:
                    tried = self._try(request)
                    tried.ask_again()
            except ResilienceError as error:
                if not tried.is_behind(error):
                    raise
            if attempt.delay is None:
                return self._give(tried)
            if tried.response is not None:
                tried.response.close()

    def _try(self, request: Any) -> Tried:
        sent = _outgoing(request)
        try:
            call = Call(self.config, sent, _translate)
        except (CircuitOpenError, DeadlineExceededError) as error:
            return refused(error, sent)
        given = request.extensions
        try:
            request.extensions = _within(call.seconds, given)
            response = self.inner.handle_request(request)
        except Exception as exc:  # noqa: BLE001 - it surfaces, or what it means
            return call.raised(exc, unsent=isinstance(exc, _UNSENT))
        except BaseException as exc:
            call.fail(exc)
            raise
        finally:
            request.extensions = given  # a request may be sent again, under another deadline
        return _judged(call, response, _JudgedStream)

    def _give(self, tried: Tried) -> Any:
        if tried.response is None:
            raise tried.surfacing(self.config)
        if tried.error is None or not self.config.raise_for_status:
            return tried.response
        body = bytearray()
        try:
            if _may_tell(tried.response):
                for part in tried.response.iter_bytes():
                    body += part
                    if len(body) > BODY_LIMIT:
                        break
        except _BODY_ERRORS:  # that it failed is known; why, it could not say
            body.clear()
        finally:
            tried.response.close()
        raise tried.surfacing(self.config, bytes(body))

    def close(self) -> None:
        """Close the inner transport."""
        self.inner.close()

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.inner.__exit__(exc_type, exc_value, traceback)

    def __repr__(self) -> str:
        return f"<ResilientTransport {self.config.name!r}>"


class AsyncResilientTransport(_AsyncTransport):
    """A transport for `httpx.AsyncClient` and `httpx2.AsyncClient`; see `ResilientTransport`.

    Args:
        inner: What sends the requests, such as `AsyncHTTPTransport()`.
        config: How it behaves, or `**options`, its fields.
        **options: See `ClientConfig`.

    Raises:
        ConfigurationError: `inner` is no async transport, or an option is not accepted.
        MissingDependencyError: Neither package is installed.
    """

    def __init__(self, inner: Any, config: ClientConfig | None = None, **options: Unpack[ClientOptions]) -> None:
        self.inner = _checked(inner, "handle_async_request", "AsyncHTTPTransport")
        self.config = config_of(ClientConfig, config, options)

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request, again where that is safe and may help; see `ResilientTransport.handle_request`."""
        if self.config.retry is None:
            return await self._give(await self._try(request))
        attempts = aiter(self.config.retry)
        while True:
            attempt = await anext(attempts)
            tried = Tried()
            try:
                async with attempt:
                    tried = await self._try(request)
                    tried.ask_again()
            except ResilienceError as error:
                if not tried.is_behind(error):
                    raise
            if attempt.delay is None:
                return await self._give(tried)
            if tried.response is not None:
                await tried.response.aclose()

    async def _try(self, request: Any) -> Tried:
        sent = _outgoing(request)
        try:
            call = Call(self.config, sent, _translate)
        except (CircuitOpenError, DeadlineExceededError) as error:
            return refused(error, sent)
        given = request.extensions
        try:
            request.extensions = _within(call.seconds, given)
            response = await self.inner.handle_async_request(request)
        except Exception as exc:  # noqa: BLE001 - it surfaces, or what it means
            return call.raised(exc, unsent=isinstance(exc, _UNSENT))
        except BaseException as exc:
            call.fail(exc)
            raise
        finally:
            request.extensions = given  # a request may be sent again, under another deadline
        return _judged(call, response, _AsyncJudgedStream)

    async def _give(self, tried: Tried) -> Any:
        if tried.response is None:
            raise tried.surfacing(self.config)
        if tried.error is None or not self.config.raise_for_status:
            return tried.response
        body = bytearray()
        try:
            if _may_tell(tried.response):
                async for part in tried.response.aiter_bytes():
                    body += part
                    if len(body) > BODY_LIMIT:
                        break
        except _BODY_ERRORS:  # that it failed is known; why, it could not say
            body.clear()
        finally:
            await tried.response.aclose()
        raise tried.surfacing(self.config, bytes(body))

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self.inner.aclose()

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.inner.__aexit__(exc_type, exc_value, traceback)

    def __repr__(self) -> str:
        return f"<AsyncResilientTransport {self.config.name!r}>"


class _JudgedStream(_Stream):
    """A response's body that tells how it ended."""

    def __init__(self, inner: Any, call: Call) -> None:
        self._inner = inner
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        self._parts = iter(self._inner)
        return self

    def __next__(self) -> bytes:
        try:
            return cast("bytes", next(self._parts))
        except StopIteration:
            self._call.complete()
            raise
        except BaseException as exc:
            self._call.break_off(exc)
            raise

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._call.abandon()


class _AsyncJudgedStream(_AsyncStream):
    """A response's body that tells how it ended. No generator, because those end when the garbage collector says so."""

    def __init__(self, inner: Any, call: Call) -> None:
        self._inner = inner
        self._call = call

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._parts = aiter(self._inner)
        return self

    async def __anext__(self) -> bytes:
        try:
            return cast("bytes", await anext(self._parts))
        except StopAsyncIteration:
            self._call.complete()
            raise
        except BaseException as exc:
            self._call.break_off(exc)
            raise

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._call.abandon()


def _judged(call: Call, response: Any, stream: Callable[[Any, Call], Any]) -> Tried:
    tried = call.answered(response, response.status_code, response.headers)
    if call.awaits_body:
        if response.is_closed:  # it came with its body, as from a mock or a cache
            call.complete()
        else:
            response.stream = stream(response.stream, call)
    return tried


def _outgoing(request: Any) -> Outgoing:
    url = request.url
    return Outgoing(
        request, request.method, origin(url.scheme, url.host, url.port), url.host, request.headers,
        isinstance(request.stream, _BYTES),
    )  # fmt: skip


def _within(seconds: float | None, extensions: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request's extensions with no timeout longer than this."""
    if seconds is None:
        return extensions
    given: Mapping[str, float | None] = extensions.get("timeout", {})
    phases = {phase: given.get(phase) for phase in ("connect", "read", "write", "pool")}
    shortest = {phase: seconds if limit is None else min(limit, seconds) for phase, limit in phases.items()}
    return {**extensions, "timeout": shortest}


def _may_tell(response: Any) -> bool:
    """Whether the body may be a problem document, and is not known to be longer than one may be."""
    length = response.headers.get("content-length", "")
    return "json" in response.headers.get("content-type", "") and not (length.isdigit() and int(length) > BODY_LIMIT)


def _translate(exc: Exception, service: str) -> ResilienceError | None:
    if isinstance(exc, _OUR_FAULT):
        return ExternalAPIRejectedError(service, f"not sent: {type(exc).__name__}").with_cause(exc)
    # Connections that die unnoticed end like this; httpx cannot tell it from an answer that makes no sense.
    if isinstance(exc, (*_DISCONNECTED, anyio.EndOfStream)):
        return ExternalAPIUnavailableError(service, f"disconnected: {exc}", retryable=True).with_cause(exc)
    return network_error(exc, service)


def _checked(inner: Any, method: str, example: str) -> Any:
    if not _PACKAGES:
        raise MissingDependencyError("httpx", extra="httpx", needed_by="a resilient transport")
    if isinstance(inner, type) or not callable(getattr(inner, method, None)):
        raise ConfigurationError(f"inner is {inner!r}; accepted is a transport with `{method}`, such as {example}()")
    return inner
