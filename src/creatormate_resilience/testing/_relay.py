"""The working half of the fault proxy: one thread with its own event loop that carries bytes between sockets.

Everything here runs on that loop, except what `Relay` says otherwise of.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

__all__ = ("Direction", "Line", "Relay")

Direction = Literal["request", "reply"]
T = TypeVar("T")

_CHUNK = 65536
_QUEUED_CHUNKS = 64  # per connection and direction: 4 MiB, then the sender is held back as TCP does it
_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # SO_LINGER: on, no time


class _CutError(Exception):
    """The connection ends here, as a fault asked for; its argument is the writer of the receiving side."""


@dataclass(slots=True)
class Line:
    """What is wrong with one direction.

    Attributes:
        latency: In seconds.
        bandwidth: Bytes per second, or None for no limit.
        cut_in: Bytes that may pass before a connection is cut, or None.
        passable: Not set while the direction is a black hole.
    """

    latency: float = 0.0
    bandwidth: float | None = None
    cut_in: int | None = None
    passable: asyncio.Event = field(default_factory=asyncio.Event)

    def heal(self) -> None:
        """Nothing is wrong any more; what was held flows on."""
        self.latency, self.bandwidth, self.cut_in = 0.0, None, None
        self.passable.set()

    def admit(self, data: bytes) -> tuple[bytes, bool]:
        """What of the data passes, and whether the connection is cut after it. A cut happens once."""
        if self.cut_in is None:
            return data, False
        passing = data[: self.cut_in]
        self.cut_in -= len(passing)
        if self.cut_in > 0:
            return passing, False
        self.cut_in = None
        return passing, True

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The data in pieces of a twentieth of a second each, or whole where bandwidth is not limited."""
        size = len(data) if self.bandwidth is None else max(1, int(self.bandwidth / 20))
        return (data[start : start + size] for start in range(0, len(data), max(1, size)))

    def __str__(self) -> str:
        faults = {
            f"latency={self.latency:g}s": self.latency > 0,
            f"bandwidth={self.bandwidth or 0:g}B/s": self.bandwidth is not None,
            f"cut in {self.cut_in} bytes": self.cut_in is not None,
            "blackhole": not self.passable.is_set(),
        }
        return " ".join(fault for fault, present in faults.items() if present)


class Relay:
    """Listens, connects onwards, carries bytes. `start`, `run` and `stop` are called from other threads."""

    def __init__(self, host: str, port: int, max_connections: int) -> None:
        self.lines: dict[Direction, Line] = {"request": Line(), "reply": Line()}
        self.connections: set[asyncio.Task[None]] = set()
        self.listener: asyncio.Server | None = None
        self.address = ("127.0.0.1", 0)
        self._upstream = (host, port)
        self._max_connections = max_connections

    # From other threads ---------------------------------------------------------------------------------------------
    def start(self, port: int) -> None:
        """Listen on this port (0: a free one). Returns when connections are accepted."""
        # It never listens. On Linux it keeps the port ours while `refuse` is on, and a listener may be bound beside it.
        self._reservation = _bind(("127.0.0.1", port))
        self.address = self._reservation.getsockname()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run_loop, name=f"fault-proxy-{self.address[1]}", daemon=True)
        self._thread.start()
        self._ready.wait()
        self.run(self.listen)

    def run(self, change: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine function on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(change(), self._loop).result(10)

    def stop(self, *, wait: bool = True) -> None:
        """Reset all connections and end the thread."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        if wait:
            self._thread.join(10)

    # On the loop ----------------------------------------------------------------------------------------------------
    async def listen(self) -> None:
        """Accept connections, unless it does already."""
        if self.listener is None:
            if sys.platform != "linux":
                self._reservation.close()
            self.listener = await asyncio.start_server(self._accept, sock=_bind(self.address))

    async def refuse(self) -> None:
        """Stop listening and reset all connections."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        await self.reset()

    async def reset(self) -> None:
        """Reset all connections. Returns when they are gone."""
        tasks = list(self.connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run_loop(self) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:  # the same under any event loop policy
            runner.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        for line in self.lines.values():
            line.heal()
        self._ready.set()
        await self._stopping.wait()
        await self.refuse()
        self._reservation.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.listener is None or len(self.connections) >= self._max_connections:
            _reset(writer)
            return
        task = self._loop.create_task(self._serve(reader, writer))
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        ends = [to_client]
        try:
            from_upstream, to_upstream = await asyncio.open_connection(*self._upstream)
            ends.append(to_upstream)
            async with asyncio.TaskGroup() as tasks:
                for task in _carry(from_client, to_upstream, self.lines["request"]):
                    tasks.create_task(task)
                for task in _carry(from_upstream, to_client, self.lines["reply"]):
                    tasks.create_task(task)
            for end in ends:
                await _close(end)
        except* _CutError as cuts:
            for cut in cuts.exceptions:
                await _close(cut.args[0])  # in order, so that what passed arrives; a reset could overtake it
        except* OSError:  # a reset on one side becomes a reset on the other
            pass
        finally:
            for end in ends:
                _reset(end)


def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line
) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED_CHUNKS)
    return _receive(reader, queue, line), _deliver(queue, writer, line)


async def _receive(reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]], line: Line) -> None:
    data = b"start"
    while data:
        data = await reader.read(_CHUNK)
        await queue.put((asyncio.get_running_loop().time() + line.latency, data))


async def _deliver(queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, line: Line) -> None:
    while True:
        due, data = await queue.get()
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        await line.passable.wait()
        if not data:
            break
        await _write(writer, data, line)
    writer.write_eof()


async def _write(writer: asyncio.StreamWriter, data: bytes, line: Line) -> None:
    passing, cut = line.admit(data)
    for piece in line.pieces(passing):
        writer.write(piece)
        await writer.drain()
        if line.bandwidth is not None:
            await asyncio.sleep(len(piece) / line.bandwidth)
    if cut:
        raise _CutError(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


def _bind(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket()
    try:
        if os.name != "nt":  # there it would let anyone take the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
