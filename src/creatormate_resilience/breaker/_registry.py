"""All breakers of an application by name, with a configuration for each."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from creatormate_resilience.breaker._breaker import CircuitBreaker
from creatormate_resilience.breaker._config import CircuitBreakerConfig
from creatormate_resilience.breaker._machine import BreakerState
from creatormate_resilience.breaker._parts import as_state, check_store
from creatormate_resilience.breaker._statistics import BreakerStatistics
from creatormate_resilience.breaker._store import BreakerStore
from creatormate_resilience.clock import Clock
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.options import check_text, check_whole, clock_of, listeners_of

__all__ = ("CircuitBreakerRegistry",)


class CircuitBreakerRegistry:
    """Makes each named breaker once and keeps it.

    Args:
        configs: Name to configuration, or to plain data such as the guide's `CIRCUIT_BREAKER_CONFIGS`. These win over
            what decorators declare: operators decide.
        default: For names that nobody configured.
        clock: For all breakers.
        listeners: For all breakers.
        initial_state: For all breakers; METRICS_ONLY for a safe roll-out, DISABLED to switch them off.
        store: For all breakers: where verdicts are shared with others of the same name.
        max_keyed: Bound on keyed breakers of one name; the one unused longest goes.
    """

    def __init__(
        self,
        configs: Mapping[str, CircuitBreakerConfig | Mapping[str, Any]] | None = None,
        *,
        default: CircuitBreakerConfig | None = None,
        clock: Clock | None = None,
        listeners: Iterable[Listener] = (),
        initial_state: BreakerState = BreakerState.CLOSED,
        store: BreakerStore | None = None,
        max_keyed: int = 1000,
    ) -> None:
        check_whole("max_keyed", max_keyed, least=1)
        check_store(store)
        if configs is not None and not isinstance(configs, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"configs is {configs!r:.200}; accepted is a mapping of name to configuration")
        if default is not None and not isinstance(default, CircuitBreakerConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"default is {default!r:.200}; accepted is a CircuitBreakerConfig, or None")
        self._configs = {name: _as_config(name, config) for name, config in (configs or {}).items()}
        self._declared: dict[str, CircuitBreakerConfig] = {}
        self._default = default or CircuitBreakerConfig()
        self._options: dict[str, Any] = {
            "clock": clock_of(clock),
            "listeners": listeners_of(listeners),
            "initial_state": as_state(initial_state),
            "store": store,
        }
        self._max_keyed = max_keyed
        self._lock = threading.Lock()
        self._breakers: dict[str, CircuitBreaker] = {}
        self._keyed: dict[str, OrderedDict[str, CircuitBreaker]] = {}

    def get(self, name: str, *, key: str | None = None) -> CircuitBreaker:
        """The breaker of that name; the same one each time.

        Args:
            name: Of the dependency.
            key: Within it, such as a tenant or a host; gives that key a breaker of its own, named `name[key]`.

        Returns:
            The breaker.

        Raises:
            ConfigurationError: The name or the key is no text, or empty, or the name has a bracket in it.
        """
        with self._lock:
            if key is not None:
                return self._get_keyed(name, key)
            breaker = self._breakers.get(name)
            if breaker is None:
                _check_name(name)
                breaker = self._breakers[name] = self._make(name, name)
            return breaker

    def declare(self, name: str, config: CircuitBreakerConfig | None) -> None:
        """Say how a breaker should be set up where no configuration names it; decorators do this at first call.

        Args:
            name: Of the dependency.
            config: None declares nothing.

        Raises:
            ConfigurationError: Another declaration of that name disagrees, or the breaker exists with another set-up.
        """
        if config is None:
            return
        _check_name(name)
        with self._lock:
            if name in self._configs:
                return
            declared = self._declared.get(name)
            keyed = self._keyed.get(name, OrderedDict[str, CircuitBreaker]())
            made = self._breakers.get(name) or next(iter(keyed.values()), None)
            if (declared or config) != config or (declared is None and made is not None and made.config != config):
                raise ConfigurationError(
                    f"circuit breaker {name!r} is declared twice with different configurations; "
                    "make them equal, or set it in CIRCUIT_BREAKER_CONFIGS"
                )
            self._declared[name] = config

    def statistics(self) -> dict[str, BreakerStatistics]:
        """A snapshot of every breaker, keyed ones included, by name."""
        return {breaker.name: breaker.statistics() for breaker in self}

    def __iter__(self) -> Iterator[CircuitBreaker]:
        with self._lock:
            keyed = [breaker for breakers in self._keyed.values() for breaker in breakers.values()]
            return iter([*self._breakers.values(), *keyed])

    def __len__(self) -> int:
        with self._lock:
            return len(self._breakers) + sum(map(len, self._keyed.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._breakers

    def _get_keyed(self, name: str, key: str) -> CircuitBreaker:
        breakers = self._keyed.get(name)
        if breakers is None:
            _check_name(name)
            breakers = self._keyed[name] = OrderedDict()
        if key not in breakers:
            check_text("key", key)
            if len(breakers) >= self._max_keyed:
                del breakers[self._dispensable(breakers)]
            breakers[key] = self._make(f"{name}[{key}]", name)
        breakers.move_to_end(key)
        return breakers[key]

    def _dispensable(self, breakers: OrderedDict[str, CircuitBreaker]) -> str:
        """The key unused longest whose breaker would be made anew as it is; where none would, just the oldest."""
        plain = self._options["initial_state"]
        return next((key for key, breaker in breakers.items() if breaker.state is plain), next(iter(breakers)))

    def _make(self, name: str, config_name: str) -> CircuitBreaker:
        declared = self._declared.get(config_name)
        config = self._configs.get(config_name) or declared or self._default
        # A decorator's own timeout is strict; one that came from settings must not break sync functions.
        return CircuitBreaker(name, config, lenient_timeout=config is not declared, **self._options)

    def __repr__(self) -> str:
        states = ", ".join(f"{breaker.name}={breaker.state}" for breaker in self)
        return f"<CircuitBreakerRegistry {states or 'empty'}>"


def _check_name(name: object) -> None:
    """Two breakers never look the same: what comes before the first bracket is the name, the rest is a key."""
    check_text("name", name)
    if "[" in str(name):
        raise ConfigurationError(f"name is {name!r:.200}; accepted is a text without '[', which begins a key: `key=`")


def _as_config(name: str, config: CircuitBreakerConfig | Mapping[str, Any]) -> CircuitBreakerConfig:
    _check_name(name)
    if isinstance(config, CircuitBreakerConfig):
        return config
    if not isinstance(config, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"circuit breaker {name!r} is {config!r}; accepted is a mapping of settings")
    return CircuitBreakerConfig.from_mapping(config, name=f"circuit breaker {name!r}")
