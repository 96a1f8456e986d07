"""The creator service in this process, its upstreams beside it, on embedded defaults and on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from examples.creator_service.app import create_app
from examples.creator_service.settings import CreatorSettings
from examples.creator_service.tokens import TokenSigner

from upstreams import Upstreams, upstreams, upstreams_url

__all__ = ("upstreams", "upstreams_url")
from pydantic import SecretStr

from creatormate_resilience.settings import ServiceSettings
from creatormate_resilience.toolkit import Resilience, current_resilience

SECRET = "a secret that all agents of the test share"


@dataclass(frozen=True)
class Service:
    """The service under test.

    Attributes:
        http: Reaches it.
        upstreams: What it calls, with their switches.
        signer: Makes the tokens it accepts.
        resilience: What its lifespan has started.
    """

    http: httpx.AsyncClient
    upstreams: Upstreams
    signer: TokenSigner
    resilience: Resilience

    async def ask(self, user: str = "u1", channel: str = "c1", question: str = "What works best?") -> httpx.Response:
        """Ask as a user does."""
        return await self.http.post("/ask", json={"user_id": user, "channel_id": channel, "question": question})


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of its own, and no settings of this machine."""
    monkeypatch.chdir(tmp_path)
    for name in CreatorSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.server)])
def stores(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where cache and database are: in memory and SQLite, or real servers."""
    if request.param == "embedded":
        return {"database_url": "sqlite:///creator.db"}
    return {"redis_url": request.getfixturevalue("redis_url"), "database_url": request.getfixturevalue("postgres_url")}


@pytest.fixture
async def service(stores: dict[str, str], upstreams: Upstreams) -> AsyncIterator[Service]:
    """The service, its lifespan entered, its upstreams healthy, its breakers quick to open."""
    async with AsyncExitStack() as stack:
        settings = CreatorSettings(
            **stores,
            agent_token_secret=SecretStr(SECRET),
            circuit_breaker_configs={
                name: {"failure_threshold": 3, "recovery_timeout": 60} for name in ("youtube_api", "openai_api")
            },
            services={
                name: ServiceSettings(timeout=3, attempt_timeout=1, max_attempts=1)
                for name in ("youtube_api", "openai_api")
            },
        )
        app = create_app(settings, upstreams.url)
        await stack.enter_async_context(app.router.lifespan_context(app))
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
        yield Service(await stack.enter_async_context(http), upstreams, TokenSigner(SECRET), current_resilience())
