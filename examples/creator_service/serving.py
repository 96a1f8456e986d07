"""How the processes of this example run: uvicorn on 127.0.0.1, a JSON line when ready, a clean end."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import threading
from types import FrameType
from typing import Any

import uvicorn

__all__ = ("HOST", "add_options", "serve")

HOST = "127.0.0.1"


def add_options(parser: argparse.ArgumentParser, *, port: int) -> None:
    """Add the options that `serve` takes.

    Args:
        parser: Where.
        port: The default.
    """
    parser.add_argument("--port", type=int, default=port, help=f"on {HOST}; 0 chooses a free one (default: {port})")
    parser.add_argument(
        "--end-with-stdin",
        action="store_true",
        help="end when standard input is closed, so that this process does not outlive the one that started it",
    )


def serve(app: Any, *, port: int, end_with_stdin: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C, then return. Prints `{"url": ..., "port": ..., "pid": ...}` once it is ready.

    Args:
        app: An ASGI application.
        port: On 127.0.0.1; 0 chooses a free one.
        end_with_stdin: End as well when standard input is closed.

    Raises:
        SystemExit: The port cannot be had (the message says what to change), or the application did not start.
    """
    listener = _listen(port)
    config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
    server = _Server(config)
    # uvicorn raises the signal it was stopped by once more when it has stopped; that must not kill what is left to do.
    signal.signal(signal.SIGTERM, _end)
    if end_with_stdin:
        threading.Thread(target=_stop_at_end_of_stdin, args=(server,), daemon=True).start()
    with listener, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and sockets:
            port = sockets[0].getsockname()[1]
            print(json.dumps({"url": f"http://{HOST}:{port}", "port": port, "pid": os.getpid()}), flush=True)


def _listen(port: int) -> socket.socket:
    # With the protocol named, asyncio switches Nagle's algorithm off on each connection. create_server leaves it
    # unnamed, and then, without uvloop, every answer waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise SystemExit(
            f"cannot listen on {HOST}:{port} ({reason}); choose another with --port, or --port 0 for any that is free"
        ) from None
    return listener


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _stop_at_end_of_stdin(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    server.should_exit = True
