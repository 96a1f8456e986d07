"""The reaper: a small process that ends the servers and removes their directories when the test run is gone.

It hears of them through its standard input. When that ends, however the test run ended (also by kill -9), it kills
what is still there, removes the directories and ends itself. It runs as a script, so it imports nothing of ours.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

__all__ = ("family", "kill_family", "reaper", "remove_directory", "temporary_directory")


def family(root: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants. A process group would miss PostgreSQL's backends: each is a session of its own."""
    return [root, *root.children(recursive=True)]


def kill_family(root: psutil.Process, timeout: float = 10.0) -> None:
    """Kill a process and its descendants with SIGKILL, and wait until they are gone.

    Args:
        root: The process. It is stopped first, so that it starts no child while we look.
        timeout: How long to wait for their end, in seconds.

    Raises:
        TimeoutError: One of them is still there.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        root.suspend()
        members = family(root)
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        _wait(members, timeout)


def _wait(members: Iterable[psutil.Process], timeout: float) -> None:
    end = time.monotonic() + timeout
    while alive := list(_alive(members)):
        if time.monotonic() > end:
            raise TimeoutError(f"still running after SIGKILL: {alive}")
        time.sleep(0.005)


def _alive(members: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is gone; its parent may take its time to notice
            if member.is_running() and member.status() != psutil.STATUS_ZOMBIE:
                yield member


class Reaper:
    """Our end of the reaper: what is registered here does not outlive this process."""

    def __init__(self) -> None:
        # -P: beside the script lies `redis.py`, which is not the module `redis`. Its own session: Ctrl-C spares it.
        command = [sys.executable, "-P", __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd="/", start_new_session=True)
        self._owner = os.getpid()
        atexit.register(self.close)

    def tell(self, verb: str, what: object) -> None:
        """Say "process" <id>, "directory" <path> or "forget" <either>."""
        if os.getpid() == self._owner:  # a forked child owns no server
            assert self._process.stdin is not None
            self._process.stdin.write(f"{verb} {what}\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """Let it clean up what was not forgotten, and wait for it."""
        if os.getpid() == self._owner:
            self._process.communicate(timeout=30)


@functools.cache
def reaper() -> Reaper:
    """The one of this process, started at first use."""
    return Reaper()


def temporary_directory(*, public: bool = False) -> Path:
    """A new directory that does not outlive this process.

    Args:
        public: Another user must be able to enter it, so it cannot lie below a private directory.
    """
    base = Path(tempfile.gettempdir())
    if public and not all(part.stat().st_mode & 0o001 for part in (base, *base.parents)):
        base = Path("/tmp")
    path = Path(tempfile.mkdtemp(prefix="creatormate-test-", dir=base))
    reaper().tell("directory", path)
    if public:
        path.chmod(0o755)
    return path


def remove_directory(path: Path) -> None:
    """Remove a directory made by `temporary_directory`."""
    shutil.rmtree(path)
    reaper().tell("forget", path)


def main() -> None:
    """Follow standard input to its end, then clean up."""
    processes: dict[str, psutil.Process] = {}
    directories: set[str] = set()
    for line in sys.stdin:
        verb, what = line.rstrip("\n").split(" ", 1)
        if verb == "process":
            with contextlib.suppress(psutil.NoSuchProcess):
                processes[what] = psutil.Process(int(what))  # remembers its start time, so a reused id is not killed
        elif verb == "directory":
            directories.add(what)
        elif verb == "forget":
            processes.pop(what, None)
            directories.discard(what)
    for process in processes.values():
        kill_family(process)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
