"""Whether this process is the only worker of its server: one of several cannot answer for the others' memory."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

from creatormate_resilience.exceptions import ConfigurationError

_LOCKS = find_spec("fcntl") is not None
if TYPE_CHECKING or _LOCKS:
    import fcntl

__all__ = ("sole_worker",)


@contextmanager
def sole_worker(what: str) -> Generator[None]:
    """Refuse a block to the second worker process of one server.

    Workers are found by a lock on a file that stands for their common parent and command. Only what looks like a
    worker takes part: a child of `multiprocessing` (uvicorn, hypercorn, granian) or of gunicorn. Where files cannot be
    locked (Windows) nobody is refused.

    Args:
        what: Needs to be alone, for the error.

    Raises:
        ConfigurationError: Another worker of this server is in its block.
    """
    if not _LOCKS or (multiprocessing.parent_process() is None and "gunicorn" not in sys.modules):
        yield
        return
    # The directory is everybody's: no link that another user has put there is followed.
    with open(os.open(_lock_file(), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+b") as file:  # noqa: PTH123
        if not _lock(file):
            raise ConfigurationError(
                f"{what} in memory, and this server has several workers, which do not know each other's tasks: start "
                "one worker (--workers 1), or give the executor an engine that all of them share"
            )
        yield


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not `flock`: a process with two such blocks is still one
    except OSError:
        return False
    return True


def _lock_file() -> Path:
    siblings = "\0".join((str(os.getppid()), os.getcwd(), *sys.argv))  # noqa: PTH109 - a text is what is wanted
    digest = hashlib.sha256(siblings.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return Path(tempfile.gettempdir()) / f"creatormate-resilience-{os.getuid()}-{digest}.lock"
