"""The whole breaker against a model that keeps every call and counts by hand, after every step."""

from __future__ import annotations

import os

from hypothesis import settings

from creatormate_resilience.breaker import CircuitBreakerConfig, CountWindow, TimeWindow
from creatormate_resilience.testing.hypothesis import BreakerModel

CONFIGS = {
    "count": CircuitBreakerConfig(minimum_calls=4, window=CountWindow(6), recovery_jitter=0.0),
    "time": CircuitBreakerConfig(minimum_calls=3, window=TimeWindow(10.0), half_open_max_calls=1, recovery_jitter=0.0),
    "streak": CircuitBreakerConfig(failure_threshold=3, minimum_calls=100, recovery_jitter=0.0, recovery_backoff=3.0),
    "slow": CircuitBreakerConfig(
        minimum_calls=2, window=CountWindow(5), slow_call_duration=2.0, slow_call_rate_threshold=0.6,
        failure_rate_threshold=0.75, half_open_max_calls=5, half_open_max_concurrent=2,
        half_open_max_wait=7.0, recovery_jitter=0.0,
    ),
    "watch": CircuitBreakerConfig(minimum_calls=3, slow_call_duration=1.0, recovery_jitter=0.0),
    "jitter": CircuitBreakerConfig(
        failure_threshold=2, recovery_jitter=0.5, recovery_timeout_max=400.0, half_open_max_calls=2, timeout=45.0
    ),
}  # fmt: skip

# 3,000 steps of each configuration; `HYPOTHESIS_PROFILE=nightly` makes 25,000 of them.
EXAMPLES = 500 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 60


def _case(name: str) -> type:
    model = type(f"BreakerModel_{name}", (BreakerModel,), {"config": CONFIGS[name]})
    case = model.TestCase
    case.settings = settings(max_examples=EXAMPLES, stateful_step_count=50, deadline=None)
    return case


TestCountWindow = _case("count")
TestTimeWindow = _case("time")
TestStreak = _case("streak")
TestSlowCalls = _case("slow")
TestWatchedSlowCalls = _case("watch")
TestJitter = _case("jitter")
