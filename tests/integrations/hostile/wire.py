"""A raw HTTP/1.1 client: it sends any bytes, keeps the connection, and says exactly what came back."""

from __future__ import annotations

import gzip
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_NO_BODY = frozenset({204, 304})
_PATIENCE = 10.0
"""Seconds without a byte after which no answer is to be expected."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: The status code; None where no head came.
        headers: Names in lower case and values, in order.
        body: As sent, without chunks.
        raw: Every byte.
        whole: Whether head and body were complete.
        framed: Whether the head says where the body ends; else the end of the connection does.
    """

    status: int | None
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw: bytes
    whole: bool
    framed: bool = True

    def all(self, name: str) -> list[str]:
        """The values of a header."""
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str:
        """The value of a header that may stand there once; empty where it is not there."""
        (value,) = self.all(name) or ("",)
        return value

    @property
    def text(self) -> bytes:
        """The body, unpacked where the head says that it is packed."""
        try:
            return gzip.decompress(self.body) if self.header("content-encoding") == "gzip" and self.body else self.body
        except gzip.BadGzipFile as exc:
            raise BadAnswerError("the head says gzip, and the body is not") from exc


class BadAnswerError(Exception):
    """What came is not HTTP."""


class Connection:
    """One connection to a server on this machine.

    Args:
        port: Where it listens.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def exchange(self, raw: bytes, *, ends: bool = False) -> Answer:
        """Send bytes and read one answer.

        Args:
            raw: What to send.
            ends: Whether to say afterwards that nothing more will come.
        """
        self.send(raw)
        if ends:
            self._socket.shutdown(socket.SHUT_WR)
        return self.receive("HEAD" if raw.startswith(b"HEAD ") else "GET")

    def send(self, raw: bytes) -> None:
        """Send bytes; a server that closed already is noticed when its answer is read."""
        try:
            self._socket.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            return

    def receive(self, method: str = "GET") -> Answer:
        """Read one answer, past all interim ones."""
        self._read = b""
        while True:
            head = self._until(b"\r\n\r\n")
            if head is None:
                return Answer(None, (), b"", self._read, whole=False)
            status, headers = _parse(head)
            if status >= 200:
                break
        body, whole, framed = self._body(method, status, dict(headers))
        return Answer(status, headers, body, self._read, whole, framed)

    def has_more(self) -> bool:
        """Whether bytes came behind the last answer."""
        return bool(self._buffer)

    def _body(self, method: str, status: int, headers: dict[str, str]) -> tuple[bytes, bool, bool]:
        if method == "HEAD" or status in _NO_BODY:
            return b"", True, True
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return *self._chunks(), True
        if (length := headers.get("content-length")) is not None:
            body = self._take(int(length))
            return body, len(body) == int(length), True
        while self._more():
            pass
        return self._take(len(self._buffer)), True, False

    def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        while (line := self._until(b"\r\n")) is not None:
            size = int(line.split(b";")[0], 16)
            chunk = self._take(size + 2)
            if len(chunk) != size + 2:
                return body + chunk, False
            if size == 0:
                return body, True
            body += chunk[:-2]
        return body, False

    def _until(self, end: bytes) -> bytes | None:
        while end not in self._buffer:
            if not self._more():
                return None
        line, _, self._buffer = self._buffer.partition(end)
        return line

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size and self._more():
            pass
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _more(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except (ConnectionResetError, TimeoutError):
            return False
        self._buffer += data
        self._read += data
        return bool(data)


def _parse(head: bytes) -> tuple[int, tuple[tuple[str, str], ...]]:
    first, *lines = head.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    if version != b"HTTP/1.1" or not rest[:3].isdigit():
        raise BadAnswerError(first)
    pairs = [line.decode("latin-1").partition(":") for line in lines]
    return int(rest[:3]), tuple((name.lower(), value.strip()) for name, _, value in pairs)
