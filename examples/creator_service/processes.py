"""Processes of this example, started and ended by another."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from examples.creator_service.settings import CreatorSettings

__all__ = ("running",)

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_PATIENCE = 30.0


@asynccontextmanager
async def running(module: str, *arguments: str, settings: Mapping[str, str] | None = None) -> AsyncGenerator[str]:
    """A process that serves until the block ends.

    It hangs on a pipe from here, so it ends too when this process is killed and can end nothing itself. It sees the
    settings given and no others: neither those of this environment nor those of a `.env`.

    Args:
        module: What `python -m` runs; serves by `serving.serve`.
        *arguments: Of its command line.
        settings: Its environment variables.

    Yields:
        The URL at which it serves.

    Raises:
        RuntimeError: It did not get ready; its standard error tells why.
    """
    foreign = {name.upper() for name in CreatorSettings.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name.upper() not in foreign}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, "--port", "0", "--end-with-stdin", *arguments),
        cwd=_HERE,
        env=inherited | {"PYTHONPATH": str(_ROOT)} | dict(settings or {}),
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,  # Ctrl-C is for the one who started it, who then ends it
    )
    try:
        yield await _url_of(process, module)
    finally:
        await _end(process)


async def _url_of(process: Process, module: str) -> str:
    assert process.stdout is not None  # noqa: S101 - it was started with a pipe
    async with asyncio.timeout(_PATIENCE):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"{module} ended before it was ready")
    return str(json.loads(line)["url"])


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
