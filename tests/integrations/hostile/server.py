"""A real uvicorn in a thread, with the log of the whole process captured."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from creatormate_resilience.log import configure_logging


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs.

    Attributes:
        port: Where it listens on 127.0.0.1.
        log: All that the process has logged since it was started.
    """

    port: int
    log: io.StringIO

    def lines(self) -> list[str]:
        """The log, line by line."""
        return self.log.getvalue().split("\n")[:-1]


@contextmanager
def served(app: Any, **options: Any) -> Iterator[Served]:
    """Run an application under uvicorn.

    Args:
        app: The application.
        **options: For `uvicorn.Config`.
    """
    log = io.StringIO()
    config = uvicorn.Config(
        app, port=0, log_config=None, lifespan="on", loop="asyncio", timeout_keep_alive=60,
        # Without this limit whether a long head is refused depends on how many packets it comes in.
        h11_max_incomplete_event_size=1_000_000,
        **{"proxy_headers": False, "http": "h11"} | options,
    )  # fmt: skip
    server = uvicorn.Server(config)
    with configure_logging(format="json", stream=log):
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), log.getvalue()
                time.sleep(0.005)
            yield Served(server.servers[0].sockets[0].getsockname()[1], log)
        finally:
            server.should_exit = True
            thread.join()
