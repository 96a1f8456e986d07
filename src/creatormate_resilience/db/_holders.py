"""Who holds a connection, since when, and what they are doing now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

from creatormate_resilience.clock import Clock
from creatormate_resilience.latencies import Latencies

__all__ = ("Holder", "Holders")

_MOST_FRAMES = 12


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who has a connection in use.

    Attributes:
        task: Name of the task; "no task" where none runs.
        seconds: Since when.
        where: What the task is doing now, outermost first, as `function (file:line)`.
        waiting: Whether the same task waits for another connection.
    """

    task: str
    seconds: float
    where: tuple[str, ...]
    waiting: bool = False

    def __str__(self) -> str:
        doing = " > ".join(self.where) or "unknown"
        also = ", and waits for another connection" if self.waiting else ""
        return f"{self.task} for {self.seconds:.3g} s in {doing}{also}"


@dataclass(slots=True, eq=False)
class _Held:
    task: asyncio.Task[Any] | None
    since: float
    told: bool = False


class Holders:
    """The connections of a pool that are in use.

    Args:
        clock: Measures how long.
        threshold: Seconds after which a holder is told of; None tells of nobody.
        tell: Is told of them, once each.

    Attributes:
        use_time: How long connections were in use.
    """

    __slots__ = ("_clock", "_held", "_tell", "_threshold", "_timer", "_waiting", "use_time")

    def __init__(self, clock: Clock, threshold: float | None, tell: Callable[[Holder], object]) -> None:
        self._clock = clock
        self._threshold = threshold
        self._tell = tell
        self._held: dict[object, _Held] = {}
        self._waiting: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.use_time = Latencies()

    def __len__(self) -> int:
        return len(self._held)

    def took(self, record: object) -> None:
        """The current task has taken a connection."""
        self._held[record] = _Held(_current_task(), self._clock.monotonic())
        if self._threshold is not None and self._timer is None:
            self._watch(self._threshold)

    def returned(self, record: object) -> None:
        """It has come back."""
        held = self._held.pop(record, None)
        if held is not None:
            self.use_time.add(self._clock.monotonic() - held.since)

    def begins_to_wait(self) -> None:
        """The current task waits for a connection."""
        if (task := _current_task()) is not None:
            self._waiting.add(task)

    def waits_no_more(self) -> None:
        """It has one, or has given up."""
        if (task := _current_task()) is not None:
            self._waiting.discard(task)

    @property
    def wait_for_each_other(self) -> bool:
        """Whether everybody who holds a connection waits for another one, so that none will come back."""
        return bool(self._held) and all(held.task in self._waiting for held in self._held.values())

    def snapshot(self) -> tuple[Holder, ...]:
        """Everybody now, the longest first."""
        now = self._clock.monotonic()
        return tuple(self._holder(held, now) for held in sorted(self._held.values(), key=lambda held: held.since))

    def close(self) -> None:
        """Watch nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _holder(self, held: _Held, now: float) -> Holder:
        name = "no task" if held.task is None else held.task.get_name()
        return Holder(name, now - held.since, _where(held.task), held.task in self._waiting)

    def _watch(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        assert self._threshold is not None  # noqa: S101 - else there is no timer
        now, next_at = self._clock.monotonic(), None
        for held in list(self._held.values()):
            left = held.since + self._threshold - now
            if held.told:
                continue
            if left <= 0:
                held.told = True
                self._tell(self._holder(held, now))
            elif next_at is None or left < next_at:
                next_at = left
        if next_at is not None:
            self._watch(next_at)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs: the pool is closed by the garbage collector
        return None


def _where(task: asyncio.Task[Any] | None) -> tuple[str, ...]:
    """The coroutines that a task is in, down to what it awaits; the code of SQLAlchemy left out."""
    frames: list[str] = []
    awaited: Any = None if task is None else task.get_coro()
    while awaited is not None and len(frames) < _MOST_FRAMES:
        code: CodeType | None = getattr(awaited, "cr_code", None) or getattr(awaited, "ag_code", None)
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if code is not None and frame is not None and "sqlalchemy" not in code.co_filename:
            file = code.co_filename.replace("\\", "/").rpartition("/")[2]
            frames.append(f"{code.co_qualname} ({file}:{frame.f_lineno})")
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    return tuple(frames)
