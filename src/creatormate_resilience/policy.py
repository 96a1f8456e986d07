"""What every policy is: something that can run a function for you, sync or async."""

from __future__ import annotations

import contextlib
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
    "explain_miscall",
    "is_async",
    "refuse_awaitable",
    "refuse_awaitables",
)

P = ParamSpec("P")
T = TypeVar("T")

# All that these two make is one function each, around a generator function that is its `__wrapped__`.
_MAKERS: tuple[Any, ...] = (contextlib.contextmanager, contextlib.asynccontextmanager)
_MAKES_CONTEXTS = frozenset(make(iter).__code__ for make in _MAKERS)
_LATER = (types.GeneratorType, types.AsyncGeneratorType, contextlib.ContextDecorator, contextlib.AsyncContextDecorator)
"""What may be handed out before any work was done."""


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
    """See that what is decorated can be called, is no class, and works when it is called.

    Raises:
        TypeError: It is something else. A class under a policy would be no class any more, and the making of its
            objects is seldom what fails.
        ConfigurationError: It was made by `contextlib`: its body runs after the call has ended.
    """
    if isinstance(fn, type):
        raise TypeError(f"{policy!r} decorates functions; got the class {fn.__qualname__}")
    if isinstance(fn, classmethod | property):
        kind = type(cast("object", fn)).__name__
        raise TypeError(f"{policy!r} decorates functions; got {kind}; swap the two, so that @{kind} stands above it")
    if not callable(fn):
        _close(fn)
        raise TypeError(f"{policy!r} decorates functions; got {type(fn).__name__}")
    if _makes_context(fn):
        raise ConfigurationError(f"{policy!r} cannot protect {_name(fn)}: {_CONTEXT_ADVICE}")


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
    """See that a sync call has done its work: that it returned no awaitable, and no generator of its own.

    Args:
        result: What it returned.
        fn: What was called, for the error.

    Returns:
        A type whose values need no second look: the result's own, or one that nothing has.

    Raises:
        TypeError: It is an awaitable; a coroutine is closed.
        ConfigurationError: The function is a generator function, or one made by `contextlib`, so that nothing has run.
    """
    if inspect.isawaitable(result):
        refuse_awaitable(result, fn)
    if isinstance(result, _LATER):
        _refuse_later(cast("object", result), fn)
        return _NoType  # the next one of this type may be another's
    return type(result)


def _refuse_later(result: object, fn: Callable[..., Any]) -> None:
    inner: Any = fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    if _makes_context(inner):
        raise ConfigurationError(f"{_name(fn)} was called under a policy: {_CONTEXT_ADVICE}")
    around = (inner, getattr(inner, "__wrapped__", None))
    if any(inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in around):
        _close(result)
        raise ConfigurationError(
            f"{_name(fn)} was called under a policy: a generator's work begins after the call has ended; "
            "decorate it with a breaker or a retry, or call what uses it up"
        )


def _makes_context(fn: object) -> bool:
    while isinstance(fn, functools.partial):
        fn = cast("object", fn.func)
    return getattr(fn, "__code__", None) in _MAKES_CONTEXTS


def explain_miscall(error: BaseException, fn: object) -> None:
    """Say better what is wrong where an async call could not even be made; call this where the error was caught.

    Args:
        error: What calling and awaiting raised.
        fn: What was called.

    Raises:
        TypeError: It is a coroutine, which is closed, or what it returned cannot be awaited. Else nothing is raised.
    """
    if type(error) is not TypeError:
        return
    trace = error.__traceback__
    if trace is None or trace.tb_next is not None:  # raised further in
        return
    if inspect.iscoroutine(fn):
        _close(fn)
        raise TypeError(
            f"acall was given the coroutine of {_name(fn)}; give it the function, and the arguments"
        ) from None
    if str(error).endswith(_NOT_AWAITABLE) and not is_async(fn):
        raise TypeError(
            f"{_name(fn)} returned nothing that can be awaited to acall; declare it `async def`, or use call"
        ) from None


def _close(value: object) -> None:
    """So that nobody is warned of work that was never begun."""
    if inspect.iscoroutine(value) or inspect.isgenerator(value):
        value.close()


def _name(fn: object) -> str:
    """What to call it in an error: never its `repr`, which for a partial shows the arguments."""
    while isinstance(fn, functools.partial):
        fn = cast("object", fn.func)
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


class _NoType:
    """Nothing is of this type."""


_NOT_AWAITABLE = ("in 'await' expression", "can't be awaited")  # CPython until 3.13, and since
_CONTEXT_ADVICE = (
    "a context manager's body runs after the call has ended; "
    "protect the body with `with policy.guard():`, or what it calls"
)


def refuse_awaitable(result: object, fn: Callable[..., Any]) -> NoReturn:
    """Close what a sync call should not have returned, and say what to do.

    Raises:
        TypeError: Always.
    """
    if inspect.iscoroutine(result):
        result.close()
    raise TypeError(f"{_name(fn)} returned an awaitable to a sync call; declare it `async def`, or use acall")
