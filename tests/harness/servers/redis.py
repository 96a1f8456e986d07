"""Redis or Valkey, with an append-only file that is written before a command is acknowledged."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from servers._binaries import Binary, find_redis
from servers._process import HOST, Server, ServerError
from servers._reaper import temporary_directory

__all__ = ("RedisServer",)


class RedisServer(Server):
    """A Redis or Valkey server.

    Args:
        *options: Further command line options, for example "--maxmemory", "16mb".
        binary: The program to run; found by `find_redis` where left out.
    """

    _stop_signal = signal.SIGTERM

    def __init__(self, *options: str, binary: Binary | None = None) -> None:
        super().__init__(binary or find_redis())
        self._options = options

    @property
    def url(self) -> str:
        """Database 0."""
        return f"redis://{HOST}:{self.port}/0"

    def flush(self) -> None:
        """Empty all databases.

        Raises:
            ServerError: It refused.
        """
        answer = self._ask(b"FLUSHALL\r\n")
        if not answer.startswith(b"+OK"):
            raise ServerError(f"{self} answered FLUSHALL with {answer!r}")

    def _prepare(self) -> Path:
        return temporary_directory()

    def _command(self, directory: Path) -> list[str]:
        return [
            *(str(self.binary.path), "--bind", HOST, "--port", str(self.port), "--dir", str(directory)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            *("--enable-debug-command", "local"),  # for DEBUG SLEEP and the like
            *("--hz", "100"),  # it looks for SIGTERM this often
            *self._options,
        ]

    def _answers(self) -> bool:
        return self._ask(b"PING\r\n").startswith(b"+PONG")  # "-LOADING" while it reads its append-only file

    def _ask(self, command: bytes) -> bytes:
        with socket.create_connection((HOST, self.port), timeout=5) as connection:
            connection.sendall(command)
            return connection.recv(256)
