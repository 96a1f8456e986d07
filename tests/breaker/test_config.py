"""Configurations: every value is checked, and the error names the field and the range."""

from __future__ import annotations

from typing import Any

import pytest

from creatormate_resilience.breaker import (
    BreakerState,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CountWindow,
    TimeWindow,
)
from creatormate_resilience.exceptions import ConfigurationError

SECONDS = [0, -1, float("nan"), float("inf"), "5", True, 10**400]
WHOLE = [0, -1, 1.5, "3", True, 10**9]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("recovery_timeout", "recovery_timeout_max") for value in [*SECONDS, None]],
        *[(name, value) for name in ("slow_call_duration", "half_open_max_wait", "timeout") for value in SECONDS],
        *[("failure_threshold", value) for value in WHOLE],
        *[
            (name, value)
            for name in ("minimum_calls", "half_open_max_calls", "half_open_max_concurrent")
            for value in [*WHOLE, None]
        ],
        *[("failure_rate_threshold", value) for value in (0, -0.1, 1.01, float("nan"), "0.5", None, True)],
        *[("recovery_jitter", value) for value in (-0.1, 1.01, float("nan"), None)],
        *[("recovery_backoff", value) for value in (0.9, 101, float("inf"), None)],
        *[("record", value) for value in (ValueError, (), "x", (1,), [ValueError])],
        *[("ignore", value) for value in (ValueError, "x", (int,), [ValueError])],
        *[("window", value) for value in (60, None, "60", {"seconds": 60})],
        *[("classify", value) for value in (7, "x", True)],
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_value_out_of_range_is_refused(name: str, value: Any):
    """Where it is given, not at the first call."""
    with pytest.raises(ConfigurationError, match=rf"^{name} is .*accepted"):
        CircuitBreakerConfig(**{name: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, None, True])
def test_a_window_out_of_range_is_refused(value):
    """The size is a number of calls, the seconds are a time."""
    with pytest.raises(ConfigurationError, match=r"window size is .*accepted"):
        CountWindow(value)
    if value != 1.5:
        with pytest.raises(ConfigurationError, match=r"window seconds is .*accepted"):
            TimeWindow(value)


def test_values_that_contradict_each_other_are_refused():
    """A window that can never hold enough calls, a slow rate of nothing, more probes at once than in all."""
    with pytest.raises(ConfigurationError, match="minimum_calls is 20; accepted is at most the window's size, 10"):
        CircuitBreakerConfig(window=CountWindow(10))
    with pytest.raises(ConfigurationError, match="slow_call_rate_threshold needs slow_call_duration"):
        CircuitBreakerConfig(slow_call_rate_threshold=0.5)
    with pytest.raises(ConfigurationError, match="half_open_max_concurrent is 5; accepted is at most"):
        CircuitBreakerConfig(half_open_max_calls=4, half_open_max_concurrent=5)
    assert CircuitBreakerConfig(half_open_max_calls=1).half_open_max_calls == 1


def test_the_guides_configuration_is_understood():
    """Plain data from settings, with the guide's names."""
    config = CircuitBreakerConfig.from_mapping({"failure_threshold": 3, "recovery_timeout": 30, "timeout": 60})
    assert config == CircuitBreakerConfig(failure_threshold=3, recovery_timeout=30, timeout=60)


def test_plain_data_that_is_wrong_names_the_breaker():
    """An operator finds the line in the settings."""
    with pytest.raises(
        ConfigurationError, match=r"openai: unknown setting 'failure_treshold'; accepted are .*classify"
    ):
        CircuitBreakerConfig.from_mapping({"failure_treshold": 3}, name="openai")
    with pytest.raises(ConfigurationError, match="openai: timeout is 0"):
        CircuitBreakerConfig.from_mapping({"timeout": 0}, name="openai")


@pytest.mark.parametrize("name", ["", None, 7, b"x"])
def test_a_breaker_needs_a_name(name):
    """Everything it says names it."""
    with pytest.raises(ConfigurationError, match=r"name is .*accepted"):
        CircuitBreaker(name)


