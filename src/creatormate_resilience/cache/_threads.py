"""Worker threads for `def` loaders: bounded, and a thread that is given up on counts until it ends."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ("Threads",)

_MOST = 32


class Threads:
    """Up to 32 worker threads of one cache, made when they are wanted. What finds none free waits for one."""

    __slots__ = ("_executor",)

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function in a thread, in a copy of the caller's context. Who is cancelled leaves it to its end."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(_MOST, "cache-load")
        call = functools.partial(contextvars.copy_context().run, _called, fn, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """Let the threads end with what they are doing."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None


def _called(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    except StopIteration as error:  # no future can carry one
        raise RuntimeError("a loader raised StopIteration") from error
