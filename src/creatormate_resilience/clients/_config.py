"""How a client behaves: one set of options for httpx, requests and aiohttp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict

from creatormate_resilience.breaker import CircuitBreakerRegistry
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.options import check_function, check_text
from creatormate_resilience.policies import Retry

__all__ = ("ClientConfig", "ClientOptions")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """How a client behaves. Clients that are given the same one share its breakers.

    Attributes:
        breakers: Where the breakers are; bounded, `max_keyed` of one name. Left out, a registry of its own.
        name: Of the breakers in the registry; its configuration applies to each host.
        key: What gets a breaker of its own, as a function of the client's own request object: a route, a tenant. None:
            scheme, host and port.
        retry: Repeats what failed and is safe to repeat; None repeats nothing.
        translate: Raise errors of the `ExternalAPI` family instead of the client's own exceptions, which are then their
            causes.
        raise_for_status: Raise such an error also for answers of 400 and more, instead of returning them.
        send_deadline: Tell the upstream how much time the current deadline leaves, in `DEADLINE_HEADER`.
        send_context: Send the `X-Request-ID` and `traceparent` of the request being served, where none are set.

    Raises:
        ConfigurationError: A value is not accepted.
    """

    breakers: CircuitBreakerRegistry = field(default_factory=CircuitBreakerRegistry)
    name: str = "http"
    key: Callable[[Any], str] | None = None
    retry: Retry | None = None
    translate: bool = False
    raise_for_status: bool = False
    send_deadline: bool = False
    send_context: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.breakers, CircuitBreakerRegistry):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"breakers is {self.breakers!r}; accepted is a CircuitBreakerRegistry")
        check_text("name", self.name)
        if self.key is not None:
            check_function("key", self.key, "accepted is a function of a request, or None")
        if self.retry is not None and not isinstance(self.retry, Retry):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"retry is {self.retry!r}; accepted is a Retry, or None")
        for name in ("translate", "raise_for_status", "send_deadline", "send_context"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; accepted is True or False")


class ClientOptions(TypedDict, total=False):
    """The fields of `ClientConfig` as keyword arguments."""

    breakers: CircuitBreakerRegistry
    name: str
    key: Callable[[Any], str] | None
    retry: Retry | None
    translate: bool
    raise_for_status: bool
    send_deadline: bool
    send_context: bool
