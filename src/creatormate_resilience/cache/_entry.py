"""One stored thing, and what it is worth at a moment. Pure: nothing here waits, reads a clock or talks to anybody."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import Any, Final

from creatormate_resilience.cache._statistics import Counters

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
    MARK = 4
    """Nothing: what carries this mark and is older than it was invalidated; see `Marks`."""


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


@dataclass(slots=True, eq=False)
class Entry:
    """A value, a tombstone or a mark. All moments are seconds of the cache's monotonic clock.

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
        tags: By which it can be invalidated.
        cost: Seconds its load took; 0 where that is not known.

    The rest is what this process notes on its own copy, and not part of what is stored.

    Attributes:
        counters: Of its category.
        epoch: The state of the marks in which it was last found valid.
        serve_until: Until then `value` may be handed out while that state lasts; never for `BY_BODY`.
        refresh_at: From then on a reader starts a load in the background.
        rest_until: No new load before then, because one has failed.
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
    tags: tuple[str, ...] = ()
    cost: float = 0.0
    counters: Counters = field(default_factory=Counters)
    epoch: object = None
    serve_until: float = -math.inf
    refresh_at: float = math.inf
    rest_until: float = -math.inf

    @property
    def marked(self) -> tuple[str, tuple[str, ...]]:
        """What can invalidate it: its category and its tags."""
        return self.category, self.tags

    def freshness(self, now: float) -> Freshness:
        """What this entry may be used for at `now`."""
        if self.kind >= Kind.TOMBSTONE or now >= self.stale_until:
            return Freshness.DEAD
        if now >= self.fresh_until:
            return Freshness.STALE
        return Freshness.FRESH if now < self.confirm_at else Freshness.UNCONFIRMED

    def confirm(self, epoch: object) -> None:
        """Note that it is valid as the marks are now, so that memory may hand it out without looking again."""
        self.epoch = epoch
        if self.value is not BY_BODY:
            self.serve_until = min(self.confirm_at, self.refresh_at)
