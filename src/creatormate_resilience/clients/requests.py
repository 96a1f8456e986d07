"""requests: an adapter that puts a breaker before each host."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Unpack, cast

from creatormate_resilience.clients._call import Call, Outgoing, Tried, refused
from creatormate_resilience.clients._config import ClientConfig, ClientOptions
from creatormate_resilience.clients._hosts import origin
from creatormate_resilience.clients._verdict import BODY_LIMIT, network_error
from creatormate_resilience.exceptions import (
    CircuitOpenError,
    ConfigurationError,
    DeadlineExceededError,
    ExternalAPIProtocolError,
    ExternalAPIRejectedError,
    ExternalAPITimeoutError,
    MissingDependencyError,
    ResilienceError,
)
from creatormate_resilience.options import config_of

_INSTALLED = find_spec("requests") is not None
if TYPE_CHECKING or _INSTALLED:
    import requests
    import urllib3
    from requests.adapters import BaseAdapter, HTTPAdapter
else:
    BaseAdapter = object

__all__ = ("ResilientAdapter",)


class ResilientAdapter(BaseAdapter):
    """An adapter for a session: `session.mount("https://", ResilientAdapter())`.

    Args:
        inner: What sends the requests, with the options of the pool: `HTTPAdapter(pool_maxsize=50)`. None makes a plain
            one. Its own `max_retries` must stay 0 where `retry` is given: they would multiply.
        config: How it behaves, or `**options`, its fields.
        **options: See `ClientConfig`.

    Raises:
        ConfigurationError: `inner` is no adapter or repeats by itself, or an option is not accepted.
        MissingDependencyError: requests is not installed.
    """

    def __init__(
        self, inner: BaseAdapter | None = None, config: ClientConfig | None = None, **options: Unpack[ClientOptions]
    ) -> None:
        if not _INSTALLED:
            raise MissingDependencyError("requests", extra="requests", needed_by=type(self).__name__)
        super().__init__()
        self.inner = HTTPAdapter() if inner is None else inner
        self.config = config_of(ClientConfig, config, options)
        if not isinstance(self.inner, BaseAdapter):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"inner is {inner!r}; accepted is an adapter, such as HTTPAdapter()")
        own = getattr(self.inner, "max_retries", None)
        if self.config.retry is not None and getattr(own, "total", None):
            raise ConfigurationError(f"inner repeats by itself ({own!r}) and retry is given; accepted is one of them")

    def send(  # noqa: PLR0917 - the signature that sessions call
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send a request, again where that is safe and may help; the parameters are those of `HTTPAdapter.send`.

        Raises:
            CircuitOpenError: The circuit of its host is open; nothing was sent.
            DeadlineExceededError: The deadline leaves no time; nothing was sent.
            ExternalAPIError: It failed, and `translate` or `raise_for_status` asks for it.
        """
        rest = {"stream": stream, "verify": verify, "cert": cert, "proxies": proxies}
        if self.config.retry is None:
            return self._give(self._try(request, timeout, rest))
        attempts = iter(self.config.retry)
        while True:
            attempt = next(attempts)
            tried = Tried()
            try:
                with attempt:
                    tried = self._try(request, timeout, rest)
                    tried.ask_again()
            except ResilienceError as error:
                if not tried.is_behind(error):
                    raise
            if attempt.delay is None:
                return self._give(tried)
            if tried.response is not None:
                tried.response.close()

    def _try(self, request: requests.PreparedRequest, timeout: Any, rest: Mapping[str, Any]) -> Tried:
        sent = _outgoing(request)
        try:
            call = Call(self.config, sent, _translate)
        except (CircuitOpenError, DeadlineExceededError) as error:
            return refused(error, sent)
        try:
            response = self.inner.send(request, timeout=_within(call.seconds, timeout), **rest)
        except Exception as exc:  # noqa: BLE001 - it surfaces, or what it means
            return call.raised(exc, unsent=_is_unsent(exc))
        except BaseException as exc:
            call.fail(exc)
            raise
        response.connection = cast("Any", self)  # who sends again through it (digest authentication) comes here
        tried = call.answered(response, response.status_code, response.headers)
        if call.awaits_body:
            response.raw = _JudgedBody(response.raw, call)
        return tried

    def _give(self, tried: Tried) -> requests.Response:
        if tried.response is None:
            raise tried.surfacing(self.config)
        response = cast("requests.Response", tried.response)
        if tried.error is None or not self.config.raise_for_status:
            return response
        try:
            body = response.raw.read(BODY_LIMIT + 1, decode_content=True)
        except (OSError, urllib3.exceptions.HTTPError):  # that it failed is known; why, it could not say
            body = b""
        finally:
            response.close()
        raise tried.surfacing(self.config, body)

    def close(self) -> None:
        """Close the inner adapter."""
        self.inner.close()

    def __repr__(self) -> str:
        return f"<ResilientAdapter {self.config.name!r}>"


