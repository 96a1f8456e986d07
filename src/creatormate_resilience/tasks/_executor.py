"""The task executor: what an application holds, submits to, asks and closes."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, TypeVarTuple, Unpack, overload

from creatormate_resilience.clock import Clock
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.options import check_text, clock_of, listeners_of
from creatormate_resilience.tasks._admission import WhenFull
from creatormate_resilience.tasks._engine import Engine, TrackedTask
from creatormate_resilience.tasks._handle import TaskHandle
from creatormate_resilience.tasks._history import HistoryLimits
from creatormate_resilience.tasks._in_process import InProcessEngine
from creatormate_resilience.tasks._key_limits import KeyLimits, KeyLimitsFor
from creatormate_resilience.tasks._limits import DEFAULT_LOOP_LAG, ExecutorLimits
from creatormate_resilience.tasks._options import TagValue, TaskOptionValues, check_count, check_seconds
from creatormate_resilience.tasks._periodic import PeriodicTask, PeriodicTasks, Schedule, every
from creatormate_resilience.tasks._record import TaskRecord, TaskStatus
from creatormate_resilience.tasks._shutdown import ShutdownReport
from creatormate_resilience.tasks._statistics import TaskStatistics
from creatormate_resilience.tasks._submitter import TaskSubmitter

__all__ = ("TaskExecutor",)

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TaskExecutor:
    """Runs functions in the background of this process: at most once each, and known to this process's memory only.

    What this process has not finished when it stops or dies is gone, and no other process can ask for it.

    Args:
        name: In statistics, events and logs.
        max_concurrent: Most attempts at once, of all kinds together.
        max_threads: Most of them in threads.
        max_processes: Most of them in worker processes; None takes the number of processors.
        max_queue: Most tasks that wait.
        when_full: What happens to a further one: "raise" refuses it with `TaskQueueFullError`, "wait" lets `submit`
            wait for a place, first come first served, and "drop_lowest" cancels the waiting task of the lowest priority
            below its own for it, and refuses it where there is none.
        aging: Seconds in the queue that are worth one level of priority, so that LOW tasks start too.
        key_limits: What each `key` may have, or a function that says it for a key. None sets no limits; tasks of
            different keys still take turns.
        history: How many ended tasks can still be asked for, and for how long.
        max_loop_lag: Seconds that the event loop may stand still before a line in the log and `LoopBlocked` name who
            did it; a thread watches. None does not watch.
        clock: Measures durations. Timeouts and delays stand on the event loop's own clock.
        listeners: Told of `TaskStarted`, `TaskRetrying`, `TaskFinished`, `TaskRejected` and `LoopBlocked`, on the event
            loop.
        engine: Keeps and runs the tasks instead, durably or elsewhere; the limits above are then its own to set.

    A timeout makes a task TIMED_OUT at its deadline, whatever its function does. What becomes of the function:

    - on the event loop it is cancelled, again and again until it ends;
    - in a thread it is asked, through `anyio.from_thread.check_cancelled()`; nothing can stop a thread that does not
      look. It keeps its slot until it returns, counts among the `zombies` of the statistics, and keeps even the
      Python process from exiting;
    - in a worker process it is killed. Processes are only used on request: `options(run_in="process")`.

    One executor belongs to the event loop (asyncio or uvloop) it was started on, and is not used from others or from
    threads. Leaving the `async with` block cancels what has not ended; `drain()` first where it shall end.

    Raises:
        ValueError: A limit is out of its range.
        TypeError: A limit is not a number.
        ConfigurationError: A name, clock or listener is none; or limits are given beside an `engine`.
    """

    def __init__(
        self,
        *,
        name: str = "tasks",
        max_concurrent: int = 32,
        max_threads: int = 16,
        max_processes: int | None = None,
        max_queue: int = 1000,
        when_full: WhenFull = "raise",
        aging: float = 10.0,
        key_limits: KeyLimitsFor | None = None,
        history: HistoryLimits | None = None,
        max_loop_lag: float | None = DEFAULT_LOOP_LAG,
        clock: Clock | None = None,
        listeners: Iterable[Listener] = (),
        engine: Engine | None = None,
    ) -> None:
        check_text("name", name)
        limits = ExecutorLimits(
            max_concurrent,
            max_threads,
            (os.cpu_count() or 1) if max_processes is None else max_processes,
            max_queue,
            when_full,
            aging,
            KeyLimits() if key_limits is None else key_limits,
            HistoryLimits() if history is None else history,
        )
        if max_loop_lag is not None:
            check_seconds("max_loop_lag", max_loop_lag, zero=False)
        listening = listeners_of(listeners)
        if engine is None:
            engine = InProcessEngine(name, limits, clock_of(clock), listening, max_loop_lag)
        elif limits != ExecutorLimits() or clock is not None or listening or max_loop_lag != DEFAULT_LOOP_LAG:
            raise ConfigurationError("engine= brings its own limits, clock and listeners; give them to the engine")
        self.name = name
        self.engine = engine
        """Where the tasks are kept and run."""
        self._periodic = PeriodicTasks()
        self._plain = TaskSubmitter(engine, self._periodic, TaskOptionValues())

    async def start(self) -> None:
        """Begin to take tasks, on the running event loop.

        Raises:
            ConfigurationError: It was started before, or this is not asyncio.
        """
        await self.engine.start()

    async def drain(self, timeout: float | None = None) -> bool:
        """Take no more tasks, and wait for those there are.

        Args:
            timeout: Longest wait, in seconds; None waits for ever.

        Returns:
            True when all have ended, False when `timeout` came first. Nothing is cancelled.

        Raises:
            ConfigurationError: The executor is not started, or belongs to another event loop.
        """
        if timeout is not None:
            check_seconds("timeout", timeout, zero=True)
        self._periodic.close()
        return await self.engine.drain(timeout)

    async def shutdown(self, drain: float = 0.0, grace: float = 5.0) -> ShutdownReport:
        """Take no more tasks and end, in at most `drain` + `grace` seconds.

        First the tasks there are may finish. Then the rest is cancelled: waiting ones never start, coroutines are
        cancelled and threads are asked, worker processes are killed. What has not stopped by then is left behind, and
        named in the log.

        Args:
            drain: Longest wait for tasks to finish by themselves, in seconds.
            grace: Longest wait for cancelled functions to stop, in seconds.

        Returns:
            What became of each task.

        Raises:
            ConfigurationError: The executor belongs to another event loop.
        """
        check_seconds("drain", drain, zero=True)
        check_seconds("grace", grace, zero=True)
        self._periodic.close()
        return await self.engine.shutdown(drain, grace)

    async def aclose(self, grace: float = 5.0) -> None:
        """Cancel what has not ended, and end; `shutdown` without time to finish and without a report.

        Args:
            grace: Longest wait for cancelled functions to stop, in seconds.

        Raises:
            ConfigurationError: The executor belongs to another event loop.
        """
        await self.shutdown(grace=grace)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @overload
    async def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]: ...
    @overload
    async def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[T]: ...
    async def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskHandle[Any]:
        """Hand a function over to be run in the background, under its declared options (`task`) or the defaults.

        Args:
            fn: A function or coroutine function.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments; all of them, options are given to `options`.

        Returns:
            The task's handle, at once.

        Raises:
            TaskQueueFullError: The queue is full; `retry_after` says when to come back.
            ShuttingDownError: The executor is draining or closed.
            ConfigurationError: It is not started, or belongs to another event loop.
            TypeError: `fn` cannot be run in the way that was asked for.
        """
        return await self._plain.submit(fn, *args, **kwargs)

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
        """Hand over one task for each tuple of arguments, as `itertools.starmap` would call: all of them, or none.

        Args:
            fn: A function or coroutine function.
            arguments: One tuple of positional arguments for each task.

        Returns:
            The handles, in the order of the arguments.

        Raises:
            TaskQueueFullError: The queue has no room for all.
            ShuttingDownError: The executor is draining or closed.
            ConfigurationError: It is not started, or belongs to another event loop.
            TypeError: `fn` cannot be run in the way that was asked for.
        """
        return await self._plain.submit_many(fn, arguments)

    async def repeat(
        self, schedule: Schedule | every, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> PeriodicTask:
        """Submit a function again and again, until that is cancelled or this executor closes.

        With an engine of many processes each occurrence is submitted by one of them. While a run has not ended the next
        is left out, and what is missed while nothing runs is not made up for.

        Args:
            schedule: `every(60.0)`, or `cron("0 3 * * *")` from `creatormate_resilience.tasks.croniter`.
            fn: A function or coroutine function.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            What can be looked at and cancelled.

        Raises:
            TypeError: `schedule` is none, or `fn` cannot be run in the way that was asked for.
            ConfigurationError: There is a periodic task of this name, or the executor is not started.
            ShuttingDownError: The executor is draining or closed.
        """
        return await self._plain.repeat(schedule, fn, *args, **kwargs)

    def options(self, **values: Unpack[TaskOptionValues]) -> TaskSubmitter:
        """Give options: `await executor.options(timeout=300.0).submit(fn, x)`.

        Args:
            **values: See `TaskOptions`. They win over those the function was declared with.

        Returns:
            What submits under them, as often as wanted.

        Raises:
            ValueError: An option is out of its range.
            TypeError: An option is of a type that is not accepted, or unknown.
        """
        return TaskSubmitter(self.engine, self._periodic, values)

    async def get(self, task_id: str) -> TaskRecord:
        """A snapshot of one task.

        Args:
            task_id: Its id.

        Returns:
            How it stands, or how it ended.

        Raises:
            TaskNotFoundError: No such task is known here: never submitted, forgotten, or another process's.
        """
        return await (await self._find(task_id)).record()

    async def list(
        self, status: TaskStatus | None = None, tag: Mapping[str, TagValue] | None = None, limit: int = 1000
    ) -> Sequence[TaskRecord]:
        """Snapshots of the tasks that are known, unfinished ones first, then those that ended last.

        Args:
            status: Only those in this status.
            tag: Only those that carry all of these tags.
            limit: Most snapshots.

        Returns:
            The snapshots.

        Raises:
            TypeError: `status` is not a `TaskStatus`, or `tag` is not a mapping.
            ValueError: `limit` is less than 1.
        """
        if not isinstance(status, TaskStatus | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"status is a {type(status).__name__}; accepted is a TaskStatus, or None")
        if not isinstance(tag, Mapping | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"tag is a {type(tag).__name__}; accepted is a mapping of tags to values, or None")
        check_count("limit", limit)
        return await self.engine.list(status, {} if tag is None else tag, limit)

    async def result(self, task_id: str, timeout: float | None = None) -> Any:
        """Wait for the end of a task; see `TaskHandle.result`, which raises the same.

        Args:
            task_id: Its id.
            timeout: Longest wait, in seconds; None waits for ever, 0 only looks. It never cancels the task.

        Returns:
            What the function returned.

        Raises:
            TaskNotFoundError: No such task is known here.
            TaskResultTimeoutError: The task has not ended yet; it goes on.
        """
        return await TaskHandle[Any](await self._find(task_id)).result(timeout)

    async def cancel(self, task_id: str) -> bool:
        """Cancel a task; see `TaskHandle.cancel`.

        Args:
            task_id: Its id.

        Returns:
            True when this call made the task CANCELLED, False when it had ended.

        Raises:
            TaskNotFoundError: No such task is known here.
        """
        return await (await self._find(task_id)).cancel()

    def statistics(self) -> TaskStatistics:
        """One consistent snapshot of what this process took and ran."""
        return self.engine.statistics()

    async def _find(self, task_id: str) -> TrackedTask:
        if not isinstance(task_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"task_id is a {type(task_id).__name__}; accepted is the text that a handle's `id` gives")
        return await self.engine.find(task_id)

    def __repr__(self) -> str:
        now = self.statistics()
        return (
            f"<TaskExecutor {self.name!r} {self.engine.phase}: {now.running} running, {now.queued} queued, "
            f"{now.zombies} zombies>"
        )

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        engine = getattr(self, "engine", None)  # absent when the constructor raised
        if engine is not None and engine.left_open and not sys.is_finalizing():
            _warn(f"task executor {self.name!r} was not closed; await its aclose()", ResourceWarning, source=self)
