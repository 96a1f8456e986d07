"""One run of a statement, as those see it who count statements."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

__all__ = ("CANCELLED", "DONE", "FAILED", "OWN", "SOURCE", "Execution", "Recorder")

SOURCE = "db"
"""Of the events."""
OWN = "/* creatormate-resilience */"
"""What a statement of this library ends with: it is not counted, and a DBA sees whose it is."""

DONE, FAILED, CANCELLED = range(3)


class Execution(NamedTuple):
    """One run of a statement, without its parameters: they are nobody's business.

    Attributes:
        statement: The SQL, as the driver got it.
        seconds: How long it took.
        ended: When it ended, on `time.perf_counter`.
        rows: Rows returned or changed; 0 where the driver does not tell.
        parameter_sets: Sets of parameters that were sent.
        fate: `DONE`, `FAILED` or `CANCELLED`.
        error: The type of what it raised.
        batch: Whether it is a part of what SQLAlchemy sends as several statements, because it has so many rows.
    """

    statement: str
    seconds: float
    ended: float
    rows: int = 0
    parameter_sets: int = 1
    fate: int = DONE
    error: str | None = None
    batch: bool = False


class Recorder(Protocol):
    """Takes note of statements, in the thread or task that ran them. It must not raise."""

    def record(self, run: Execution, parameters: Any, connection: Any, /) -> None:
        """Take note of one run.

        Args:
            run: What is known of it; may be kept for a while.
            parameters: As the driver got them; not to be kept.
            connection: SQLAlchemy's connection; not to be kept.
        """
        ...
