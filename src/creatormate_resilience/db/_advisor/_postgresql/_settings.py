"""Settings that are wrong nearly everywhere: those that risk data, and those that switch upkeep off."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._finding import Finding, FindingKind
from creatormate_resilience.exceptions import Severity

__all__ = ("CHECKS", "settings")

_PLANNER = (
    "enable_bitmapscan",
    "enable_hashagg",
    "enable_hashjoin",
    "enable_indexonlyscan",
    "enable_indexscan",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_seqscan",
    "enable_sort",
)
_OFF = MappingProxyType(
    {
        "fsync": (Severity.CRITICAL, "a crash of the machine can destroy the whole cluster"),
        "full_page_writes": (Severity.WARNING, "a crash can leave torn pages, unless the file system rules them out"),
        "autovacuum": (Severity.WARNING, "dead rows stay, statistics grow old, transaction ids run out"),
        "track_counts": (Severity.WARNING, "autovacuum does not know where to work, nor this report what is used"),
        **dict.fromkeys(_PLANNER, (Severity.INFO, "the planner avoids this method in all sessions; meant for trials")),
    }
)
_ON = MappingProxyType(
    {
        "zero_damaged_pages": (Severity.CRITICAL, "damaged pages are replaced by empty ones, silently"),
        "ignore_checksum_failure": (Severity.CRITICAL, "damaged pages are read as if they were good"),
        "ignore_invalid_pages": (Severity.CRITICAL, "recovery goes on over damaged pages"),
    }
)
_SETTINGS = f"""
SELECT name, setting, source, pending_restart FROM pg_settings
WHERE pending_restart OR name IN ({", ".join(f"'{name}'" for name in (*_OFF, *_ON))})
"""  # noqa: S608 - constants


def settings(rows: Rows, _context: Context) -> Iterator[Finding]:
    """Dangerous values, and changes that wait for a restart."""
    for row in rows:
        rules, good = (_OFF, "on") if row["setting"] == "off" else (_ON, "off")
        if row["name"] in rules and row["setting"] != good:
            severity, reason = rules[row["name"]]
            yield _finding(row, severity, f"is {row['setting']}: {reason}", good)
        if row["pending_restart"] and row["source"] != "command line":  # which wins after the restart too
            yield _finding(row, Severity.INFO, "was changed in a file, and takes effect with the next restart", None)


def _finding(row: Row, severity: Severity, reason: str, good: str | None) -> Finding:
    # What was set for the role, the database or on the command line wins over ALTER SYSTEM.
    changeable = good is not None and row["source"] in {"configuration file", "default"}
    return Finding(
        kind=FindingKind.SETTING,
        severity=severity,
        subject=row["name"],
        reason=reason,
        measured={"source": row["source"]},
        fix=f"ALTER SYSTEM SET {row['name']} = {good};\nSELECT pg_reload_conf();" if changeable else None,
    )


CHECKS = (Check("settings", _SETTINGS, settings),)
