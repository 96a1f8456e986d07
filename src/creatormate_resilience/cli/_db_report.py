"""`db-report`: looks at a database and says what is wrong with it."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from creatormate_resilience.cli._output import guarded, print_text
from creatormate_resilience.db import Report, advise
from creatormate_resilience.exceptions import Severity

__all__ = ("add_db_report",)

_FOUND = 1
_CODES = "exit codes: 0 nothing at or above --fail-on, 1 something, 2 wrong command line, 3 no report could be made"


def add_db_report(commands: Any) -> None:
    """Add the command to a parser's commands."""
    report = commands.add_parser(
        "db-report",
        help="what is wrong with a database",
        description="Looks at a PostgreSQL or SQLite database, read-only, and prints what is wrong with it and the SQL"
        " that would change it. Nothing is changed.",
        epilog=f"{_CODES}. A password need not stand in the URL: PGPASSWORD and ~/.pgpass are read.",
    )
    report.add_argument("url", metavar="URL", help="postgresql://user@host:5432/name or sqlite:///file.db")
    report.add_argument("--json", action="store_true", help="print JSON instead of a table")
    report.add_argument(
        "--fail-on", choices=("warning", "critical"), help="exit with 1 on findings of this severity on"
    )
    report.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    return guarded(lambda: _report(options.url, as_json=options.json, fail_on=options.fail_on))


def _report(url: str, *, as_json: bool, fail_on: str | None) -> int:
    report = asyncio.run(advise(url))
    print_text(json.dumps(report.to_dict(), indent=2) if as_json else report.to_text())
    return _FOUND if fail_on is not None and _reaches(report, Severity[fail_on.upper()]) else 0


def _reaches(report: Report, severity: Severity) -> bool:
    return report.worst is not None and report.worst >= severity
