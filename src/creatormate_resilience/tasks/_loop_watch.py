"""A thread that notices when the event loop stands still, and sees where."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import NamedTuple

__all__ = ("LoopWatch",)


class _Sight(NamedTuple):
    task: str | None
    where: str


class LoopWatch:
    """Asks the event loop for a sign of life, again and again; where none comes in time, looks at what it is doing.

    Args:
        name: Of the thread.
        max_lag: Longest time until the sign, in seconds.
        on_blocked: Called on the event loop, once it goes on, with the name of the asyncio task that ran (None for a
            plain callback), where it was, and for how many seconds the loop stood still.
    """

    def __init__(self, name: str, max_lag: float, on_blocked: Callable[[str | None, str, float], None]) -> None:
        self._name = f"{name}-loop-watch"
        self._max_lag = max_lag
        self._on_blocked = on_blocked
        self._stopped = threading.Event()
        self._base: CodeType | None = None
        """What calls the callbacks; on uvloop the code that runs the loop, and all there is to see while it waits."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch the event loop that runs in this thread."""
        watched = threading.get_ident()
        threading.Thread(target=self._watch, args=(loop, watched), name=self._name, daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        try:
            while not self._stopped.wait(self._max_lag):
                self._ask(loop, thread)
        except RuntimeError:  # the loop was closed before us
            return

    def _ask(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        alive = threading.Event()
        asked = time.monotonic()
        loop.call_soon_threadsafe(self._answer, alive)
        if alive.wait(self._max_lag):
            return
        sight = _look(loop, thread, self._base)
        while not alive.wait(self._max_lag):
            if self._stopped.is_set() or loop.is_closed():
                return
            sight = sight or _look(loop, thread, self._base)
        if sight is not None:
            loop.call_soon_threadsafe(self._on_blocked, sight.task, sight.where, time.monotonic() - asked)

    def _answer(self, alive: threading.Event) -> None:
        below = sys._getframe().f_back  # pyright: ignore[reportPrivateUsage]
        self._base = None if below is None else below.f_code
        alive.set()


def _look(loop: asyncio.AbstractEventLoop, thread: int, base: CodeType | None) -> _Sight | None:
    """What the loop's thread is doing; None when it only waits for the processor."""
    task = asyncio.current_task(loop)
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]
    if frame is None or (task is None and (frame.f_code is base or _waits(frame))):
        return None
    return _Sight(None if task is None else task.get_name(), _where(frame))


def _waits(frame: FrameType) -> bool:
    return _module(frame).partition(".")[0] in {"selectors", "asyncio", "uvloop", "threading"}


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "?"))


def _where(innermost: FrameType) -> str:
    """The line outside of the standard library that the loop is held by; where there is none, the innermost."""
    frame: FrameType | None = innermost
    while frame is not None and _module(frame).partition(".")[0] in sys.stdlib_module_names:
        frame = frame.f_back
    frame = frame or innermost
    return f"{_module(frame)}.{frame.f_code.co_qualname}:{frame.f_lineno}"
