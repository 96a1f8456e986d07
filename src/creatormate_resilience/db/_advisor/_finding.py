"""What the advisor reports: findings, and notes on what it could not look at."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from creatormate_resilience.exceptions import Severity

__all__ = ("Finding", "FindingKind", "Measured", "Note", "shown_bytes", "shown_seconds")

Measured: TypeAlias = int | float | str | bool | tuple[int, ...] | tuple[str, ...] | None


class FindingKind(enum.StrEnum):
    """What is wrong."""

    UNUSED_INDEX = "unused_index"
    DUPLICATE_INDEX = "duplicate_index"
    INVALID_INDEX = "invalid_index"
    MISSING_FOREIGN_KEY_INDEX = "missing_foreign_key_index"
    SUGGESTED_INDEX = "suggested_index"
    MISSING_PRIMARY_KEY = "missing_primary_key"
    SEQUENTIAL_SCANS = "sequential_scans"
    TABLE_BLOAT = "table_bloat"
    INDEX_BLOAT = "index_bloat"
    DEAD_ROWS = "dead_rows"
    AUTOVACUUM_OFF = "autovacuum_off"
    NEVER_ANALYZED = "never_analyzed"
    CACHE_HIT_RATIO = "cache_hit_ratio"
    LONG_RUNNING_QUERY = "long_running_query"
    IDLE_IN_TRANSACTION = "idle_in_transaction"
    BLOCKING_LOCK = "blocking_lock"
    TRANSACTION_ID_AGE = "transaction_id_age"
    VACUUM_HELD_BACK = "vacuum_held_back"
    SEQUENCE_EXHAUSTION = "sequence_exhaustion"
    TOP_STATEMENT = "top_statement"
    SETTING = "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or worth a look.

    Attributes:
        kind: What it is.
        severity: INFO, WARNING or CRITICAL.
        subject: The table, index, session or setting; identifiers are quoted where they need it.
        reason: Why it is reported, in a sentence.
        measured: The numbers behind it; durations in seconds, sizes in bytes.
        fix: The SQL that would change it, for you to judge and run; the advisor runs nothing. None where there is no
            single answer.
    """

    kind: FindingKind
    severity: Severity
    subject: str
    reason: str
    measured: Mapping[str, Measured] = field(default_factory=dict[str, Measured])
    fix: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "measured", MappingProxyType(dict(self.measured)))

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain data for JSON."""
        measured = {name: list(value) if isinstance(value, tuple) else value for name, value in self.measured.items()}
        return {
            "kind": self.kind.value,
            "severity": self.severity.name.lower(),
            "subject": self.subject,
            "reason": self.reason,
            "measured": measured,
            "fix": self.fix,
        }


@dataclass(frozen=True, slots=True)
class Note:
    """What could not be looked at, or not fully, and why.

    Attributes:
        check: The check that it is about.
        reason: Why.
    """

    check: str
    reason: str


def shown_bytes(size: float) -> str:
    """A size for people: "1.5 GiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def shown_seconds(seconds: float) -> str:
    """A duration for people: "2.5 s", "3 min", "4 h", "5 days"."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172800 else f"{seconds / 86400:.0f} days"
