"""The command `creatormate-resilience`: `db-report` looks at a database and says what is wrong with it.

Exit codes: 0, nothing at or above `--fail-on`; 1, a finding at or above it; 2, the command line is wrong; 3, the
database could not be looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from creatormate_resilience.db import Report, advise
from creatormate_resilience.exceptions import ConfigurationError, ResilienceError, Severity
from creatormate_resilience.redaction import redact_text

__all__ = ("main",)

_FOUND = 1
_FAILED = 3
_LONGEST_TRACEBACK = 20_000
_CODES = "exit codes: 0 nothing at or above --fail-on, 1 something, 2 wrong command line, 3 no report could be made"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Without the program's name; None for those that it was started with.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    return _db_report(options.url, as_json=options.json, fail_on=options.fail_on)


class _Parser(argparse.ArgumentParser):
    """Shows no password of a URL that stands in the wrong place."""

    def error(self, message: str) -> NoReturn:
        super().error(redact_text(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="creatormate-resilience", description="Looks at what a service depends on.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
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
    return parser


def _db_report(url: str, *, as_json: bool, fail_on: str | None) -> int:
    try:
        report = asyncio.run(advise(url))
    except ResilienceError as error:
        text = str(error) if isinstance(error, ConfigurationError) else redact_text(str(error))
        sys.stderr.write(f"creatormate-resilience: {' '.join(text.split())}\n")
        return _FAILED
    except Exception as error:  # noqa: BLE001 - left to Python it would be the exit code of a finding
        sys.stderr.write(f"{redact_text(''.join(traceback.format_exception(error)), _LONGEST_TRACEBACK)}\n")
        return _FAILED
    _print(json.dumps(report.to_dict(), indent=2) if as_json else report.to_text())
    return _FOUND if fail_on is not None and _reaches(report, Severity[fail_on.upper()]) else 0


def _print(text: str) -> None:
    """Print, in whatever encoding, to somebody who may stop reading."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(f"{text}\n".encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:  # such as `head`; what is left in the buffer has to go somewhere at the end
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _reaches(report: Report, severity: Severity) -> bool:
    return report.worst is not None and report.worst >= severity


if __name__ == "__main__":
    sys.exit(main())
