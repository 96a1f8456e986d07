"""The example's upstreams on a real port, and the example service inside the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from examples.creator_service.app import create_app
from examples.creator_service.settings import CreatorSettings
from examples.creator_service.upstreams import create_upstreams
from fastapi import FastAPI

from creatormate_resilience.toolkit import Resilience


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of its own, and no settings of this machine."""
    monkeypatch.chdir(tmp_path)
    for name in CreatorSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@dataclass(frozen=True)
class Upstreams:
    """The running upstreams and their switches."""

    url: str
    http: httpx.AsyncClient

    async def switch(self, kind: str, *names: str, **more: float) -> None:
        """Give the upstreams named, or both, a fault."""
        for name in names or ("youtube", "openai"):
            (await self.http.put(f"/admin/{name}", json={"kind": kind, **more})).raise_for_status()

    async def calls(self) -> dict[str, int]:
        """Calls so far, by upstream."""
        seen = (await self.http.get("/admin")).raise_for_status().json()
        return {name: sum(upstream["calls"].values()) for name, upstream in seen.items()}


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    """Both upstreams over real HTTP, without faults."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(create_upstreams(), port=0, log_config=None, timeout_graceful_shutdown=1, lifespan="off")
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=url, headers={"user-agent": "test"}) as http:
            yield Upstreams(url, http)
    finally:
        server.should_exit = True
        await task


@dataclass(frozen=True)
class Service:
    """The running service."""

    app: FastAPI
    http: httpx.AsyncClient

    @property
    def resilience(self) -> Resilience:
        return self.app.state.resilience

    async def ask(self, channel_id: str = "c1", question: str = "What works?", user_id: str = "ann") -> Any:
        """The answer to a question, which must be one."""
        asked = {"user_id": user_id, "channel_id": channel_id, "question": question}
        response = await self.http.post("/ask", json=asked)
        assert response.status_code == 200, response.text
        return response.json()


StartService = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def start_service(upstreams: Upstreams, tmp_path: Path) -> Iterator[StartService]:
    """Start a service with some settings; quick to give up, so that tests are quick too."""
    quick = {"timeout": 0.3, "attempt_timeout": 0.25, "max_attempts": 1}

    @asynccontextmanager
    async def start(*, library_on: bool = True, **settings: Any) -> AsyncIterator[Service]:
        defaults: dict[str, Any] = {
            "database_url": f"sqlite+aiosqlite:///{tmp_path}/creator.db",
            "answer_budget": 3.0,
            "services": {"youtube_api": quick, "openai_api": quick},
            "shutdown_timeout": 0.1,
        }
        app = create_app(CreatorSettings(**defaults | settings), upstreams.url, library_on=library_on)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as http,
        ):
            yield Service(app, http)

    return start  # type: ignore[return-value]
