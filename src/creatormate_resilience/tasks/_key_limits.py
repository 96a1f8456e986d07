"""How much of an executor one key may have: runs at once, and starts in a time. Pure."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from creatormate_resilience.policies._gcra import Schedule, nanoseconds
from creatormate_resilience.tasks._options import check_count, check_seconds

__all__ = ("KeyGate", "KeyLimits", "KeyLimitsFor")

_LOOKED_AT = 2


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What tasks of one key may have, wherever they run.

    Attributes:
        max_concurrent: Most attempts at once; None sets no bound.
        rate: Most starts in `per` seconds, in the long run; None sets no bound.
        per: Seconds.
        burst: Starts that may come at once after a pause; None takes `rate`, rounded down, and at least 1.
        max_queue: Most tasks that wait, for their start, their delay or their next attempt; None sets no bound beside
            the executor's. A further one is refused at once, whatever `when_full` says.

    Raises:
        ValueError: A limit is out of its range.
        TypeError: A limit is not a number.
    """

    max_concurrent: int | None = None
    rate: float | None = None
    per: float = 1.0
    burst: int | None = None
    max_queue: int | None = None

    def __post_init__(self) -> None:
        for parameter in ("max_concurrent", "burst", "max_queue"):
            if getattr(self, parameter) is not None:
                check_count(parameter, getattr(self, parameter))
        if self.rate is not None:
            check_seconds("rate", self.rate, zero=False)
        check_seconds("per", self.per, zero=False)

    def schedule(self) -> Schedule | None:
        """When starts are due; None where they are not limited."""
        if self.rate is None:
            return None
        burst = max(1, int(self.rate)) if self.burst is None else self.burst
        return Schedule(max(1, nanoseconds(self.per / self.rate)), burst, 1, OrderedDict())


KeyLimitsFor: TypeAlias = KeyLimits | Callable[[str], KeyLimits]


@dataclass(slots=True)
class _Key:
    max_concurrent: float
    schedule: Schedule | None
    max_queue: float
    tasks: int = 0
    running: int = 0


class KeyGate:
    """Says when the next task of a key may start.

    Args:
        limits: Of every key, or a function that says them for a key.
    """

    __slots__ = ("_keys", "_limits")

    def __init__(self, limits: KeyLimitsFor) -> None:
        self._limits = limits
        self._keys: OrderedDict[str, _Key] = OrderedDict()

    def open(self, key: str, tasks: int) -> bool:
        """Count tasks of a key that are to be taken; what a function of the user's raises is raised here.

        Returns:
            Whether they are so many that more of them may wait than `max_queue`.

        Raises:
            TypeError: The function gave what are no limits.
        """
        if key not in self._keys:
            limits = self._limits if isinstance(self._limits, KeyLimits) else self._limits(key)
            if not isinstance(limits, KeyLimits):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"key_limits gave a {type(limits).__name__} for a key; accepted is a KeyLimits")
            most = math.inf if limits.max_concurrent is None else limits.max_concurrent
            places = math.inf if limits.max_queue is None else limits.max_queue
            self._keys[key] = _Key(most, limits.schedule(), places)
        one = self._keys[key]
        one.tasks += tasks
        return one.tasks > one.max_queue

    def places(self, key: str) -> tuple[int, float]:
        """Tasks of a known key that have not ended, and how many of them may wait."""
        one = self._keys[key]
        return one.tasks, one.max_queue

    def close(self, key: str, now: float, tasks: int = 1) -> None:
        """Count tasks that have ended, whose runs may still go on, or that were not taken after all."""
        self._keys[key].tasks -= tasks
        self._forget(key, now)

    def most(self, key: str) -> float:
        """Most runs of a known key that can start at once."""
        one = self._keys[key]
        return one.max_concurrent if one.schedule is None else min(one.max_concurrent, one.schedule.burst)

    def free(self, key: str, now: float) -> float:
        """Runs of a known key that could start now."""
        one = self._keys[key]
        free = one.max_concurrent - one.running
        return free if one.schedule is None else min(free, _free(one.schedule, nanoseconds(now)))

    def start(self, key: str, now: float) -> None:
        """Count a run that starts."""
        one = self._keys[key]
        one.running += 1
        if one.schedule is not None:
            one.schedule.reserve(None, nanoseconds(now), 0)

    def end(self, key: str, now: float) -> None:
        """Count a run that has ended."""
        self._keys[key].running -= 1
        self._forget(key, now)

    def wait(self, key: str, now: float) -> float:
        """Seconds until the next may start: 0 is now, infinity is when a run of this key ends."""
        one = self._keys.get(key)
        if one is None:
            return 0.0
        if one.running >= one.max_concurrent:
            return math.inf
        return 0.0 if one.schedule is None else _wait(one.schedule, nanoseconds(now)) / 1e9

    def _forget(self, key: str, now: float) -> None:
        """Drop a key nobody has, where that changes nothing; and look again at some that were too early to drop."""
        self._drop_idle(key, now)
        for other in list(itertools.islice(self._keys, _LOOKED_AT)):
            if not self._drop_idle(other, now):
                self._keys.move_to_end(other)

    def _drop_idle(self, key: str, now: float) -> bool:
        one = self._keys.get(key)
        if one is None or one.tasks or one.running:
            return False
        if one.schedule is not None and one.schedule.due.get(None, 0) > nanoseconds(now):
            return False
        del self._keys[key]
        return True


def _free(schedule: Schedule, now: int) -> int:
    ahead = max(0, schedule.due.get(None, now) - now)
    return max(0, schedule.burst + -ahead // schedule.interval)


def _wait(schedule: Schedule, now: int) -> int:
    due = max(schedule.due.get(None, now), now)
    return max(0, due - (schedule.burst - 1) * schedule.interval - now)
