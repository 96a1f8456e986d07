"""What a test suite needs that has to prove how a service behaves while its dependencies fail."""

from __future__ import annotations

from creatormate_resilience.testing._clock import FakeClock
from creatormate_resilience.testing._fault_proxy import FaultProxy

__all__ = ("FakeClock", "FaultProxy")
