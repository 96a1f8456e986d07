"""One stored thing, and what it is worth at a moment. Pure: nothing here waits, reads a clock or talks to anybody."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Final

__all__ = ("BY_BODY", "Entry", "Freshness", "Kind")


class Kind(enum.IntEnum):
    """What the body of an entry is. Stored; never renumber."""

    VALUE = 0
    """MessagePack with our extension types."""
    TYPED = 1
    """The same, to be validated against the category's type."""
    INTEGER = 2
    """Decimal digits, so that Redis can add to it."""
    TOMBSTONE = 3
    """Nothing: the key was deleted."""


class Freshness(enum.Enum):
    """What an entry in memory may be used for."""

    FRESH = "fresh"
    """Serve it."""
    UNCONFIRMED = "unconfirmed"
    """Within its time to live, but ask Redis whether it is still so."""
    STALE = "stale"
    """Past its time to live and within the category's grace."""
    DEAD = "dead"


class _ByBody(enum.Enum):
    BY_BODY = enum.auto()


BY_BODY: Final = _ByBody.BY_BODY


@dataclass(frozen=True, slots=True)
class Entry:
    """A value or a tombstone. All moments are seconds of the cache's monotonic clock.

    Attributes:
        version: When it was decided, see `VersionClock`; of two entries the greater one is the truth.
        kind: What `body` is.
        category: Name of its category; empty for none.
        body: The encoded value.
        value: The value itself where it may be handed to everybody; `BY_BODY` where each reader needs one of its own.
        stored_at: When it was made.
        confirm_at: Until then memory serves it without asking Redis.
        fresh_until: The end of its time to live.
        stale_until: The end of its grace; not before `fresh_until`.
    """

    version: bytes
    kind: Kind
    category: str
    body: bytes
    value: Any
    stored_at: float
    confirm_at: float
    fresh_until: float
    stale_until: float

    def freshness(self, now: float) -> Freshness:
        """What this entry may be used for at `now`."""
        if self.kind is Kind.TOMBSTONE or now >= self.stale_until:
            return Freshness.DEAD
        if now >= self.fresh_until:
            return Freshness.STALE
        return Freshness.FRESH if now < self.confirm_at else Freshness.UNCONFIRMED