class _JudgedBody:
    """urllib3's response, telling how its body ended. All but reading and closing goes straight through."""

    def __init__(self, inner: Any, call: Call) -> None:
        self._inner = inner
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        """What `Response.iter_content` and `Response.content` read."""
        parts = self._inner.stream(*args, **kwargs)
        while True:
            try:
                part = next(parts)
            except StopIteration:
                break
            except BaseException as exc:
                self._call.break_off(exc)
                raise
            yield part
        self._call.complete()

    def __iter__(self) -> Iterator[bytes]:
        return self.stream()

    def read(self, *args: Any, **kwargs: Any) -> bytes:
        """What code reads that takes the body raw."""
        return cast("bytes", self._reading(self._inner.read, *args, **kwargs))

    def read1(self, *args: Any, **kwargs: Any) -> bytes:
        """Like `read`, at most one piece."""
        return cast("bytes", self._reading(self._inner.read1, *args, **kwargs))

    def readinto(self, buffer: Any) -> int:
        """Like `read`, into a buffer."""
        return cast("int", self._reading(self._inner.readinto, buffer))

    def _reading(self, read: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            part = read(*args, **kwargs)
        except BaseException as exc:
            self._call.break_off(exc)
            raise
        if self._inner.closed or self._inner.length_remaining == 0 or not part:
            self._call.complete()
        return part

    def close(self) -> None:
        """Close; before the end, that counts as nothing."""
        try:
            self._inner.close()
        finally:
            self._call.abandon()

    def release_conn(self) -> None:
        """Give the connection back; before the end, that counts as nothing."""
        try:
            self._inner.release_conn()
        finally:
            self._call.abandon()


def _outgoing(request: requests.PreparedRequest) -> Outgoing:
    url = urllib.parse.urlsplit(request.url or "")
    host = url.hostname or "unknown"
    whole = request.body is None or isinstance(request.body, bytes | str)
    return Outgoing(
        request, request.method or "GET", origin(url.scheme, host, url.port), host, cast("Any", request.headers), whole
    )


def _within(seconds: float | None, timeout: Any) -> Any:
    """The request's timeout, and in all no longer than this for connecting and the first byte."""
    if seconds is None:
        return timeout
    if isinstance(timeout, urllib3.Timeout):
        shortest = timeout.clone()
        shortest.total = seconds if timeout.total is None else min(cast("float", timeout.total), seconds)
        return shortest
    if isinstance(timeout, tuple):
        connect, read = cast("tuple[Any, Any]", timeout)
        return urllib3.Timeout(connect=connect, read=read, total=seconds)
    return urllib3.Timeout(connect=timeout, read=timeout, total=seconds)


def _is_unsent(exc: Exception) -> bool:
    if isinstance(exc, requests.ConnectTimeout):
        return True
    reason = getattr(exc.args[0], "reason", None) if exc.args else None
    return isinstance(exc, requests.ConnectionError) and isinstance(reason, urllib3.exceptions.NewConnectionError)


def _translate(exc: Exception, service: str) -> ResilienceError | None:
    if isinstance(exc, requests.RequestException) and isinstance(exc, ValueError):
        return ExternalAPIRejectedError(service, f"not sent: {type(exc).__name__}").with_cause(exc)
    if isinstance(exc, urllib3.exceptions.HTTPError):  # from a body, before requests has made it its own
        timed_out = isinstance(exc, urllib3.exceptions.TimeoutError)
        cls = ExternalAPITimeoutError if timed_out else ExternalAPIProtocolError
        return cls(service, f"{type(exc).__name__}: {exc}").with_cause(exc)
    return network_error(exc, service)
