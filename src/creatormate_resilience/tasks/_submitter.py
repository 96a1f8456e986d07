"""Submitting under given options."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, overload

from creatormate_resilience.tasks._declaration import declared_options, name_of
from creatormate_resilience.tasks._engine import Engine, TaskRequest, TaskSpec, make_request
from creatormate_resilience.tasks._handle import TaskHandle
from creatormate_resilience.tasks._kinds import choose_kind
from creatormate_resilience.tasks._options import TaskOptions, TaskOptionValues
from creatormate_resilience.tasks._periodic import PeriodicTask, PeriodicTasks, Schedule, every

__all__ = ("TaskSubmitter",)

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TaskSubmitter:
    """Submits functions under the options it was made with; from `TaskExecutor.options`.

    Because options are given here, every keyword of `submit` belongs to the function.
    """

    __slots__ = ("_engine", "_last", "_options", "_periodic", "_values")

    def __init__(self, engine: Engine, periodic: PeriodicTasks, values: TaskOptionValues) -> None:
        self._engine = engine
        self._periodic = periodic
        self._values = values
        self._options = TaskOptions(**values)
        self._last: tuple[Callable[[], object], TaskSpec] | None = None

    @overload
    async def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]: ...
    @overload
    async def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[T]: ...
    async def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskHandle[Any]:
        """Hand a function over to be run in the background; see `TaskExecutor.submit`."""
        (task,) = await self._engine.submit((make_request((fn, args, kwargs, self._spec(fn))),))
        return TaskHandle(task)

    @overload
    async def submit_many(
        self, fn: Callable[[*Ts], Coroutine[Any, Any, T]], arguments: Iterable[tuple[*Ts]], /
    ) -> Sequence[TaskHandle[T]]: ...
    @overload
    async def submit_many(
        self, fn: Callable[[*Ts], T], arguments: Iterable[tuple[*Ts]], /
    ) -> Sequence[TaskHandle[T]]: ...
    async def submit_many(
        self, fn: Callable[..., Any], arguments: Iterable[tuple[Any, ...]], /
    ) -> Sequence[TaskHandle[Any]]:
        """Hand over one task for each tuple of arguments, all or none; see `TaskExecutor.submit_many`."""
        spec = self._spec(fn)
        if spec.options.unique_key is not None:
            raise ValueError("unique_key names one task, and submit_many makes many; submit them one by one")
        requests = [TaskRequest(fn, _tuple(args), {}, spec) for args in arguments]
        return [TaskHandle(task) for task in await self._engine.submit(requests)]

    async def repeat(
        self, schedule: Schedule | every, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> PeriodicTask:
        """Submit a function again and again; see `TaskExecutor.repeat`."""
        spec = self._spec(fn)
        if not isinstance(schedule, every) and not callable(getattr(schedule, "next", None)):
            raise TypeError(
                f"schedule is a {type(schedule).__name__}; accepted are every(seconds) and cron(expression)"
            )
        self._engine.check_open()
        self._periodic.check(spec.name)
        # A run that has not ended is found by this key, so that there are never two.
        values: TaskOptionValues = {"unique_key": f"periodic:{spec.name}"[:200], **self._values}
        submitter = TaskSubmitter(self._engine, self._periodic, values)
        task = PeriodicTask(spec.name, schedule, functools.partial(submitter.submit, fn, *args, **kwargs), self._engine)
        self._periodic.add(task)
        return task

    def _spec(self, fn: Callable[..., Any]) -> TaskSpec:
        """How a function is run; that of the last one is remembered, because mostly it is the next one too."""
        if self._last is not None and self._last[0]() is fn is not None:
            return self._last[1]
        options = self._options
        if declared := declared_options(fn):
            merged: TaskOptionValues = {**declared, **self._values}
            options = TaskOptions(**merged)
        kind = choose_kind(fn, options.run_in)
        spec = TaskSpec(options.name or name_of(fn), kind, options)
        if isinstance(fn, FunctionType):
            self._last = weakref.ref(fn), spec
        return spec

    def __repr__(self) -> str:
        return f"<TaskSubmitter {self._options}>"


def _tuple(args: object) -> tuple[Any, ...]:
    if not isinstance(args, tuple):
        raise TypeError(f"arguments holds a {type(args).__name__}; accepted are tuples, the arguments of one task each")
    return args  # pyright: ignore[reportUnknownVariableType]
