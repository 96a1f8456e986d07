"""Every type of the family, and one way to make any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from creatormate_resilience.exceptions import (
    CircuitOpenError,
    ExternalAPIError,
    MissingDependencyError,
    ResilienceError,
)

_PACKAGE = "creatormate_resilience."
TYPES = sorted(
    {cls for cls in ResilienceError.all_types() if cls.__module__.startswith(_PACKAGE)}, key=lambda cls: cls.__name__
)


def _make(cls: type[Any], detail: str | None = None, **options: Any) -> Any:
    if issubclass(cls, CircuitOpenError):
        return cls("payments", options.pop("retry_after", None) or 7.0, detail, **options)
    if issubclass(cls, MissingDependencyError):
        return cls("redis", extra="redis", needed_by="the cache", **options)
    if issubclass(cls, ExternalAPIError):
        return cls("OpenAI", detail, **options)
    return cls(detail, **options)


@pytest.fixture(params=TYPES, ids=lambda cls: cls.__name__)
def error_type(request: pytest.FixtureRequest) -> type[ResilienceError]:
    """Each type of the family in turn."""
    return request.param


@pytest.fixture(scope="session")
def all_types() -> list[type[ResilienceError]]:
    """All types of the family, this library's own."""
    return TYPES


@pytest.fixture(scope="session")
def make_error() -> Callable[..., ResilienceError]:
    """Makes an error of any type of the family."""
    return _make
