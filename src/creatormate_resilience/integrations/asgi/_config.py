"""How errors are answered: one set of options for all layers of an application."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypedDict

from creatormate_resilience.client_ip import ClientIPResolver
from creatormate_resilience.clock import Clock, SystemClock
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import ConfigurationError, MessageCatalog
from creatormate_resilience.options import check_number, clock_of, listeners_of

__all__ = ("ErrorHandlingConfig", "ErrorHandlingOptions")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorHandlingConfig:
    """How errors are answered and reported.

    Attributes:
        domain: Name of this service, so that a peer knows whose codes these are.
        type_base_uri: Prefix of `type` in problem documents; without it `type` is `about:blank`.
        catalog: Messages in other languages, chosen by `Accept-Language`.
        client_ip: Finds the client's address; trusts no proxy unless it is told to.
        listeners: Told of every request that failed, as `RequestFailed`.
        tracebacks_per_second: Full tracebacks logged of one error code; more often only the frames are.
        reraise: Answer a bug, then raise it all the same, for tests.
        clock: Where time comes from.

    Raises:
        ConfigurationError: A value is not accepted.
    """

    domain: str | None = None
    type_base_uri: str | None = None
    catalog: MessageCatalog | None = None
    client_ip: ClientIPResolver = field(default_factory=ClientIPResolver)
    listeners: Iterable[Listener] = ()
    tracebacks_per_second: float = 10.0
    reraise: bool = False
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        object.__setattr__(self, "listeners", listeners_of(self.listeners))
        clock_of(self.clock)
        check_number("tracebacks_per_second", self.tracebacks_per_second, "tracebacks", above_zero=False)
        for name in ("domain", "type_base_uri"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value):
                raise ConfigurationError(f"{name} is {value!r}; accepted is a text that is not empty, or None")
        for name, is_good, accepted in (
            (
                "catalog",
                self.catalog is None or bool(getattr(self.catalog, "locales", ())),
                "one with locales, or None",
            ),
            ("client_ip", isinstance(self.client_ip, ClientIPResolver), "a ClientIPResolver"),  # pyright: ignore[reportUnnecessaryIsInstance]
            ("reraise", isinstance(self.reraise, bool), "True or False"),  # pyright: ignore[reportUnnecessaryIsInstance]
        ):
            if not is_good:
                raise ConfigurationError(f"{name} is {getattr(self, name)!r:.200}; accepted is {accepted}")


class ErrorHandlingOptions(TypedDict, total=False):
    """The fields of `ErrorHandlingConfig` as keyword arguments."""

    domain: str | None
    type_base_uri: str | None
    catalog: MessageCatalog | None
    client_ip: ClientIPResolver
    listeners: Iterable[Listener]
    tracebacks_per_second: float
    reraise: bool
    clock: Clock
