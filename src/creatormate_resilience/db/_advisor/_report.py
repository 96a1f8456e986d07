"""The report: findings sorted by severity, notes, and both as plain data or as a table of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from creatormate_resilience.db._advisor._finding import Finding, FindingKind, Note
from creatormate_resilience.exceptions import Severity

__all__ = ("Report",)

_VERSION = 1
_WIDEST = 60  # of a column; subjects of two long quoted names would push the reasons off the screen


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a look at a database showed.

    Attributes:
        server: Kind and version, such as "PostgreSQL 18.6".
        findings: What is wrong, the worst first.
        notes: What could not be looked at, and why.
    """

    server: str
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...]

    @classmethod
    def of(cls, server: str, results: Iterable[Finding | Note], max_findings: int) -> Self:
        """A report of what the checks gave, with so many findings of a kind at most.

        Args:
            server: Kind and version.
            results: Findings and notes in the order of the checks.
            max_findings: Of one kind; a note says how many were left out.
        """
        each = list(results)
        ranked = sorted((one for one in each if isinstance(one, Finding)), key=_rank)
        notes = [one for one in each if isinstance(one, Note)]
        kept: list[Finding] = []
        for kind in FindingKind:
            same = [one for one in ranked if one.kind is kind]
            kept += same[:max_findings]
            if len(same) > max_findings:
                notes.append(Note(kind.value, f"{len(same) - max_findings} more were left out (max_findings)"))
        return cls(server=server, findings=tuple(sorted(kept, key=_rank)), notes=tuple(dict.fromkeys(notes)))

    @property
    def worst(self) -> Severity | None:
        """The highest severity found; None where nothing was."""
        return max((finding.severity for finding in self.findings), default=None)

    def of_kind(self, kind: FindingKind) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind is kind)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data for JSON. Literals of statements are not in it."""
        return {
            "version": _VERSION,
            "server": self.server,
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": [{"check": note.check, "reason": note.reason} for note in self.notes],
        }

    def to_text(self) -> str:
        """The report as a table, for a terminal: control characters in names are escaped."""
        return "\n".join(self._lines())

    def __str__(self) -> str:
        return self.to_text()

    def _lines(self) -> Iterator[str]:
        yield f"{_printable(self.server)}: {_counted(self.findings)}"
        if self.findings:
            yield ""
            rows = [(one.severity.name, one.kind.value, _printable(one.subject)) for one in self.findings]
            wide = [min(_WIDEST, max(len(row[column]) for row in rows)) for column in range(3)]
            for finding, row in zip(self.findings, rows, strict=True):
                cells = "  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True))
                yield f"{cells}  {_printable(finding.reason)}"
                for line in finding.fix.split("\n") if finding.fix else ():
                    yield f"    {_printable(line)}"
        if self.notes:
            yield ""
            yield "Not looked at, or not fully:"
            for note in self.notes:
                yield f"    {note.check}: {_printable(note.reason)}"


def _rank(finding: Finding) -> tuple[int, str, str]:
    return -finding.severity, finding.kind.value, finding.subject


def _counted(findings: tuple[Finding, ...]) -> str:
    counts = [
        f"{count} {severity.name.lower()}"
        for severity in sorted(Severity, reverse=True)
        if (count := sum(finding.severity is severity for finding in findings))
    ]
    return ", ".join(counts) or "nothing found"


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
