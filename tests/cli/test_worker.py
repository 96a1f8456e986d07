"""`creatormate-resilience worker`: a real process, its signals and its answer to probes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fleet_tasks as fleet
from creatormate_resilience.cli import main
from creatormate_resilience.cli._health import verdict
from creatormate_resilience.tasks import TaskExecutor, TaskHandle, TaskStatus
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine, Vitals
from fleet_tasks import traces

pytestmark = [pytest.mark.anyio]

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(postgres_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts the command; what it prints goes to the file `log`."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*options: str, lease: float = 1.0) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            fleet.DSN: postgres_url,
            fleet.LEASE: str(lease),
            "PYTHONPATH": str(Path(fleet.__file__).parent),
        }
        command = [sys.executable, "-m", "creatormate_resilience.cli", "worker", "fleet_tasks:executor", *options]
        with (tmp_path / "log").open("ab") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
async def executor(postgres_url: str) -> Any:
    engine = ProcrastinateEngine(postgres_url, lease=1.0)
    await engine.migrate()
    async with TaskExecutor(engine=engine) as executor:
        yield executor


async def until(condition: Callable[[], Any], patience: float = 30.0) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def probe(port: int) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


async def test_probes_are_answered_while_the_event_loop_is_frozen(start, executor, tmp_path):
    """By a thread: 200 while all is well, 503 while it stands still, 200 again; then SIGTERM ends it with 0."""
    port = free_port()
    worker = start("--health-port", str(port), "--concurrency", "2", "--drain", "5")
    await until(lambda: probe(port)[0] == 200)
    handle = await executor.submit(fleet.block_loop, 3.0)
    await until(lambda: probe(port)[1].get("status") == "frozen")
    assert probe(port)[0] == 503
    await handle.result(30)
    await until(lambda: probe(port)[1].get("status") == "ok")
    with socket.create_connection(("127.0.0.1", port)) as rude:
        rude.sendall(b"x" * 10_000)
    assert probe(port)[0] == 200
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert "the event loop stood still" in (tmp_path / "log").read_text()


async def test_what_runs_may_finish(start, executor, tmp_path):
    """Within the time for it; nothing new is begun."""
    trail = str(tmp_path / "trail")
    worker = start("--concurrency", "1", "--drain", "20")
    first = await executor.submit(fleet.sleep, trail, "first", 1.0)
    await until(lambda: traces(trail) == ["first begins"])
    worker.send_signal(signal.SIGTERM)
    second = await executor.submit(fleet.sleep, trail, "second", 0.0)
    assert worker.wait(20) == 0
    assert await first.result(10) == "first"
    assert await second.status() is TaskStatus.QUEUED


async def test_a_second_interrupt_kills(start, executor, tmp_path):
    """However patient the first one is."""
    trail = str(tmp_path / "trail")
    worker = start("--drain", "600")
    await executor.submit(fleet.hold, trail, "one", str(tmp_path / "gate"))
    await until(lambda: traces(trail) == ["one begins"])
    worker.send_signal(signal.SIGINT)
    await until(lambda: "once more kills" in (tmp_path / "log").read_text())
    assert worker.poll() is None
    worker.send_signal(signal.SIGINT)
    assert worker.wait(20) == -signal.SIGINT


async def test_a_thread_that_does_not_stop_does_not_keep_the_process(start, executor, tmp_path):
    """It ends with 1, and another worker has the task when the lease is over."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    worker = start("--drain", "0", "--grace", "0.2")
    handle: TaskHandle[str] = await executor.submit(fleet.hold_thread, trail, "one", str(gate))
    await until(lambda: traces(trail) == ["one begins"])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 1
    gate.touch()
    start()
    assert await handle.result(30) == "one"


@pytest.mark.parametrize(
    ("vitals", "status", "state"),
    [
        (None, 503, "not working"),
        (Vitals(0.0, 1.0), 200, "ok"),
        (Vitals(0.0, None), 503, "cut off"),
        (Vitals(0.0, 31.0), 503, "cut off"),
        (Vitals(11.0, 1.0), 503, "frozen"),
    ],
)
def test_the_answer_to_a_probe(vitals, status, state):
    """What is wrong, in a word."""
    answered, body = verdict(vitals, 30.0)
    assert (answered, json.loads(body)["status"]) == (status, state)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nonsense", "module:attribute"),
        ("no_such_module_here:executor", "no module"),
        ("json:dumps", "is a function"),
        ("json:nothing", "is a NoneType"),
    ],
)
def test_a_target_that_is_none_is_named(target, says, capsys, caplog):
    """In one line, with exit code 3."""
    assert main(["worker", target]) == 3
    printed = capsys.readouterr().err
    assert says in printed
    assert "Traceback" not in printed


def test_tables_that_are_missing_are_named(postgres_url, start, tmp_path):
    """With the command that makes them."""
    assert start().wait(20) == 3
    assert "tasks migrate" in (tmp_path / "log").read_text()
