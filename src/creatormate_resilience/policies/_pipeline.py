"""Several policies under one name, in an order that makes sense."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Generic, Never, ParamSpec, TypeVar, cast, overload

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.options import check_text
from creatormate_resilience.policies._budget import RetryBudget
from creatormate_resilience.policies._fallback import Fallback
from creatormate_resilience.policies._hedge import Hedge
from creatormate_resilience.policies._order import check_order
from creatormate_resilience.policies._retry import Retry
from creatormate_resilience.policy import Policy, decorate

__all__ = ("Pipeline",)

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F")
F_co = TypeVar("F_co", covariant=True)


class Pipeline(Generic[F_co]):
    """Policies around a call; the first is outermost, and the whole is a policy again.

    Args:
        name: Of the dependency; in reprs and errors.
        *policies: Outermost first; the usual order is `Fallback, RateLimiter, Timeout, Retry, breaker, Hedge, Bulkhead,
            Timeout`. Anything with `call` and `acall` is a policy.

    Raises:
        ConfigurationError: There are no policies, one is not a policy, or they stand in an order that cannot work: an
            inner timeout that could never strike, a retry inside a breaker, a hedge around a retry, a fallback that
            hides every failure from a policy around it, the same policy twice.

    An order that works and is seldom meant is logged as a warning, once. A function under a pipeline with a `Fallback`
    returns its own type or the substitute's.
    """

    @overload
    def __init__(
        self: Pipeline[F], name: str, fallback: Fallback[F], /, *policies: Policy | Fallback[F] | Pipeline[F]
    ) -> None: ...
    @overload
    def __init__(self: Pipeline[Never], name: str, *policies: Policy) -> None: ...
    @overload
    def __init__(self: Pipeline[F], name: str, *policies: Policy | Fallback[F] | Pipeline[F]) -> None: ...
    def __init__(self, name: str, *policies: Any) -> None:
        check_text("name", name)
        if not policies:
            raise ConfigurationError(f"pipeline {name!r} has no policies; name at least one")
        for policy in policies:
            usable = callable(getattr(policy, "call", None)) and callable(getattr(policy, "acall", None))
            if isinstance(policy, type) or not usable:
                raise ConfigurationError(f"pipeline {name!r}: {policy!r} is not a policy; it needs `call` and `acall`")
        check_order(name, policies)
        self.name = name
        self.policies: tuple[Policy, ...] = policies
        self._inner_first = tuple(reversed(list(_as_placed(policies))))
        self._calls = tuple(policy.call for policy in self._inner_first)
        self._acalls = tuple(policy.acall for policy in self._inner_first)

    @property
    def async_only(self) -> bool:
        """Whether a policy in it can serve async functions only."""
        return any(getattr(policy, "async_only", False) for policy in self.policies)

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, Coroutine[Any, Any, T | F_co]]: ...
    @overload
    def __call__(self, fn: Callable[P, Awaitable[T]], /) -> Callable[P, Awaitable[T | F_co]]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T | F_co]: ...
    def __call__(self, fn: Callable[P, Any], /) -> Callable[P, Any]:
        """Put a function under all policies; keeps its kind and parameters.

        Raises:
            ConfigurationError: The function is sync and a policy cannot serve it.
        """
        protected: Any = fn
        for policy in self._inner_first:  # a policy that is a decorator has a shorter way than `call`
            protected = cast("Any", policy)(protected) if callable(policy) else decorate(policy, protected)
        return cast("Callable[P, Any]", protected)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | F_co:
        """Run a sync function under all policies."""
        run: Any = fn
        for call in self._calls:
            run = functools.partial(call, run)
        return cast("T | F_co", run(*args, **kwargs))

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T | F_co:
        """Run an async function under all policies."""
        run: Any = fn
        for acall in self._acalls:
            run = functools.partial(acall, run)
        return cast("T | F_co", await run(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r}: {' > '.join(map(repr, self.policies))}>"


def _as_placed(policies: tuple[Policy, ...]) -> Iterator[Policy]:
    """The policies; a hedge inside of a retry with the same budget would else tell it of each call a second time."""
    told: list[RetryBudget | None] = []
    for policy in policies:
        if isinstance(policy, Retry):
            told.append(policy.config.budget)
        shared = isinstance(policy, Hedge) and policy.config.budget is not None and policy.config.budget in told
        yield policy.inside_retry() if isinstance(policy, Hedge) and shared else policy
