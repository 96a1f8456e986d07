"""Several policies under one name, checked for an order that makes sense."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from typing import ParamSpec, TypeVar

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.policies._timeout import Timeout
from creatormate_resilience.policy import Composed, Policy, compose, decorate

__all__ = ("Pipeline",)

P = ParamSpec("P")
T = TypeVar("T")


class Pipeline:
    """Policies around a call; the first is outermost, and the whole is a policy again.

    Args:
        name: Of the dependency; in reprs and errors.
        *policies: Outermost first; the usual order is `Fallback, Timeout, Retry, breaker, Bulkhead, Timeout`.

    Raises:
        ConfigurationError: There are no policies, one is not a policy, or an inner timeout could never strike because
            an outer one is shorter.
    """

    def __init__(self, name: str, *policies: Policy) -> None:
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"name is {name!r}; accepted is a text that is not empty")
        if not policies:
            raise ConfigurationError(f"pipeline {name!r} has no policies; name at least one")
        for policy in policies:
            usable = callable(getattr(policy, "call", None)) and callable(getattr(policy, "acall", None))
            if isinstance(policy, type) or not usable:
                raise ConfigurationError(f"pipeline {name!r}: {policy!r} is not a policy; it needs `call` and `acall`")
        _check_timeouts(name, policies)
        self.name = name
        self.policies = policies
        self._composed = compose(*policies)

    @property
    def async_only(self) -> bool:
        """Whether a policy in it can serve async functions only."""
        return any(getattr(policy, "async_only", False) for policy in self.policies)

    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]:
        """Put a function under all policies; keeps its kind and signature.

        Raises:
            ConfigurationError: The function is sync and a policy cannot serve it.
        """
        return decorate(self, fn)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a sync function under all policies."""
        return self._composed.call(fn, *args, **kwargs)

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function under all policies."""
        return await self._composed.acall(fn, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r}: {' > '.join(map(repr, self.policies))}>"


def _timeouts(policies: tuple[Policy, ...]) -> Iterator[float]:
    for policy in policies:
        if isinstance(policy, Timeout):
            yield policy.seconds
        elif isinstance(policy, Pipeline | Composed):
            yield from _timeouts(policy.policies)


def _check_timeouts(name: str, policies: tuple[Policy, ...]) -> None:
    for outer, inner in pairwise(_timeouts(policies)):
        if outer < inner:
            raise ConfigurationError(
                f"pipeline {name!r}: the outer timeout of {outer:g} s strikes before the inner one of {inner:g} s can; "
                "give the outer the larger number"
            )
