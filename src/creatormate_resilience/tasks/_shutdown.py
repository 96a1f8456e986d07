"""What a shutdown did with each task that had not ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from creatormate_resilience.tasks._record import TaskRecord

__all__ = ("ShutdownReport",)


@dataclass(frozen=True, slots=True)
class ShutdownReport:
    """The tasks that were unfinished when the shutdown began; each is in exactly one of these.

    Attributes:
        finished: Ended by themselves while there was time to.
        never_started: Were waiting for their first start, and were cancelled.
        stopped: Ran on the event loop or in threads, or rested between two attempts, were cancelled, and have stopped.
        killed: Ran in worker processes, which were killed.
        left: Were cancelled and still run: threads that cannot be stopped, coroutines that swallow their cancellation.
    """

    finished: Sequence[TaskRecord] = ()
    never_started: Sequence[TaskRecord] = ()
    stopped: Sequence[TaskRecord] = ()
    killed: Sequence[TaskRecord] = ()
    left: Sequence[TaskRecord] = ()

    def __str__(self) -> str:
        parts = ("finished", "never_started", "stopped", "killed", "left")
        return ", ".join(f"{len(getattr(self, part))} {part.replace('_', ' ')}" for part in parts)
