"""Fixtures of the database tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest


@pytest.fixture
async def sqlite_threads_end() -> AsyncIterator[None]:
    """Keep the event loop until the threads of connections that could not be opened have ended.

    aiosqlite does not wait for them, and a thread that finds its event loop closed raises.
    """
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 5)
