"""What a test suite needs that has to prove how a service behaves while its dependencies fail.

The Hypothesis model is in `testing.hypothesis`, which needs the extra `testing`; everything here needs no extra.
"""

from __future__ import annotations

from creatormate_resilience.testing._chaos import Chaos, ChaosStatistics
from creatormate_resilience.testing._clock import FakeClock
from creatormate_resilience.testing._disabled import disabled
from creatormate_resilience.testing._fault_proxy import FaultProxy
from creatormate_resilience.testing._flaky import AsyncFlaky, Flaky, aflaky, flaky
from creatormate_resilience.testing._instant import instant_retries
from creatormate_resilience.testing._recorder import Recorder, assert_transitions

__all__ = (
    "AsyncFlaky",
    "Chaos",
    "ChaosStatistics",
    "FakeClock",
    "FaultProxy",
    "Flaky",
    "Recorder",
    "aflaky",
    "assert_transitions",
    "disabled",
    "flaky",
    "instant_retries",
)
