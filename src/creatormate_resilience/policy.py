"""What every policy is: something that can run a function for you, sync or async."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, ParamSpec, Protocol, TypeVar, cast

from creatormate_resilience.exceptions import ConfigurationError

__all__ = (
    "Composed",
    "Policy",
    "check_decorated",
    "compose",
    "decorate",
    "is_async",
    "refuse_awaitable",
    "refuse_awaitables",
)

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
        run: Callable[..., T] = fn
        for policy in reversed(self.policies):
            run = functools.partial(policy.call, run)
        return run(*args, **kwargs)

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function under all policies."""
        run: Callable[..., Awaitable[T]] = fn
        for policy in reversed(self.policies):
            run = functools.partial(policy.acall, run)
        return await run(*args, **kwargs)

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


def decorate(policy: Policy, fn: Callable[P, T]) -> Callable[P, T]:
    """Put a function under a policy for good, keeping its kind and signature.

    Args:
        policy: What to run it under. One whose `async_only` is true refuses sync functions.
        fn: A `def` or `async def` function or method.

    Returns:
        The protected function.

    Raises:
        TypeError: It is not a function.
        ConfigurationError: It is a generator, or a sync function that the policy cannot serve.
    """
    check_decorated(policy, fn)
    name = getattr(fn, "__qualname__", repr(fn))
    if isinstance(fn, staticmethod):  # stays one, else it would be given the instance
        return cast("Callable[P, T]", staticmethod(decorate(policy, cast("Any", fn).__func__)))
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise ConfigurationError(f"{policy!r} cannot run {name}: a generator's work begins after the call has ended")
    if is_async(fn):
        return cast("Callable[P, T]", _decorate_async(policy, cast("Callable[P, Awaitable[Any]]", fn)))
    if getattr(policy, "async_only", False):
        raise ConfigurationError(f"{policy!r} cannot interrupt {name}, which is not async")

    @functools.wraps(fn)
    def protected(*args: P.args, **kwargs: P.kwargs) -> T:
        return policy.call(fn, *args, **kwargs)

    return protected


def check_decorated(policy: object, fn: object) -> None:
    """See that what is decorated can be called and is no class.

    Raises:
        TypeError: It is something else. A class under a policy would be no class any more, and the making of its
            objects is seldom what fails.
    """
    if isinstance(fn, type):
        raise TypeError(f"{policy!r} decorates functions; got the class {fn.__qualname__}")
    if not callable(fn):
        raise TypeError(f"{policy!r} decorates functions; got {type(fn).__name__}")


def _decorate_async(policy: Policy, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    @functools.wraps(fn)
    async def protected(*args: P.args, **kwargs: P.kwargs) -> T:
        return await policy.acall(fn, *args, **kwargs)

    return protected


def is_async(fn: Any) -> bool:
    """Whether calling gives an awaitable: an `async def`, also under `partial` and as `__call__` of an object."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, type):  # calling it gives an object, whatever calling that one gives
        return False
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def refuse_awaitables(result: object, fn: Callable[..., Any]) -> type:
    """See that a sync call has returned no awaitable.

    Args:
        result: What it returned.
        fn: What was called, for the error.

    Returns:
        A type whose values need no second look: the result's own, or one that nothing has.

    Raises:
        TypeError: It is an awaitable; a coroutine is closed.
    """
    kind = type(result)
    if kind is types.GeneratorType:  # it may be a coroutine of the old kind, and the next one not
        kind = _NoType
    if inspect.isawaitable(result):
        refuse_awaitable(result, fn)
    return kind


class _NoType:
    """Nothing is of this type."""


def refuse_awaitable(result: object, fn: Callable[..., Any]) -> NoReturn:
    """Close what a sync call should not have returned, and say what to do.

    Raises:
        TypeError: Always.
    """
    if inspect.iscoroutine(result):
        result.close()
    name = getattr(fn, "__qualname__", repr(fn))
    raise TypeError(f"{name} returned an awaitable to a sync call; declare it `async def`, or use acall")
