"""A real uvicorn for web adapters: what a TestClient would hide, a socket shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from creatormate_resilience.settings import Settings


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of its own, and no settings of this machine."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def serve() -> Callable[[Any], Any]:
    """Run an app under uvicorn on a free port, lifespan included, as an async context manager that gives its URL."""

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[str]:
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="on", proxy_headers=False)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        told = asyncio.Event()
        server.main_loop = told.wait  # type: ignore[assignment, method-assign] # its own looks ten times a second
        task = asyncio.create_task(server.serve())
        try:
            while not server.started:
                if task.done():
                    await task
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            told.set()
            await task

    return run
