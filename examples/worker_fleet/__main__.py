"""`DATABASE_URL=... python -m examples.worker_fleet`: two workers, ten analyses, and kill -9 of one in the middle."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

from creatormate_resilience.cli import main
from examples.worker_fleet.analyses import analyse_channel
from examples.worker_fleet.fleet import create_executor

_TARGET = "examples.worker_fleet.fleet:executor"
_LEASE = "3"


def _worker() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "creatormate_resilience.cli", "worker", _TARGET, "--concurrency", "2"]
    return subprocess.Popen([*command, "--queues", "analyses"], env=os.environ | {"TASK_LEASE": _LEASE})  # noqa: S603


async def _demonstrate(workers: list[subprocess.Popen[bytes]]) -> None:
    async with create_executor(os.environ["DATABASE_URL"], float(_LEASE)) as executor:
        began = time.monotonic()
        handles = await executor.submit_many(analyse_channel, [(f"channel-{number}", 100) for number in range(10)])
        await asyncio.sleep(4.0)
        workers[0].kill()
        print(f"{time.monotonic() - began:4.1f} s: one of two workers was killed")
        for handle in handles:
            result = await handle.result(timeout=120)
            attempts = (await handle.record()).attempts
            print(f"{time.monotonic() - began:4.1f} s: {result}, started {attempts} time(s)")


def _run() -> None:
    if "DATABASE_URL" not in os.environ:
        sys.exit("DATABASE_URL is not set; it names a PostgreSQL database that this example may make tables in")
    if main(["tasks", "migrate", _TARGET]) != 0:
        sys.exit(1)
    workers = [_worker(), _worker()]
    try:
        asyncio.run(_demonstrate(workers))
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait()


if __name__ == "__main__":
    _run()
