"""The generic cell rate algorithm (ITU-T I.371, in its virtual scheduling form), pure: whole nanoseconds in and out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ("Reservation", "Schedule", "nanoseconds")


def nanoseconds(seconds: float) -> int:
    """Seconds as a whole number, so that sums are exact."""
    return round(seconds * 1e9)


class Reservation(NamedTuple):
    """A place in the schedule of a key.

    Attributes:
        key: Whose.
        wait: Nanoseconds until the call may be made; 0 is now.
        before: When the key's schedule was due before it.
        after: And after it.
    """

    key: Hashable
    wait: int
    before: int
    after: int


@dataclass(slots=True)
class Schedule:
    """When each key's next call is due, if calls came evenly.

    A call is due one interval after the one before it, and may be made early by as many intervals as a burst has calls
    beyond its first. Whoever has been idle long enough is due now, so that forgetting it changes nothing.

    Attributes:
        interval: Between calls, in nanoseconds.
        burst: Calls that may be made at once after a pause.
        max_keys: Keys that are remembered; of more, the one unused longest is forgotten.
    """

    interval: int
    burst: int
    max_keys: int
    due: OrderedDict[Hashable, int]

    def reserve(self, key: Hashable, now: int, longest_wait: int) -> Reservation:
        """Take the next place, where its wait is no longer than `longest_wait`; else nothing changes.

        Args:
            key: Whose.
            now: In nanoseconds.
            longest_wait: In nanoseconds.

        Returns:
            The place, or the one there would have been.
        """
        before = max(self.due.get(key, now), now)
        wait = max(0, before - (self.burst - 1) * self.interval - now)
        reservation = Reservation(key, wait, before, before + self.interval)
        if wait <= longest_wait:
            self.due[key] = reservation.after
            self.due.move_to_end(key)
            if len(self.due) > self.max_keys:
                self.due.popitem(last=False)
        return reservation

    def give_back(self, reservation: Reservation) -> None:
        """Free a place that was not used, where nobody has taken the one after it."""
        if self.due.get(reservation.key) == reservation.after:
            self.due[reservation.key] = reservation.before
