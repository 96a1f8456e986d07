"""How errors are answered: one set of options for all layers of an application."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self, TypedDict

from creatormate_resilience.client_ip import ClientIPResolver
from creatormate_resilience.clock import Clock, SystemClock
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import ConfigurationError, MessageCatalog

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
        object.__setattr__(self, "listeners", tuple(self.listeners))
        for name in ("domain", "type_base_uri"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value):
                raise ConfigurationError(f"{name} is {value!r}; accepted is a text that is not empty, or None")
        if not 0 <= self.tracebacks_per_second < math.inf:
            raise ConfigurationError(
                f"tracebacks_per_second is {self.tracebacks_per_second!r}; accepted is a number from 0 on"
            )
        if self.catalog is not None and not self.catalog.locales:
            raise ConfigurationError("catalog has no locales; accepted is one with at least one")
        if not all(map(callable, self.listeners)):
            raise ConfigurationError(
                "listeners holds something that cannot be called; accepted are functions of an event"
            )

    @classmethod
    def of(cls, config: Self | None, options: Mapping[str, Any]) -> Self:
        """A configuration as it was given: whole, or as options, not both."""
        if config is not None:
            if options:
                raise ConfigurationError(f"config and {', '.join(options)} are both given; accepted is one of them")
            return config
        known = [each.name for each in fields(cls)]
        if unknown := options.keys() - known:
            raise ConfigurationError(f"unknown option {', '.join(sorted(unknown))}; accepted are {', '.join(known)}")
        return cls(**options)


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
