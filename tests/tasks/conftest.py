"""Task tests run on asyncio's own event loop and on uvloop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from creatormate_resilience.tasks import TaskExecutor


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops that the executor supports."""
    return request.param


@pytest.fixture
async def executor() -> AsyncIterator[TaskExecutor]:
    """A started executor with room for everything a test does."""
    async with TaskExecutor() as executor:
        yield executor
