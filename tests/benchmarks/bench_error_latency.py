"""How long clients wait for an error, over real sockets: alone, at half of saturation, with all threads blocked.

The server (uvicorn, one process) has a core of its own where there are two. Run with `nox -s benchmarks -- -s`.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Self

import uvicorn
from fastapi import FastAPI

from creatormate_resilience.exceptions import ExternalAPIError, NotFoundError
from creatormate_resilience.integrations.fastapi import setup_error_handlers
from creatormate_resilience.log import configure_logging

PATHS = ("/ok", "/missing", "/upstream", "/bug")


def make_app() -> FastAPI:
    app = FastAPI()
    setup_error_handlers(app, domain="d")
    released = threading.Event()

    @app.get("/ok")
    async def ok() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/missing")
    async def missing() -> None:
        raise NotFoundError("no such row", public={"id": 7})

    @app.get("/upstream")
    async def upstream() -> None:
        raise ExternalAPIError("OpenAI", "refused", context={"dsn": "postgresql://u:hunter2@h/db"})

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("hunter2")

    @app.get("/blocked")
    def blocked() -> None:
        released.wait(30)

    @app.get("/release")
    async def release() -> None:
        released.set()

    return app


def run_server(pipe: Connection) -> None:
    config = uvicorn.Config(make_app(), port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)

    async def tell() -> None:
        while not server.started:
            await asyncio.sleep(0.01)
        pipe.send(server.servers[0].sockets[0].getsockname()[1])

    async def serve() -> None:
        await asyncio.gather(server.serve(), tell())

    with open(os.devnull, "w") as nowhere, configure_logging(format="json", stream=nowhere):  # noqa: PTH123
        asyncio.run(serve())


@contextlib.contextmanager
def server() -> Iterator[int]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_server, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def send(self, path: str) -> None:
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await self._writer.drain()

    async def ask(self, path: str) -> float:
        started = time.perf_counter()
        await self.send(path)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await self._reader.readexactly(length)
        return (time.perf_counter() - started) * 1000


def told(name: str, waits: list[float]) -> str:
    ordered = sorted(waits)
    p99 = ordered[round((len(ordered) - 1) * 0.99)]
    return f"{name:44}{statistics.median(ordered):>10.2f}{p99:>10.2f}{ordered[-1]:>10.2f}{len(ordered):>8}"


async def alone(port: int, path: str, requests: int = 1000) -> list[float]:
    async with Client(port) as client:
        await client.ask(path)
        return [await client.ask(path) for _ in range(requests)]


async def saturated(port: int, path: str, connections: int = 32, seconds: float = 3.0) -> float:
    """Requests a second, from connections that ask again as soon as they are answered."""
    end = time.perf_counter() + seconds

    async def one() -> int:
        count = 0
        async with Client(port) as client:
            while time.perf_counter() < end:
                await client.ask(path)
                count += 1
        return count

    return sum(await asyncio.gather(*(one() for _ in range(connections)))) / seconds


async def steady(port: int, path: str, rate: float, seconds: float = 4.0) -> list[float]:
    """Waits at a rate that does not depend on the answers; connections are taken from a pool."""
    waits: list[float] = []
    free: asyncio.Queue[Client] = asyncio.Queue()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(64):
            free.put_nowait(await stack.enter_async_context(Client(port)))

        async def one(due: float) -> None:
            client = await free.get()
            await client.ask(path)
            free.put_nowait(client)
            waits.append((time.perf_counter() - due) * 1000)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number in range(round(rate * seconds)):
                due = started + number / rate
                if (ahead := due - time.perf_counter()) > 0:
                    await asyncio.sleep(ahead)
                tasks.create_task(one(due))
    return waits


async def while_blocked(port: int, blocked: int = 80) -> list[float]:
    """Waits for errors while more sync endpoints block than the pool has threads."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(blocked):
            client = await stack.enter_async_context(Client(port))
            await client.send("/blocked")
        async with Client(port) as client:
            waits = [await client.ask(path) for _ in range(100) for path in PATHS[1:]]
            await client.ask("/release")
    return waits


def test_waits(capsys):
    """Alone, at half of saturation, with blocked threads: milliseconds."""
    lines = [f"{'':44}{'median':>10}{'p99':>10}{'longest':>10}{'n':>8}"]
    with server() as port:
        lines += [told(f"one connection, {path}", asyncio.run(alone(port, path))) for path in PATHS]
        for path in PATHS:
            most = asyncio.run(saturated(port, path))
            waits = asyncio.run(steady(port, path, most / 2))
            lines.append(told(f"half of {most:.0f} requests a second, {path}", waits))
        lines.append(told("80 blocked sync endpoints", asyncio.run(while_blocked(port))))
    with capsys.disabled():
        print("\n\nWaiting for errors, in milliseconds\n" + "\n".join(lines))
    assert len(lines) == 2 * len(PATHS) + 2
