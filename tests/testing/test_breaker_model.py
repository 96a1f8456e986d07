"""`BreakerModel`: finds breakers that do otherwise than their configuration says."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from creatormate_resilience.breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig, CountWindow, TimeWindow
from creatormate_resilience.exceptions import ConfigurationError, ExternalAPIUnavailableError
from creatormate_resilience.outcome import Outcome, OutcomeKind
from creatormate_resilience.testing import FakeClock
from creatormate_resilience.testing.hypothesis import BreakerModel

# Only looked for: making a counterexample small is Hypothesis' work, and takes time.
LOOK = settings(
    max_examples=300, stateful_step_count=50, deadline=None, database=None, derandomize=True, phases=[Phase.generate]
)
QUICK = settings(LOOK, max_examples=30)

BASE = CircuitBreakerConfig(
    failure_threshold=3, minimum_calls=4, window=CountWindow(6), slow_call_duration=2.0, slow_call_rate_threshold=0.6,
    half_open_max_calls=2, half_open_max_concurrent=2, half_open_max_wait=7.0, recovery_timeout=30.0,
    recovery_timeout_max=100.0, recovery_jitter=0.1,
)  # fmt: skip


def model(config: CircuitBreakerConfig, **members: Any) -> type[BreakerModel]:
    return type("Model", (BreakerModel,), {"config": config, **members})


@pytest.mark.parametrize(
    "change",
    [
        {"failure_threshold": 4},
        {"failure_threshold": None},
        {"failure_rate_threshold": 0.9},
        {"minimum_calls": 3},
        {"window": CountWindow(7)},
        {"window": TimeWindow(30.0)},
        {"slow_call_duration": 2.5},
        {"slow_call_rate_threshold": 0.9},
        {"half_open_max_calls": 3},
        {"half_open_max_concurrent": 1},
        {"half_open_max_wait": 20.0},
        {"recovery_timeout": 29.0},
        {"recovery_timeout_max": 50.0},
        {"recovery_backoff": 3.0},
        {"recovery_jitter": 0.5},
    ],
    ids=lambda change: next(iter(change)) + "-" + str(next(iter(change.values()))),
)
def test_a_breaker_that_decides_otherwise_is_found(change):
    """One number of the configuration is wrong in the breaker, and the model tells it by what the breaker does."""

    def make_breaker(self: BreakerModel, clock: FakeClock) -> CircuitBreaker:
        return CircuitBreaker("wrong", replace(BASE, **change), clock=clock)

    with pytest.raises(AssertionError, match=r"the breaker says .*, the model"):
        run_state_machine_as_test(model(BASE, make_breaker=make_breaker), settings=LOOK)


def sees_results(outcome: Outcome) -> OutcomeKind:
    """Everything that is not 200 failed."""
    return OutcomeKind.SUCCESS if outcome.result == 200 else OutcomeKind.FAILURE


@pytest.mark.parametrize(
    ("config", "members"),
    [
        (CircuitBreakerConfig(), {}),
        (BASE, {}),
        (CircuitBreakerConfig(window=TimeWindow(0.7), minimum_calls=2, failure_rate_threshold=0.7), {}),
        (CircuitBreakerConfig(failure_threshold=1, recovery_timeout=900, timeout=2000.0), {}),
        (CircuitBreakerConfig(failure_threshold=1, recovery_timeout=50, recovery_timeout_max=10), {}),
        (
            CircuitBreakerConfig(failure_threshold=2, record=(KeyError,)),
            {"make_failure": lambda self: KeyError("k"), "make_ignored": lambda self: None},
        ),
        (
            CircuitBreakerConfig(failure_threshold=2, classify=sees_results),
            {"make_result": lambda self: 200, "make_ignored": lambda self: None},
        ),
        (
            CircuitBreakerConfig(failure_threshold=2, half_open_max_calls=1, recovery_timeout_max=300),
            {"make_failure": lambda self: ExternalAPIUnavailableError("shop", retry_after=77)},
        ),
    ],
    ids=["default", "base", "tiny window", "long timeout", "small maximum", "record", "classify", "hint"],
)
def test_any_configuration_can_be_checked(config, members):
    """The model follows windows, jitter, timeouts, classifiers and the hints of a dependency."""
    run_state_machine_as_test(model(config, **members), settings=QUICK)


def test_samples_that_the_configuration_counts_otherwise_are_named():
    """Else the model would be wrong and the breaker be blamed."""
    with pytest.raises(ConfigurationError, match=r"make_failure\(\) gives TimeoutError"):
        run_state_machine_as_test(model(CircuitBreakerConfig(record=(KeyError,))), settings=QUICK)
    with pytest.raises(ConfigurationError, match=r"make_result\(\) gives what `config` does not count"):
        run_state_machine_as_test(model(CircuitBreakerConfig(classify=sees_results)), settings=QUICK)
    with pytest.raises(ConfigurationError, match=r"make_ignored\(\) gives TimeoutError"):
        wrong = model(BASE, make_ignored=lambda self: TimeoutError())
        run_state_machine_as_test(wrong, settings=QUICK)


def test_rules_and_invariants_of_ones_own_are_run():
    """A subclass sees breaker and clock, and its wrong belief is refuted."""

    class Believes(BreakerModel):
        config = BASE

        @rule()
        def nothing(self) -> None:
            """Does nothing."""

        @invariant()
        def is_never_half_open(self) -> None:
            assert self.breaker.state is not BreakerState.HALF_OPEN, self.clock

    with pytest.raises(AssertionError, match="FakeClock"):
        run_state_machine_as_test(Believes, settings=LOOK)


WITHOUT_HYPOTHESIS = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "hypothesis" else found(name, *rest)
sys.modules["hypothesis"] = None
import creatormate_resilience.testing
from creatormate_resilience.exceptions import MissingDependencyError
from creatormate_resilience.testing.hypothesis import BreakerModel
try:
    class Mine(BreakerModel): pass
except MissingDependencyError as error:
    print(error)
"""


def test_without_hypothesis_the_kit_works_and_the_model_says_what_to_install():
    """And with it, only who asks for the model loads it."""
    shown = subprocess.run([sys.executable, "-c", WITHOUT_HYPOTHESIS], capture_output=True, text=True, check=True)
    assert "BreakerModel needs the package 'hypothesis'" in shown.stdout
    assert 'pip install "creatormate-resilience[testing]"' in shown.stdout
    code = "import sys, creatormate_resilience.testing; print('hypothesis' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"
