"""What every policy is: something that can run a function for you, sync or async."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, Protocol, TypeVar

__all__ = ("Composed", "Policy", "compose")

P = ParamSpec("P")
T = TypeVar("T")


class Policy(Protocol):
    """Anything with `call` and `acall`: a breaker, a retry, a timeout, a whole pipeline."""

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a sync function under this policy and return what it returns."""
        ...

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function under this policy and return what it returns."""
        ...


class Composed:
    """Several policies as one; the first is outermost. Made by `compose`."""

    __slots__ = ("policies",)

    def __init__(self, policies: tuple[Policy, ...]) -> None:
        self.policies = policies

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a sync function under all policies."""

        def run(depth: int) -> T:
            if depth == len(self.policies):
                return fn(*args, **kwargs)
            return self.policies[depth].call(run, depth + 1)

        return run(0)

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function under all policies."""

        async def run(depth: int) -> T:
            if depth == len(self.policies):
                return await fn(*args, **kwargs)
            return await self.policies[depth].acall(run, depth + 1)

        return await run(0)

    def __repr__(self) -> str:
        return f"compose({', '.join(map(repr, self.policies))})"


def compose(*policies: Policy) -> Composed:
    """Nest policies so that the first is outermost and the last is nearest to the function.

    Args:
        policies: The policies, outermost first. None at all gives a policy that only calls.

    Returns:
        One policy that applies them all.
    """
    return Composed(policies)
