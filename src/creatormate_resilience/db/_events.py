"""What a database tells its listeners."""

from __future__ import annotations

from dataclasses import dataclass

from creatormate_resilience.events import Event

__all__ = ("ConnectionHeldLong",)


@dataclass(frozen=True, slots=True)
class ConnectionHeldLong(Event):
    """A connection has been in use for so long that it may never come back.

    Attributes:
        task: Name of the task that holds it.
        seconds: Since when.
        where: What the task is doing now, outermost first, as `function (file:line)`.
    """

    task: str
    seconds: float
    where: tuple[str, ...]
