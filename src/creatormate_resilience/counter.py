"""Counting calls from many threads without a lock, where the interpreter has a lock of its own."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from typing import Protocol

__all__ = ("Counter", "FreeCounter", "LockedCounter", "make_counter")


class Counter(Protocol):
    """Numbers calls from 1."""

    @property
    def tick(self) -> Callable[[], int]:
        """Counts one; gives its number. To be fetched once and kept."""
        ...

    @property
    def value(self) -> int:
        """How many were counted."""
        ...


class FreeCounter:
    """One call of a C function, which the interpreter's lock makes atomic."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    @property
    def tick(self) -> Callable[[], int]:
        """Counts one; gives its number. To be fetched once and kept."""
        return self._numbers.__next__

    @property
    def value(self) -> int:
        """How many were counted."""
        return int(repr(self._numbers)[len("count(") : -1]) - 1  # what would come next, without taking it


class LockedCounter:
    """For interpreters without a lock of their own."""

    __slots__ = ("_lock", "_value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    @property
    def tick(self) -> Callable[[], int]:
        """Counts one; gives its number. To be fetched once and kept."""
        return self._next

    def _next(self) -> int:
        with self._lock:
            self._value += 1
            return self._value

    @property
    def value(self) -> int:
        """How many were counted."""
        return self._value


def make_counter() -> Counter:
    """The counter that this interpreter allows: free-threaded builds of Python take the locked one."""
    has_lock: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return FreeCounter() if has_lock() else LockedCounter()
