"""The reaper: a small process that ends the servers and removes their directories when the test run is gone.

It hears of them through its standard input. When that ends, however the test run ended (also by kill -9), it kills
what is still there, removes the directories and ends itself. It runs as a script, so it imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterable, Iterator

import psutil

__all__ = ("family", "kill_family")


def family(root: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants. PostgreSQL's backends are sessions of their own, so a process group is not enough."""
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
