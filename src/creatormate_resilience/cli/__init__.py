"""The command `creatormate-resilience`: `db-report`, `worker` and `tasks`.

Exit codes: 0, all is well; 1, what was asked for is found or could not be changed; 2, the command line is wrong; 3, the
command could not do its work.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from creatormate_resilience.cli._db_report import add_db_report
from creatormate_resilience.cli._tasks import add_tasks
from creatormate_resilience.cli._worker import add_worker
from creatormate_resilience.redaction import redact_text

__all__ = ("main",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Without the program's name; None for those that it was started with.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    code: int = options.run(options)
    return code


class _Parser(argparse.ArgumentParser):
    """Shows no password of a URL that stands in the wrong place."""

    def error(self, message: str) -> NoReturn:
        super().error(redact_text(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="creatormate-resilience", description="Looks at what a service depends on, and works for it.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_db_report(commands)
    add_worker(commands)
    add_tasks(commands)
    return parser
