"""`@task`: options that a function carries with it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar, Unpack

from creatormate_resilience.tasks._options import TaskOptions, TaskOptionValues

__all__ = ("declared_options", "is_declared", "name_of", "task")

P = ParamSpec("P")
T = TypeVar("T")
_ATTRIBUTE: Final = "__creatormate_task__"


def task(**values: Unpack[TaskOptionValues]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Declare how a function is run when it is submitted; called directly it is the same function as before.

    Options given at the submission win over these.

    Args:
        **values: See `TaskOptions`.

    Returns:
        A decorator; it returns the function itself, marked.

    Raises:
        ValueError: An option is out of its range.
        TypeError: An option is of a type that is not accepted, or unknown.
    """
    TaskOptions(**values)  # checks them here and now

    def declare(fn: Callable[P, T]) -> Callable[P, T]:
        setattr(fn, _ATTRIBUTE, values)
        return fn

    return declare


def declared_options(fn: Callable[..., Any]) -> TaskOptionValues:
    """The options a function, also one inside a `functools.partial`, was declared with; none for one that was not."""
    return getattr(_innermost(fn), _ATTRIBUTE, None) or TaskOptionValues()


def is_declared(fn: Callable[..., Any]) -> bool:
    """Whether the function itself was declared with `task`."""
    return _ATTRIBUTE in getattr(fn, "__dict__", ())  # not `hasattr`: some objects answer to every name


def name_of(fn: Callable[..., Any]) -> str:
    """What to call a task that was given no name."""
    inner = _innermost(fn)
    return getattr(inner, "__qualname__", None) or type(inner).__qualname__


def _innermost(fn: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn
