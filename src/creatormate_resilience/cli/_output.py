"""What the commands print, to whomever and in whatever encoding, and how they say that something went wrong."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from creatormate_resilience.exceptions import ConfigurationError, ResilienceError
from creatormate_resilience.redaction import redact_text

__all__ = ("FAILED", "guarded", "print_text")

FAILED = 3
"""The exit code where a command could not do what it was asked for."""
_LONGEST_TRACEBACK = 20_000


def print_text(text: str) -> None:
    """Print, in whatever encoding, to somebody who may stop reading."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(f"{text}\n".encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:  # such as `head`; what is left in the buffer has to go somewhere at the end
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def guarded(command: Callable[[], int]) -> int:
    """Run a command; what it raises goes to standard error without secrets, one line where it was to be expected.

    Args:
        command: Returns the exit code.

    Returns:
        It, or `FAILED`.
    """
    try:
        return command()
    except ResilienceError as error:
        text = str(error) if isinstance(error, ConfigurationError) else redact_text(str(error))
        sys.stderr.write(f"creatormate-resilience: {' '.join(text.split())}\n")
    except Exception as error:  # noqa: BLE001 - left to Python it would be the exit code of a finding
        sys.stderr.write(f"{redact_text(''.join(traceback.format_exception(error)), _LONGEST_TRACEBACK)}\n")
    return FAILED
