"""A check: one statement, and a pure function from its rows to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from creatormate_resilience.db._advisor._config import AdvisorConfig
from creatormate_resilience.db._advisor._finding import Finding, Note

__all__ = ("Check", "Context", "Results", "Row", "Rows")

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Sequence[Row]
Results: TypeAlias = Iterable[Finding | Note]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is known about the server before the checks.

    Attributes:
        config: The thresholds.
        version: The server's, as PostgreSQL counts: 150018.
        stats_age: For how long the server has counted, in seconds; None where nobody knows.
        sees_all: Whether the statements of other roles may be read.
        extensions: Installed ones, and the quoted schema of each.
    """

    config: AdvisorConfig
    version: int = 0
    stats_age: float | None = None
    sees_all: bool = True
    extensions: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at.

    Attributes:
        name: For notes.
        sql: The statement. It may use `:schemas`, and `{extension}` for the quoted schema of the extension.
        judge: Makes findings and notes of the rows.
        extension: Without this extension the check is left out, with a note.
    """

    name: str
    sql: str
    judge: Callable[[Rows, Context], Results]
    extension: str | None = None
