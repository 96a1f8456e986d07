"""Composing and decorating: the order, the kind of function, and what is refused."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.policy import compose, decorate, is_async, refuse_awaitable

pytestmark = pytest.mark.anyio


class Recorder:
    """A policy that only says when it was entered and left."""

    def __init__(self, name: str, log: list[str], *, async_only: bool = False) -> None:
        self.name = name
        self.log = log
        self.async_only = async_only

    def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.log.append(f"+{self.name}")
        try:
            return fn(*args, **kwargs)
        finally:
            self.log.append(f"-{self.name}")

    async def acall(self, fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        self.log.append(f"+{self.name}")
        try:
            return await fn(*args, **kwargs)
        finally:
            self.log.append(f"-{self.name}")

    def __repr__(self) -> str:
        return self.name


class Twice(Recorder):
    """Calls twice, as a retry does."""

    def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        super().call(fn, *args, **kwargs)
        return super().call(fn, *args, **kwargs)


async def test_the_first_policy_is_outermost():
    """For sync and async functions; arguments and result pass through all of them."""
    log: list[str] = []
    policy = compose(Recorder("a", log), Recorder("b", log))

    def add(x: int, *, y: int) -> int:
        log.append("fn")
        return x + y

    async def aadd(x: int, *, y: int) -> int:
        return add(x, y=y)

    assert policy.call(add, 1, y=2) == 3
    assert await policy.acall(aadd, 1, y=2) == 3
    assert log == ["+a", "+b", "fn", "-b", "-a"] * 2
    assert repr(policy) == "compose(a, b)"


def test_a_policy_that_calls_twice_runs_everything_inside_twice():
    """The inner policies see each attempt."""
    log: list[str] = []
    compose(Twice("a", log), Recorder("b", log)).call(lambda: log.append("fn"))
    assert log == ["+a", "+b", "fn", "-b", "-a"] * 2


def test_no_policies_only_call():
    """The empty composition is the identity."""
    assert compose().call(lambda x: x, 7) == 7


class Service:
    """Functions of every kind."""

    def plain(self, x: int) -> int:
        return x

    async def coroutine(self, x: int) -> int:
        return x

    async def __call__(self, x: int) -> int:
        return x


async def test_a_decorated_function_keeps_its_kind_name_and_signature():
    """Also as a method, under `partial`, and as an object with an async `__call__`."""
    log: list[str] = []
    policy = Recorder("a", log)

    class Decorated:
        def __init__(self, base: int) -> None:
            self.base = base

        @functools.partial(decorate, policy)
        def plain(self, x: int) -> int:
            """Adds."""
            return self.base + x

        @functools.partial(decorate, policy)
        async def coroutine(self, x: int) -> int:
            return self.base + x

    assert Decorated(1).plain(2) == 3
    assert await Decorated(1).coroutine(2) == 3
    assert (Decorated.plain.__name__, Decorated.plain.__doc__) == ("plain", "Adds.")
    assert inspect.iscoroutinefunction(Decorated.coroutine)
    assert not inspect.iscoroutinefunction(Decorated.plain)
    assert inspect.signature(Decorated.plain) == inspect.signature(Service.plain)
    static = type("Static", (), {"f": decorate(policy, staticmethod(Service().plain))})
    assert static().f(7) == static.f(7) == 7
    assert await decorate(policy, functools.partial(Service().coroutine, 7))() == 7
    assert await decorate(policy, Service())(8) == 8


def generator() -> Iterator[int]:
    """Yields."""
    yield 1


async def async_generator() -> AsyncIterator[int]:
    """Yields."""
    yield 1


@pytest.mark.parametrize("fn", [generator, async_generator, functools.partial(generator)])
def test_generators_are_refused(fn):
    """Their work begins after the call has ended, so a policy around the call would do nothing."""
    with pytest.raises(ConfigurationError, match="generator"):
        decorate(Recorder("a", []), fn)


def test_an_async_only_policy_refuses_a_sync_function():
    """It could not interrupt it."""
    with pytest.raises(ConfigurationError, match=r"cannot interrupt .*plain, which is not async"):
        decorate(Recorder("a", [], async_only=True), Service().plain)


@pytest.mark.parametrize("thing", [7, "name", None, [1]])
def test_what_is_no_function_is_refused(thing):
    """The error says what was given."""
    with pytest.raises(TypeError, match=f"decorates functions; got {type(thing).__name__}"):
        decorate(Recorder("a", []), thing)


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (Service().plain, False),
        (Service().coroutine, True),
        (Service(), True),
        (Service, False),
        (functools.partial(functools.partial(Service().coroutine)), True),
        (functools.partial(Service()), True),
        (functools.partial(len), False),
        (lambda: None, False),
        (print, False),
        (int, False),
    ],
)
def test_async_functions_are_recognised(fn, expected):
    """By what calling them gives; a class gives an object, whatever its objects give."""
    assert is_async(fn) is expected


async def test_an_awaitable_from_a_sync_call_is_closed_and_refused():
    """The error says what to do, and no coroutine is left unawaited."""
    coroutine = Service().coroutine(1)
    with pytest.raises(TypeError, match=r"plain returned an awaitable to a sync call; declare it `async def`"):
        refuse_awaitable(coroutine, Service().plain)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
