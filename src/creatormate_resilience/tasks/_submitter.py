"""Submitting under given options."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, overload

from creatormate_resilience.tasks._declaration import declared_options, name_of
from creatormate_resilience.tasks._handle import TaskHandle
from creatormate_resilience.tasks._job import Job
from creatormate_resilience.tasks._kinds import bind, choose_kind
from creatormate_resilience.tasks._lifecycle import Lifecycle
from creatormate_resilience.tasks._options import TaskOptions, TaskOptionValues

__all__ = ("TaskSubmitter",)

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TaskSubmitter:
    """Submits functions under the options it was made with; from `TaskExecutor.options`.

    Because options are given here, every keyword of `submit` belongs to the function.
    """

    __slots__ = ("_lifecycle", "_node", "_options", "_values")

    def __init__(self, lifecycle: Lifecycle, node: str, values: TaskOptionValues) -> None:
        self._lifecycle = lifecycle
        self._node = node
        self._values = values
        self._options = TaskOptions(**values)

    @overload
    async def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]: ...
    @overload
    async def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[T]: ...
    async def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskHandle[Any]:
        """Hand a function over to be run in the background; see `TaskExecutor.submit`."""
        self._lifecycle.check_open()
        job = self._job(fn, args, kwargs)
        self._lifecycle.scheduler.admit((job,))
        return TaskHandle(job, self._lifecycle)

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
        self._lifecycle.check_open()
        jobs = [self._job(fn, args, {}) for args in arguments]
        self._lifecycle.scheduler.admit(jobs)
        return [TaskHandle(job, self._lifecycle) for job in jobs]

    def _job(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Job:
        options = self._options
        if declared := declared_options(fn):
            merged: TaskOptionValues = {**declared, **self._values}
            options = TaskOptions(**merged)
        kind = choose_kind(fn, options.run_in)
        name = options.name or name_of(fn)
        return Job(f"{self._node}-{secrets.token_hex(8)}", name, kind, options, bind(fn, args, kwargs, kind))

    def __repr__(self) -> str:
        return f"<TaskSubmitter {self._options}>"
