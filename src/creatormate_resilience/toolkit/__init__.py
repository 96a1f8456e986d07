"""`Resilience`: breakers, services, cache, database, tasks and health of one application, one start and one end."""

from __future__ import annotations

from creatormate_resilience.toolkit._resilience import Resilience, close_default, current_resilience

__all__ = ("Resilience", "close_default", "current_resilience")
