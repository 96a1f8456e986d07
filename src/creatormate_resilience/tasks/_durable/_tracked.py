"""A task that is kept in a table, as whoever submitted it or knows its id sees it."""

from __future__ import annotations

from creatormate_resilience.exceptions import TaskNotFoundError, TaskResultTimeoutError
from creatormate_resilience.tasks._durable._ending import outcome_of, record_of
from creatormate_resilience.tasks._durable._ends import Ends
from creatormate_resilience.tasks._durable._store import Store
from creatormate_resilience.tasks._record import TaskRecord, TaskStatus

__all__ = ("DurableTask", "not_found")


class DurableTask:
    """A task's id and name; everything else is asked for.

    Args:
        task_id: Its id.
        name: Its name.
        store: Where it stands.
        ends: Tells when it has ended.
    """

    __slots__ = ("_ends", "_store", "id", "name")

    def __init__(self, task_id: str, name: str, store: Store, ends: Ends) -> None:
        self.id = task_id
        self.name = name
        self._store = store
        self._ends = ends

    async def record(self) -> TaskRecord:
        """How it stands."""
        row = await self._store.get(self.id)
        if row is None:
            raise not_found(self.id)
        return record_of(row)

    async def outcome(self, timeout: float | None) -> object:
        """What it returned, or raise what stands for what it did; `TaskResultTimeoutError` where it has not ended."""
        row = await self._store.get(self.id)
        if row is not None and not TaskStatus(row["status"]).final:
            if timeout == 0:  # only a look
                raise self._late(timeout)
            try:
                row = await self._ends.wait(self.id, timeout)
            except TimeoutError:
                raise self._late(timeout) from None
        if row is None:
            raise not_found(self.id)
        return outcome_of(row)

    async def cancel(self) -> bool:
        """Cancel it; False when it had ended."""
        answer = await self._store.cancel(self.id)
        if answer is None:
            raise not_found(self.id)
        return answer == "cancelled"

    def _late(self, timeout: float | None) -> TaskResultTimeoutError:
        return TaskResultTimeoutError(f"task {self.name} ({self.id}) has not ended within {timeout:g} s")

    def __repr__(self) -> str:
        return f"{self.id} {self.name}"


def not_found(task_id: str) -> TaskNotFoundError:
    """The error for an id that is not in the table."""
    return TaskNotFoundError(
        f"task {task_id!r:.100} is not in the table: never submitted, submitted in a transaction that was rolled back "
        "or is still open, or ended and forgotten since"
    )