@pytest.mark.parametrize("config", [{"timeout": 3}, 3, CircuitBreakerConfig])
def test_a_breaker_needs_a_configuration(config):
    """Plain data goes through `from_mapping`."""
    with pytest.raises(ConfigurationError, match=r"config is .*accepted is a CircuitBreakerConfig"):
        CircuitBreaker("x", config)


@pytest.mark.parametrize("state", ["ajar", None, 1])
def test_an_unknown_initial_state_is_refused(state):
    """The error names the states there are."""
    with pytest.raises(ConfigurationError, match=r"initial_state is .*accepted are .*half_open"):
        CircuitBreaker("x", initial_state=state)


def test_an_initial_state_may_be_given_by_its_name():
    """Settings know states as text."""
    breaker = CircuitBreaker("x", initial_state="forced_open")  # type: ignore[arg-type]
    assert breaker.state is BreakerState.FORCED_OPEN
    with pytest.raises(Exception, match="is open"):
        breaker.acquire()


@pytest.mark.parametrize("wait", [0, -1, float("nan"), float("inf"), "5", True])
def test_tripping_for_a_time_that_is_none_is_refused(wait):
    """The error names the parameter."""
    with pytest.raises(ValueError, match=r"retry_after is .*accepted are finite seconds above 0"):
        CircuitBreaker("x").trip(retry_after=wait)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: CircuitBreaker("a", clock=1), "clock"),
        (lambda: CircuitBreaker("a", store={}), "store"),
        (lambda: CircuitBreaker("a", listeners=print), "listeners"),
        (lambda: CircuitBreaker("a", listeners=[1]), "listeners"),
        (lambda: CircuitBreakerRegistry([1]), "configs"),
        (lambda: CircuitBreakerRegistry(default=3), "default"),
        (lambda: CircuitBreakerRegistry(default={"failure_threshold": 3}), "default"),
        (lambda: CircuitBreakerRegistry(initial_state="x"), "initial_state"),
        (lambda: CircuitBreakerRegistry(clock=1), "clock"),
        (lambda: CircuitBreakerRegistry(store=1), "store"),
        (lambda: CircuitBreakerConfig.from_mapping(3), "circuit breaker"),
    ],
)
def test_parts_of_the_wrong_kind_are_refused_by_name(make, named):
    """When they are given, not at the first call that needs them."""
    with pytest.raises(ConfigurationError, match=rf"^{named}.*; accepted"):
        make()


def test_a_breakers_configuration_stays_what_it_is():
    """Half of it would else be the old one's."""
    breaker = CircuitBreaker("x")
    with pytest.raises(AttributeError):
        breaker.config = CircuitBreakerConfig(failure_threshold=1)  # type: ignore[misc]
    assert breaker.config == CircuitBreakerConfig()


@pytest.mark.parametrize("seconds", [1e-320, 0.0009, 0])
def test_a_window_too_short_to_be_cut_into_slices_is_refused(seconds):
    """Where it is made."""
    with pytest.raises(ConfigurationError, match=r"window seconds is .*; accepted are finite seconds from 0\.001"):
        TimeWindow(seconds)


@pytest.mark.parametrize(
    "seconds", [10**400, float("inf"), float("nan"), 0, -1, True, "5"], ids=lambda each: str(each)[:5]
)
def test_a_time_to_be_open_that_is_none_is_refused(seconds):
    """With the ordinary error, and the circuit stays as it was."""
    breaker = CircuitBreaker("x")
    with pytest.raises(ValueError, match=r"retry_after is .*; accepted are finite seconds above 0"):
        breaker.trip(seconds)
    assert breaker.state == "closed"


@pytest.mark.parametrize("name", ["timeout", "slow_call_duration", "half_open_max_wait"])
def test_times_beyond_all_sense_are_refused(name):
    """A loop's timer could not be set so late."""
    with pytest.raises(ConfigurationError, match=rf"{name} is .*; accepted are finite seconds above 0 to 1e\+09"):
        CircuitBreakerConfig(**{name: 1e308})
