"""A real HTTP server that answers as it was told, in a thread of its own, so that any client can ask it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal


@dataclass(frozen=True)
class Answer:
    """What the server does with one request.

    Attributes:
        status: Of the answer; None sends none.
        headers: Besides Content-Length.
        body: What is sent of the body.
        length: What Content-Length says; None for the truth.
        then: What becomes of the connection: "keep" it, "close" it, "reset" it, or "hang" until the client goes.
        raw: Sent instead of an answer.
        held: Not before `Upstream.release()`.
    """

    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    length: int | None = None
    then: Literal["keep", "close", "reset", "hang"] = "keep"
    raw: bytes = b""
    held: bool = False


DISCONNECT = Answer(None, then="close")
GARBAGE = Answer(None, raw=b"this is not HTTP\r\n\r\n", then="close")
HANG = Answer(None, then="hang")
CUT = Answer(200, body=b"half", length=8, then="close")
STALL = Answer(200, body=b"half", length=8, then="hang")


@dataclass(frozen=True)
class Seen:
    """A request that arrived; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Upstream:
    """The server: `answers` says what comes next, else it is 200 and "ok"."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._planned: deque[Answer] = deque()
        self._released = asyncio.Event()
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0
        self.requests: list[Seen] = []
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self, *planned: Answer | int) -> None:
        """Plan the next answers; a number is a status."""
        self._planned.extend(Answer(each) if isinstance(each, int) else each for each in planned)

    def release(self) -> None:
        """Send what was held."""
        self._portal.call(self._released.set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            while (seen := await self._read(reader)) is not None:
                self.requests.append(seen)
                answer = self._planned.popleft() if self._planned else Answer()
                if answer.held:
                    await self._released.wait()
                await self._answer(writer, seen, answer)
                if answer.then == "hang":
                    await reader.read()
                if answer.then == "reset":
                    writer.transport.abort()
                if answer.then != "keep":
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            del self._serving[task]  # last, so that `stop` waits for it

    async def stop(self) -> None:
        """End all connections, and wait until they have ended."""
        self._released.set()
        for _ in range(10):  # one may have been accepted just now
            await asyncio.sleep(0)
        for writer in self._serving.values():
            writer.transport.abort()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> Seen | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        else:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Seen(method, path, headers, body)

    async def _answer(self, writer: asyncio.StreamWriter, seen: Seen, answer: Answer) -> None:
        if answer.status is None:
            writer.write(answer.raw)
            await writer.drain()
            return
        empty = seen.method == "HEAD" or answer.status in {204, 304}
        headers = dict(answer.headers)
        if answer.status not in {204, 304}:
            headers["Content-Length"] = str(len(answer.body) if answer.length is None else answer.length)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {answer.status} Planned\r\n{lines}\r\n".encode("latin-1")
        writer.write(head if empty else head + answer.body)
        await writer.drain()


@contextmanager
def running() -> Iterator[Upstream]:
    with start_blocking_portal() as portal:
        upstream = Upstream(portal)

        async def serve(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
            upstream.port = server.sockets[0].getsockname()[1]
            task_status.started()
            try:
                await asyncio.Event().wait()
            finally:
                # Not closed yet: asyncio (3.11) loses a connection that it accepts at that very moment.
                asyncio.get_running_loop().remove_reader(server.sockets[0].fileno())
                with anyio.CancelScope(shield=True):
                    await upstream.stop()
                server.close()

        future, _ = portal.start_task(serve)
        try:
            yield upstream
        finally:
            future.cancel()
