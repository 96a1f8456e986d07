"""Hypothesis: a model that checks a configuration of yours against every order of events."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from creatormate_resilience.exceptions import MissingDependencyError

_INSTALLED = find_spec("hypothesis") is not None
if TYPE_CHECKING or _INSTALLED:
    from creatormate_resilience.testing._breaker_model import BreakerModel
else:

    class BreakerModel:
        """What stands here without hypothesis: refuses to be subclassed or made."""

        def __init_subclass__(cls, **options: Any) -> None:
            raise MissingDependencyError("hypothesis", extra="testing", needed_by="BreakerModel")

        def __init__(self) -> None:
            raise MissingDependencyError("hypothesis", extra="testing", needed_by="BreakerModel")


__all__ = ("BreakerModel",)
