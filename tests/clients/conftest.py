"""A real server, and each of the clients before it, on the event loops that they run on."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.clients.callers import PAIRS, Caller, caller
from tests.clients.upstream import Upstream, running


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A kind of client, and an event loop that it runs on."""
    return request.param


@pytest.fixture
def kind(pair: tuple[str, str]) -> str:
    """A kind of client."""
    return pair[0]


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Asyncio, or the loop that belongs to the kind of client."""
    return request.getfixturevalue("pair")[1] if "pair" in request.fixturenames else "asyncio"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server that answers as it was told."""
    with running() as server:
        yield server


@pytest.fixture
def closed_url() -> str:
    """Where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Where connecting takes for ever: the queue of connections is full, and nobody accepts."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = waiting.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
async def make(kind: str, anyio_backend: Any) -> AsyncIterator[Callable[..., Caller]]:
    """Makes clients of the kind, and closes them."""
    made: list[Caller] = []

    def build(**options: Any) -> Caller:
        made.append(caller(kind, **options))
        return made[-1]

    yield build
    for each in made:
        await each.aclose()
