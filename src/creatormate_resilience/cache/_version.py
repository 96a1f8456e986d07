"""Which of two writes is the later one: hybrid logical time, as bytes that sort."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Final

__all__ = ("VERSION_SIZE", "VersionClock", "seconds_of")

VERSION_SIZE: Final = 16
_MAX_LEAD = 60.0
_CLOCK_ERROR = 0.005
"""Seconds by which two nodes may disagree on the time, each having asked the same server for it."""
_STAMPS_PER_SECOND = 1000 << 16
_STAMP = struct.Struct(">Q")


def seconds_of(version: bytes) -> float:
    """The wall time in a version, in seconds since the epoch."""
    return int.from_bytes(version[:8], "big") / _STAMPS_PER_SECOND


class VersionClock:
    """Makes versions: wall milliseconds in 48 bits, fractions of one in 16, 8 bytes that name the node.

    Args:
        wall: Seconds since the epoch, as close to the shared server's time as is known. May jump; versions do not.

    They never repeat and never go back, and after `observe(v)` they are greater than `v`.
    """

    __slots__ = ("_last", "_node", "_wall")

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._node = os.urandom(8)
        self._last = 0

    def next(self) -> bytes:
        """A version greater than all before."""
        return self._after(self._wall())

    def of_load(self) -> bytes:
        """A version for what is loaded from now on: greater than all before, less than any node's writes from now on.

        It is dated back by what clocks may disagree. So a load right after another node's delete may go unstored; the
        other way round an old value would stay.
        """
        return self._after(self._wall() - _CLOCK_ERROR)

    def _after(self, wall: float) -> bytes:
        self._last = max(int(wall * _STAMPS_PER_SECOND), self._last + 1)
        return _STAMP.pack(self._last) + self._node

    def is_own(self, version: bytes) -> bool:
        """Whether this clock made it."""
        return version[8:] == self._node

    def ceiling(self) -> bytes:
        """No honest version is greater: a minute ahead of the time we know."""
        return _STAMP.pack(int((self._wall() + _MAX_LEAD) * _STAMPS_PER_SECOND)) + b"\xff" * 8

    def observe(self, version: bytes) -> None:
        """Note a version of another node, so that ours are greater from now on."""
        stamp = int.from_bytes(version[:8], "big")
        if stamp > self._last and version <= self.ceiling():
            self._last = stamp
