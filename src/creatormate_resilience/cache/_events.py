"""What a cache tells its listeners."""

from __future__ import annotations

from dataclasses import dataclass

from creatormate_resilience.cache._statistics import CacheState
from creatormate_resilience.events import Event

__all__ = ("CacheStateChanged", "EntryRejected", "LoadFailed", "StaleServed")


@dataclass(frozen=True, slots=True)
class CacheStateChanged(Event):
    """Redis went away or came back.

    Attributes:
        old: The state before.
        new: The state since.
        reason: What failed, redacted; None when it came back.
    """

    old: CacheState
    new: CacheState
    reason: str | None


@dataclass(frozen=True, slots=True)
class EntryRejected(Event):
    """Bytes in Redis could not be read as an entry and count as a miss.

    Attributes:
        key: Whose bytes, redacted.
        reason: What is wrong with them.
    """

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class LoadFailed(Event):
    """A loader raised, be it for somebody who waits or in the background.

    Attributes:
        key: Of what it should have loaded, redacted.
        error: Type of what it raised.
    """

    key: str
    error: str


@dataclass(frozen=True, slots=True)
class StaleServed(Event):
    """An old value stood in because its loader failed or was slow.

    Attributes:
        key: Whose value, redacted.
        error: Type of what the loader raised; "slow" where it is still at it.
    """

    key: str
    error: str
