"""One attempt at a request: the permit it holds, and how its end is told to the breaker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from creatormate_resilience.breaker import Permit
from creatormate_resilience.clients._config import ClientConfig
from creatormate_resilience.clients._headers import add_headers
from creatormate_resilience.clients._verdict import ends_with_head, is_idempotent, status_error
from creatormate_resilience.deadline import current_deadline, remaining_time
from creatormate_resilience.exceptions import (
    CircuitOpenError,
    ConfigurationError,
    DeadlineExceededError,
    ExternalAPIError,
    ExternalAPITimeoutError,
    ResilienceError,
)

__all__ = ("Call", "Outgoing", "Translate", "Tried", "refused")

Translate: TypeAlias = Callable[[Exception, str], ResilienceError | None]
"""Of an exception and the upstream's name: the error it means, or None where it is not the network's."""


@dataclass(slots=True)
class Outgoing:
    """A request, as much as the three clients have in common.

    Attributes:
        request: The client's own object.
        method: In upper case.
        origin: Scheme, host and port, as `scheme://host` or `scheme://host:port`.
        host: The upstream's name in errors.
        headers: Its headers; names in any case.
        replayable: Whether its body can be sent again.
    """

    request: Any
    method: str
    origin: str
    host: str
    headers: MutableMapping[str, str]
    replayable: bool

    def may_repeat(self, *, unsent: bool = False) -> bool:
        """Whether it may be sent again; `unsent` says that nothing of it had reached the upstream."""
        return self.replayable and (unsent or is_idempotent(self.method, self.headers))


@dataclass(slots=True)
class Tried:
    """How an attempt ended: with a response, or with what was raised.

    Attributes:
        response: The client's response.
        raised: The client's own exception.
        error: What either means, where it is no success.
        repeatable: Whether the request may be sent again.
    """

    response: Any = None
    raised: Exception | None = None
    error: ResilienceError | None = None
    repeatable: bool = False

    def surfacing(self, config: ClientConfig, body: bytes = b"") -> Exception:
        """What to raise, once: the client's own exception, what that means, or what the answer means.

        Args:
            config: Says which.
            body: Of the answer, as far as it was read.
        """
        raised, error = self.raised, self.error
        self.raised = self.error = None  # or they would hold, by their tracebacks, the frames that hold this
        if body and isinstance(error, ExternalAPIError) and error.upstream_status is not None:
            return ExternalAPIError.from_response(self.response, service=error.service, body=body)
        if raised is not None and not (config.translate and error is not None):
            return raised
        return error or RuntimeError("an attempt that succeeded has nothing to raise")

    def ask_again(self) -> None:
        """Let a retry around this decide.

        Raises:
            ResilienceError: What failed, where the request may be sent again.
        """
        if self.repeatable and self.error is not None:
            raise self.error

    def is_behind(self, error: ResilienceError) -> bool:
        """Whether a retry that raised this has given up on this attempt."""
        return self.error is not None and self.error in (error, error.__cause__)


class Call:
    """An attempt under way. Settles its permit once: by the head of the answer, the end of the body, or a failure.

    Args:
        config: How the client behaves.
        sent: The request.
        translate: How the client's exceptions are understood.

    Raises:
        CircuitOpenError: The circuit is open.
        DeadlineExceededError: There is no time left.
    """

    __slots__ = ("_config", "_permit", "_sent", "_translate", "awaits_body", "seconds")

    def __init__(self, config: ClientConfig, sent: Outgoing, translate: Translate) -> None:
        left = remaining_time()
        if left is not None and left <= 0:
            raise DeadlineExceededError(f"no time is left to ask {sent.host}")
        key = sent.origin if config.key is None else _checked_key(config.key(sent.request))
        breaker = config.breakers.get(config.name, key=key)
        if config.send_deadline or config.send_context:
            add_headers(sent.headers, config, left)
        self._config = config
        self._sent = sent
        self._translate = translate
        self.awaits_body = False
        """Whether the body is still to be judged."""
        self.seconds: float | None = left
        """What an attempt may take, in seconds: what the deadline leaves, at most the breaker's `timeout`."""
        timeout = breaker.config.timeout
        if timeout is not None and (left is None or timeout < left):
            self.seconds = timeout
        self._permit: Permit = breaker.acquire()

    def answered(self, response: Any, status: int, headers: Mapping[str, str]) -> Tried:
        """The head of the answer is here; `awaits_body` says whether it is judged by that."""
        error = status_error(response, status, self._sent.host)
        if error is not None:
            self._permit.failure(error)
            return Tried(response, None, error, self._sent.may_repeat())
        if ends_with_head(self._sent.method, status, headers):
            self._permit.success()
        else:
            self.awaits_body = True
        return Tried(response)

    def complete(self) -> None:
        """The whole body is here."""
        self._permit.success()

    def abandon(self) -> None:
        """The body was not wanted to its end, which says nothing."""
        self._permit.release()

    def fail(self, exc: BaseException) -> ResilienceError | None:
        """Judge an exception of the client.

        Returns:
            What it means; None for a cancellation, and for what is not the network's.
        """
        if not isinstance(exc, Exception):
            self._permit.failure(exc)
            return None
        error = self._translate(exc, self._sent.host)
        if error is None or (isinstance(error, ExternalAPITimeoutError) and _callers_time_ran_out()):
            self._permit.release()
        else:
            self._permit.failure(error)
        return error

    def raised(self, exc: Exception, *, unsent: bool) -> Tried:
        """Judge what sending raised.

        Args:
            exc: The client's exception.
            unsent: Whether nothing of the request had reached the upstream.
        """
        error = self.fail(exc)
        return Tried(None, exc, error, error is not None and self._sent.may_repeat(unsent=unsent))

    def break_off(self, exc: BaseException) -> None:
        """Judge what reading the body raised; the caller raises it again.

        Raises:
            ResilienceError: What it means, where that is to surface instead.
        """
        error = self.fail(exc)
        if error is not None and self._config.translate:
            raise error from exc


def refused(error: CircuitOpenError | DeadlineExceededError, sent: Outgoing) -> Tried:
    """How an attempt ends that was not made."""
    return Tried(None, error, error, isinstance(error, CircuitOpenError) and sent.may_repeat(unsent=True))


def _checked_key(key: object) -> str:
    if not isinstance(key, str):
        raise ConfigurationError(f"key gave {key!r}; accepted is a function that gives a text")
    return key


def _callers_time_ran_out() -> bool:
    """Whether the deadline of whoever called us has passed, which says nothing about what we called."""
    deadline = current_deadline()
    return deadline is not None and deadline.received and deadline.expired
