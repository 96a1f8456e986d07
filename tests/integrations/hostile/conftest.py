"""The application of the hostile corpus under a real uvicorn, and the corpus sent to it once a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.integrations.hostile.app import make_app
from tests.integrations.hostile.corpus import Exchange, exchange_all, raised, rows
from tests.integrations.hostile.server import Served, served


@dataclass(frozen=True, slots=True)
class Run:
    """The whole corpus, sent.

    Attributes:
        exchanges: What became of each row.
        lines: What was logged meanwhile.
    """

    exchanges: list[Exchange]
    lines: list[str]


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """The application, with uvicorn's own reading of forwarded addresses off."""
    with served(make_app()) as server:
        yield server


@pytest.fixture(scope="module", params=["h11", "httptools"])
def run(request: pytest.FixtureRequest) -> Run:
    """The corpus sent to a server of its own, which has ended: nothing is logged later.

    Whatever is raised goes through both parsers of uvicorn; what is sent only through h11, because what a parser makes
    of malformed requests is its own affair.
    """
    with served(make_app(), http=request.param) as server:
        exchanges = exchange_all(server.port, rows() if request.param == "h11" else raised())
    return Run(exchanges, server.lines())
