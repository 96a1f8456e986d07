"""How a circuit breaker decides; every value is checked when the configuration is made."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.outcome import Classifier

__all__ = ("CircuitBreakerConfig", "CountWindow", "TimeWindow")


_DEFAULT_PROBES = 3
_LARGEST = sys.float_info.max


def _is_number(value: object) -> bool:
    # Compared, because math.isfinite raises on an int that is too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST


def _seconds(name: str, value: Any) -> None:
    if not _is_number(value) or value <= 0:
        raise ConfigurationError(f"{name} is {value!r}; accepted are finite seconds above 0")


def _share(name: str, value: Any, *, above_zero: bool) -> None:
    if not _is_number(value) or not 0 <= value <= 1 or (above_zero and value == 0):
        raise ConfigurationError(f"{name} is {value!r}; accepted is {'above 0' if above_zero else '0'} to 1")


def _whole(name: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigurationError(f"{name} is {value!r}; accepted are whole numbers from {least} to {most}")


def _is_exception_type(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _types(name: str, value: Any) -> None:
    if not isinstance(value, tuple) or not all(map(_is_exception_type, value)):  # pyright: ignore[reportUnknownArgumentType]
        raise ConfigurationError(f"{name} is {value!r}; accepted is a tuple of exception types")


@dataclass(frozen=True, slots=True)
class CountWindow:
    """The last `size` calls."""

    size: int = 100

    def __post_init__(self) -> None:
        _whole("window size", self.size, 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The calls of the last `seconds`, in ten slices."""

    seconds: float = 60.0

    def __post_init__(self) -> None:
        _seconds("window seconds", self.seconds)


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
        ignore: Exceptions that count as nothing.
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
    record: tuple[type[BaseException], ...] = (Exception,)
    ignore: tuple[type[BaseException], ...] = ()
    classify: Classifier | None = None

    def __post_init__(self) -> None:
        self._check_thresholds()
        self._check_recovery()
        for name in ("slow_call_duration", "half_open_max_wait", "timeout"):
            if getattr(self, name) is not None:
                _seconds(name, getattr(self, name))
        for name in ("record", "ignore"):
            _types(name, getattr(self, name))
        if not self.record:
            raise ConfigurationError("record is (); accepted is a tuple of at least one exception type")
        if self.classify is not None and not callable(self.classify):
            raise ConfigurationError(f"classify is {self.classify!r}; accepted is a function of an Outcome")

    def _check_thresholds(self) -> None:
        if self.failure_threshold is not None:
            _whole("failure_threshold", self.failure_threshold, 1, 1_000_000)
        _share("failure_rate_threshold", self.failure_rate_threshold, above_zero=True)
        _whole("minimum_calls", self.minimum_calls, 1, 1_000_000)
        if not isinstance(self.window, CountWindow | TimeWindow):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"window is {self.window!r}; accepted is TimeWindow(seconds) or CountWindow(size)")
        if isinstance(self.window, CountWindow) and self.minimum_calls > self.window.size:
            raise ConfigurationError(
                f"minimum_calls is {self.minimum_calls}; accepted is at most the window's size, {self.window.size}"
            )
        if self.slow_call_rate_threshold is not None:
            _share("slow_call_rate_threshold", self.slow_call_rate_threshold, above_zero=True)
            if self.slow_call_duration is None:
                raise ConfigurationError("slow_call_rate_threshold needs slow_call_duration, in seconds")

    def _check_recovery(self) -> None:
        _seconds("recovery_timeout", self.recovery_timeout)
        _seconds("recovery_timeout_max", self.recovery_timeout_max)
        if not _is_number(self.recovery_backoff) or not 1 <= self.recovery_backoff <= 100:
            raise ConfigurationError(f"recovery_backoff is {self.recovery_backoff!r}; accepted are 1 to 100")
        _share("recovery_jitter", self.recovery_jitter, above_zero=False)
        _whole("half_open_max_calls", self.half_open_max_calls, 1, 10_000)
        _whole("half_open_max_concurrent", self.half_open_max_concurrent, 1, 10_000)
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
