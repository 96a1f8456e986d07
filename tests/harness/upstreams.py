"""The example's upstreams as one process for the whole run: fixtures for the guide's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from examples.creator_service.processes import running

__all__ = ("Upstreams", "upstreams", "upstreams_url")


class Upstreams:
    """The upstreams and their switches."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._counted = 0

    @property
    def url(self) -> str:
        """Where they are."""
        return str(self._http.base_url)

    async def set(self, name: str, **fault: Any) -> None:
        """Switch a fault; `kind="ok"` mends it."""
        (await self._http.put(f"/admin/{name}", json=fault)).raise_for_status()

    async def calls(self) -> int:
        """Calls since this test began."""
        return await self._all_calls() - self._counted

    async def begin(self) -> None:
        """All is well, and nobody has called yet."""
        for name in ("youtube", "openai"):
            await self.set(name, kind="ok")
        self._counted = await self._all_calls()

    async def _all_calls(self) -> int:
        seen = (await self._http.get("/admin")).json()
        return sum(sum(upstream["calls"].values()) for upstream in seen.values())


@pytest.fixture(scope="session")
def upstreams_url() -> Iterator[str]:
    """URL of the upstreams, started once, from an event loop of their own."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running("examples.creator_service.upstreams")) as url,
    ):
        yield url


@pytest.fixture
async def upstreams(upstreams_url: str) -> AsyncIterator[Upstreams]:
    """The upstreams, healthy."""
    async with httpx.AsyncClient(base_url=upstreams_url) as http:
        switches = Upstreams(http)
        await switches.begin()
        yield switches
