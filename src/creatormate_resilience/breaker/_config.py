"""How a circuit breaker decides; every value is checked when the configuration is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.options import check_function, check_number, check_share, check_whole
from creatormate_resilience.outcome import Classifier

__all__ = ("CircuitBreakerConfig", "CountWindow", "TimeWindow")


_DEFAULT_PROBES = 3


def _types(name: str, value: Any) -> None:
    types: tuple[Any, ...] = value if isinstance(value, tuple) else (None,)  # pyright: ignore[reportUnknownVariableType]
    if not all(isinstance(item, type) and issubclass(item, Exception) for item in types):
        raise ConfigurationError(f"{name} is {value!r:.200}; accepted is a tuple of subclasses of Exception")


@dataclass(frozen=True, slots=True)
class CountWindow:
    """The last `size` calls."""

    size: int = 100

    def __post_init__(self) -> None:
        check_whole("window size", self.size, 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The calls of the last `seconds`, in ten slices."""

    seconds: float = 60.0

    def __post_init__(self) -> None:
        check_number("window seconds", self.seconds, "seconds", least=0.001)


@dataclass(frozen=True, slots=True)
class CircuitBreakerConfig:
    """Thresholds and times of a circuit breaker.

    Attributes:
        failure_threshold: Failures in a row that open the circuit, literally. None: five in a row open it only while
            the window holds fewer than `minimum_calls`, so that chance does not trip a service failing now and then.
        failure_rate_threshold: Share of failures in the window, 0 to 1, that opens the circuit.
        minimum_calls: Calls the window must hold before rates count.
        window: `TimeWindow(seconds)` or `CountWindow(size)`.
        slow_call_duration: Seconds from which a call counts as slow; None watches no durations.
        slow_call_rate_threshold: Share of slow calls in the window, 0 to 1, that opens the circuit; None never does.
        recovery_timeout: Seconds the circuit stays open the first time.
        recovery_backoff: Factor on that time for every recovery that failed.
        recovery_timeout_max: Longest time open, in seconds; never less than `recovery_timeout`.
        recovery_jitter: Random share added to the time open, 0 to 1, so that instances do not return together.
        half_open_max_calls: Probes of a recovery; all must succeed to close the circuit.
        half_open_max_concurrent: Probes under way at once.
        half_open_max_wait: Seconds after which a probe without an outcome fails the recovery. None: the time the
            circuit was open, or `timeout` plus a second where that is longer.
        timeout: Seconds an async call may take; longer is a failure. In an async stream it is the longest wait for an
            item. None sets no limit.
        record: Exceptions that count as failures; other failures then count as successes, and refusals of ours as
            nothing all the same. Left as it is, the classifier decides.
        ignore: Exceptions that count as nothing. A cancellation is no `Exception`, and never among either.
        classify: Replaces the default classifier, `outcome.classify`; where it raises, the default decides.
    """

    failure_threshold: int | None = None
    failure_rate_threshold: float = 0.5
    minimum_calls: int = 20
    window: TimeWindow | CountWindow = TimeWindow(60.0)
    slow_call_duration: float | None = None
    slow_call_rate_threshold: float | None = None
    recovery_timeout: float = 30.0
    recovery_backoff: float = 2.0
    recovery_timeout_max: float = 60.0
    recovery_jitter: float = 0.1
    half_open_max_calls: int = _DEFAULT_PROBES
    half_open_max_concurrent: int = _DEFAULT_PROBES
    half_open_max_wait: float | None = None
    timeout: float | None = None
    record: tuple[type[Exception], ...] = (Exception,)
    ignore: tuple[type[Exception], ...] = ()
    classify: Classifier | None = None

    def __post_init__(self) -> None:
        self._check_thresholds()
        self._check_recovery()
        for name in ("slow_call_duration", "half_open_max_wait", "timeout"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), "seconds", most=1e9)
        for name in ("record", "ignore"):
            _types(name, getattr(self, name))
        if not self.record:
            raise ConfigurationError("record is (); accepted is a tuple of at least one exception type")
        if self.classify is not None:
            check_function("classify", self.classify, "accepted is a function of an Outcome")

    def _check_thresholds(self) -> None:
        if self.failure_threshold is not None:
            check_whole("failure_threshold", self.failure_threshold, 1, 1_000_000)
        check_share("failure_rate_threshold", self.failure_rate_threshold, above_zero=True)
        check_whole("minimum_calls", self.minimum_calls, 1, 1_000_000)
        if not isinstance(self.window, CountWindow | TimeWindow):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"window is {self.window!r}; accepted is TimeWindow(seconds) or CountWindow(size)")
        if isinstance(self.window, CountWindow) and self.minimum_calls > self.window.size:
            raise ConfigurationError(
                f"minimum_calls is {self.minimum_calls}; accepted is at most the window's size, {self.window.size}"
            )
        if self.slow_call_rate_threshold is not None:
            check_share("slow_call_rate_threshold", self.slow_call_rate_threshold, above_zero=True)
            if self.slow_call_duration is None:
                raise ConfigurationError("slow_call_rate_threshold needs slow_call_duration, in seconds")

    def _check_recovery(self) -> None:
        check_number("recovery_timeout", self.recovery_timeout, "seconds")
        check_number("recovery_timeout_max", self.recovery_timeout_max, "seconds")
        check_number("recovery_backoff", self.recovery_backoff, "factors", least=1, most=100)
        check_share("recovery_jitter", self.recovery_jitter)
        check_whole("half_open_max_calls", self.half_open_max_calls, 1, 10_000)
        check_whole("half_open_max_concurrent", self.half_open_max_concurrent, 1, 10_000)
        if self.half_open_max_concurrent > max(self.half_open_max_calls, _DEFAULT_PROBES):
            raise ConfigurationError(
                f"half_open_max_concurrent is {self.half_open_max_concurrent}; "
                f"accepted is at most half_open_max_calls, {self.half_open_max_calls}"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, name: str = "circuit breaker") -> CircuitBreakerConfig:
        """A configuration from plain data, such as the guide's `CIRCUIT_BREAKER_CONFIGS["openai_api"]`.

        Args:
            values: Field names and values.
            name: Named in errors.

        Returns:
            The configuration.

        Raises:
            ConfigurationError: A name is unknown or a value out of range.
        """
        if not isinstance(values, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"{name}: {values!r:.200} is no mapping; accepted are field names and values")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            accepted = ", ".join(sorted(known))
            raise ConfigurationError(
                f"{name}: unknown setting {', '.join(map(repr, unknown))}; accepted are {accepted}"
            )
        try:
            return cls(**values)
        except ConfigurationError as error:
            raise ConfigurationError(f"{name}: {error.detail}") from error
