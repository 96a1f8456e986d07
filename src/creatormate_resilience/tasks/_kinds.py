"""The three kinds of running a function: on the event loop, in a thread, in a worker process."""

from __future__ import annotations

import functools
import inspect
import os
import pickle
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TypeAlias, cast

import anyio
from anyio import to_process, to_thread

from creatormate_resilience.exceptions import TaskError
from creatormate_resilience.policy import is_async
from creatormate_resilience.tasks._carrier import CarriedTask, carried, carry_task
from creatormate_resilience.tasks._declaration import name_of
from creatormate_resilience.tasks._options import Kind, RunIn

__all__ = ("Work", "bind", "choose_kind")

Work: TypeAlias = Callable[[], object]

_MOST_DEAD = 32  # workers met dead one after the other; where even new ones die at once, it ends
# The executor's own slots bound the runs. anyio's limiters would count again, and would let other tasks in between the
# two calls of `_in_process`.
_UNLIMITED = cast("anyio.CapacityLimiter", nullcontext())


def choose_kind(fn: object, run_in: RunIn) -> Kind:
    """Say where a function runs.

    Args:
        fn: What is to be run.
        run_in: What the caller asked for; "auto" never chooses "process".

    Returns:
        The kind.

    Raises:
        TypeError: `fn` is not a function, or a coroutine function for which a thread or a process was asked.
    """
    if inspect.iscoroutine(fn):
        fn.close()  # else Python warns, besides our error, that it was never awaited
        raise TypeError(
            "fn is a coroutine that was already called; submit the function and its arguments: submit(fn, x)"
        )
    if not callable(fn):
        raise TypeError(f"fn is a {type(fn).__name__}; accepted is a function")
    if is_async(fn):
        if run_in not in {"auto", "async"}:
            raise TypeError(f"run_in is {run_in!r} for a coroutine function; accepted are 'async' and 'auto'")
        return "async"
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError("fn is a generator function; its work begins after the call has ended, so it cannot be a task")
    return "thread" if run_in == "auto" else run_in


def bind(fn: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object], kind: Kind) -> Work:
    """Make a function and its arguments ready to run, as often as needed.

    Args:
        fn: The function.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        kind: Where it runs.

    Returns:
        A function without arguments that gives an awaitable; what that returns or raises is what `fn` did.

    Raises:
        TypeError: A process was asked for, and the function or an argument cannot be sent to one.
    """
    call = functools.partial(fn, *args, **kwargs) if args or kwargs else fn
    if kind == "async":
        return call
    if kind == "thread":
        return functools.partial(to_thread.run_sync, functools.partial(_guarded, call), limiter=_UNLIMITED)
    try:
        return functools.partial(_in_process, pickle.dumps((fn, args, dict(kwargs)), pickle.HIGHEST_PROTOCOL))
    except Exception as error:
        raise TypeError(
            "run_in is 'process', and the function or an argument cannot be sent to one; accepted are functions "
            "defined at the top of a module, and arguments that pickle takes"
        ) from error


def _guarded(call: Callable[[], object]) -> object:
    try:
        answer = call()
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:  # on the loop they would end it, or our coroutines
        raise TaskError(f"the task raised {type(error).__name__}") from error
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise TypeError(f"{name_of(call)} returned an awaitable, which nobody awaits; declare it `async def`")
    return answer


async def _in_process(payload: bytes) -> object:
    # anyio leaves a process behind that it was still starting when it was cancelled. So first a worker is made ready,
    # out of reach of cancellation; the second call finds it idle, because nothing else runs between the two.
    with anyio.CancelScope(shield=True):
        await _make_ready()
    carrier = carry_task()
    returned, packed = await to_process.run_sync(_work, payload, carrier, cancellable=True, limiter=_UNLIMITED)
    try:
        answer = pickle.loads(packed)  # noqa: S301 - our own worker wrote it
    except Exception as error:
        raise TaskError("what the task returned or raised cannot be brought back from its process") from error
    if not returned:
        raise answer
    return answer


async def _make_ready() -> None:
    for _ in range(_MOST_DEAD):
        try:
            return await to_process.run_sync(_ready, limiter=_UNLIMITED)
        except anyio.BrokenWorkerProcess as error:
            if error.args:  # a new one that could not start, as the next could not
                raise
            # Else it had died while it was idle: nothing is lost with it.
    return await to_process.run_sync(_ready, limiter=_UNLIMITED)


def _ready() -> None:
    """Run in a worker process: nothing."""


def _work(payload: bytes, carrier: CarriedTask) -> tuple[bool, bytes]:
    """Run in a worker process: the task. Whatever happens, something picklable comes back."""
    # Around all of it, because an error that is a frozen dataclass does not get through a context manager.
    with carried(carrier), _own_streams():
        try:
            fn, args, kwargs = pickle.loads(payload)  # noqa: S301 - our own parent wrote it
            answer = _guarded(functools.partial(fn, *args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - raised again in the parent
            return False, _packed_error(error)
    try:
        return True, pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - raised again in the parent
        refusal = TaskError(f"the task returned a {type(answer).__name__}, which cannot be pickled").with_cause(error)
        return False, pickle.dumps(refusal, pickle.HIGHEST_PROTOCOL)


@contextmanager
def _own_streams() -> Generator[None]:
    """Run a block with nothing to read and nowhere to write: the process's standard streams carry tasks and results.

    For the function itself they are closed off by anyio, but what it starts (a command, a C library) inherits them.
    """
    pipes = [(stream, os.dup(stream)) for stream in (0, 1)]
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for stream, _ in pipes:
            os.dup2(null, stream)
        yield
    finally:
        for stream, pipe in pipes:
            os.dup2(pipe, stream)
            os.close(pipe)
        os.close(null)


def _packed_error(error: BaseException) -> bytes:
    where = f"In its worker process: {''.join(traceback.format_tb(error.__traceback__))}"
    try:
        error.add_note(where)
        packed = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        if isinstance(pickle.loads(packed), BaseException):  # noqa: S301 - written on the line before
            return packed
    except Exception:  # noqa: BLE001, S110 - answered below: many exceptions cannot be pickled, or not be rebuilt
        pass
    refusal = TaskError(f"the task raised a {type(error).__name__}, which cannot be pickled").with_cause(error)
    refusal.add_note(f"{where}{refusal.cause_chain[0]}")
    return pickle.dumps(refusal, pickle.HIGHEST_PROTOCOL)
