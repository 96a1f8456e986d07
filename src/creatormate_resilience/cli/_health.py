"""A worker's answer to who asks whether it lives, from a thread of its own: also while its event loop is frozen."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.tasks.procrastinate import Vitals

__all__ = ("HealthServer", "verdict")

_PATIENCE = 5.0
_LONGEST_LINE = 4096
_FROZEN = 10.0


def verdict(vitals: Vitals | None, lease: float) -> tuple[int, str]:
    """What a probe is told.

    Args:
        vitals: The worker's; None where it does not work yet, or no more.
        lease: Seconds after which the others take it for dead.

    Returns:
        An HTTP status and a body.
    """
    if vitals is None:
        return 503, json.dumps({"status": "not working"})
    state = "ok"
    if vitals.frozen > min(_FROZEN, lease):
        state = "frozen"
    elif vitals.silent is None or vitals.silent > lease:
        state = "cut off"
    body = {"status": state, "frozen": round(vitals.frozen, 1), "silent": vitals.silent and round(vitals.silent, 1)}
    return 200 if state == "ok" else 503, json.dumps(body)


class HealthServer:
    """Answers every GET with the worker's state; HTTP/1.1, one request for each connection.

    Args:
        host: Where it listens.
        port: 0 takes a free one.
        look: The answer; called in the thread.
    """

    def __init__(self, host: str, port: int, look: Callable[[], tuple[int, str]]) -> None:
        self._host = host
        self._look = look
        self._ready = threading.Event()
        self._error: OSError | None = None
        self.port = port
        """Where it listens, once it does."""

    def start(self) -> None:
        """Begin.

        Raises:
            ConfigurationError: The port cannot be had.
        """
        threading.Thread(target=lambda: asyncio.run(self._serve()), name="health", daemon=True).start()
        self._ready.wait()
        if self._error is not None:
            raise ConfigurationError(f"nothing can listen on {self._host}:{self.port}: {self._error.strerror}")

    async def _serve(self) -> None:
        try:
            server = await asyncio.start_server(self._answer, self._host, self.port, limit=_LONGEST_LINE)
        except OSError as error:
            self._error = error
            return
        else:
            self.port = server.sockets[0].getsockname()[1]
        finally:
            self._ready.set()
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                request = await reader.readuntil(b"\r\n")
                status, body = self._look() if request.startswith(b"GET ") else (405, "{}")
                head = f"HTTP/1.1 {status} \r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
                writer.write(f"{head}\r\nConnection: close\r\n\r\n{body}".encode())
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who asked went away, or did not speak HTTP
        finally:
            writer.close()
