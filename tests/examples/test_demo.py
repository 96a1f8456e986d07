"""The demo: what it claims is judged, and its processes end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from examples.creator_service.demo import claims
from examples.creator_service.load import Crowd, Question, Sent, percentile
from examples.creator_service.report import Measured

ROOT = Path(__file__).resolve().parents[2]
SERVICE = ("-m", "examples.creator_service", "--scratch", "--upstream-url", "http://127.0.0.1:9")
UPSTREAMS = ("-m", "examples.creator_service.upstreams")


# Judging --------------------------------------------------------------------------------------------------------------
def sent(number: int, *, status: int = 200, seconds: float = 0.01, degraded: bool = False, new: bool = False) -> list[Sent]:
    return [Sent(Question("u", "c", "q", new), seconds, status, degraded)] * number


def measured(phase: str, side: str, sent: Sequence[Sent], calls: int) -> Measured:
    return Measured(phase, phase in {"failing", "hanging"}, side, sent, calls)


GOOD = [
    (measured("failing", "on", sent(200, degraded=True), 5), measured("failing", "off", sent(20, status=502), 40)),
    (measured("hanging", "on", sent(200, degraded=True), 5), measured("hanging", "off", sent(20, status=0), 40)),
    (measured("recovery", "on", sent(100), 100), measured("recovery", "off", sent(10), 40)),
]
CLOSED = {"youtube_api": "closed"}


def failing_claims(pairs: Sequence[tuple[Measured, Measured]], states: dict[str, str] = CLOSED) -> list[str]:
    return [text for text, held in claims(pairs, states) if not held]


def test_a_good_run_holds_all_claims():
    """Nothing fails where all is as it should be."""
    assert failing_claims(GOOD) == []


@pytest.mark.parametrize(
    ("place", "on", "says"),
    [
        (0, {"sent": sent(196, degraded=True) + sent(4, status=503)}, "serves"),
        (0, {"sent": sent(190) + sent(10, seconds=0.3)}, "p99"),
        (1, {"calls": 60}, "upstream calls"),
        (1, {"sent": sent(199) + sent(1, new=True)}, "not marked"),
        (2, {"sent": sent(50) + sent(50, degraded=True)}, "undegraded"),
    ],
    ids=["too many failed", "too slow", "too many calls", "unmarked", "not recovered"],
)
def test_each_claim_can_fail(place: int, on: dict[str, object], says: str):
    """A run that misses one promise fails that claim and no other."""
    pairs = [(replace(pair[0], **on), pair[1]) if index == place else pair for index, pair in enumerate(GOOD)]
    (failed,) = failing_claims(pairs)
    assert says in failed


def test_the_comparison_can_fail_too():
    """Where the service does as well without the library, the demo shows nothing."""
    pairs = [(GOOD[0][0], measured("failing", "off", sent(20), 40)), *GOOD[1:]]
    (failed,) = failing_claims(pairs)
    assert "without it" in failed


def test_a_breaker_that_stays_open_fails_the_demo():
    """Recovery means that the circuits are closed again."""
    (failed,) = failing_claims(GOOD, {"youtube_api": "open"})
    assert "youtube_api open" in failed


def test_percentiles_are_nearest_rank():
    """The value that this share of all values does not exceed."""
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (50.0, 99.0, 7.0)


def test_the_crowd_is_the_same_each_time_and_asks_about_new_channels():
    """Some questions are about channels nobody asked about before, each such channel once."""
    questions = Crowd(seed=1).ask(500)
    assert questions == Crowd(seed=1).ask(500)
    newcomers = [question.channel_id for question in questions if question.new]
    assert 25 < len(newcomers) < 100
    assert len(set(newcomers)) == len(newcomers)


# Processes ------------------------------------------------------------------------------------------------------------
@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        [sys.executable, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=Path.cwd(), env=environment
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def scratch_directories(temporary: Path) -> list[Path]:
    return list(temporary.glob("creator-service-*"))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the processes of this test put their temporary directories."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("end", ["SIGTERM", "SIGINT", "the end of its standard input"])
@pytest.mark.parametrize("arguments", [SERVICE, UPSTREAMS], ids=["service", "upstreams"])
def test_a_process_says_when_it_is_ready_and_ends_cleanly(arguments: Sequence[str], end: str, temporary: Path):
    """One JSON line, then service until it is told to stop; exit code 0, nothing said, nothing left."""
    with process(*arguments, "--port", "0", "--end-with-stdin") as child:
        assert child.stdout is not None
        assert child.stdin is not None
        ready = json.loads(child.stdout.readline())
        assert ready["pid"] == child.pid
        with socket.create_connection(("127.0.0.1", ready["port"]), timeout=5):
            pass
        if end.startswith("SIG"):
            child.send_signal(getattr(signal, end))
        else:
            child.stdin.close()
            child.stdin = None
        out, err = child.communicate(timeout=20)
    assert (child.returncode, out, err) == (0, "", "")
    assert scratch_directories(temporary) == []


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [SERVICE, UPSTREAMS], ids=["service", "upstreams"])
def test_a_busy_port_gives_one_clear_line(arguments: Sequence[str], temporary: Path):
    """It names the port and what to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process(*arguments, "--port", str(port)) as child:
            out, err = child.communicate(timeout=20)
    assert (child.returncode, out) == (1, "")
    assert re.fullmatch(rf"cannot listen on 127\.0\.0\.1:{port} \(.*\); choose another with --port, or .*\n", err)
    assert scratch_directories(temporary) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("DATABASE_URL", "mysql://u:hunter2@h/d", "DATABASE_URL"),
        ("REDIS_URL", "http://h", "REDIS_URL"),
        ("AGENT_TOKEN_SECRET", "hunter2", "AGENT_TOKEN_SECRET"),
        ("ANSWER_BUDGET", "never", "ANSWER_BUDGET"),
    ],
)
def test_a_wrong_setting_gives_one_clear_line(setting: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch):
    """It names the setting and never shows a secret."""
    monkeypatch.setenv(setting, value)
    with process("-m", "examples.creator_service", "--port", "0", "--upstream-url", "http://127.0.0.1:9") as child:
        out, err = child.communicate(timeout=20)
    assert (child.returncode, out, err.count("\n")) == (1, "", 1)
    assert says in err
    assert "hunter2" not in err


def running_processes() -> list[str]:
    """Command lines of this example's processes that were started by this test run."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (path / "environ").read_bytes().decode(errors="replace")
        except OSError:  # it ended while we looked, or is not ours
            continue
        if "examples.creator_service" in command and f"TMPDIR={os.environ.get('TMPDIR')}" in environment:
            found.append(command)
    return found


def eventually_gone(temporary: Path) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not running_processes() and not scratch_directories(temporary):
            return True
        time.sleep(0.05)
    return False


DEMO = str(ROOT / "examples" / "creator_service" / "demo.py")


@pytest.mark.slow
def test_a_short_demo_runs_through(temporary: Path):
    """All phases, both services, a table, and nothing left behind."""
    with process(DEMO, "--requests", "60") as child:
        out, err = child.communicate(timeout=55)
    assert (child.returncode, err) == (0, "")
    for phase in ("healthy", "failing", "hanging", "recovery"):
        assert re.search(rf"{phase} +│ on ", out), out
        assert re.search(rf"{phase} +│ off ", out), out
    assert "the library serves 100.00% of requests" in out
    assert eventually_gone(temporary)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_an_interrupted_demo_leaves_nothing_behind(name: str, temporary: Path):
    """However it ends, its processes and their temporary directories go with it."""
    with process(DEMO) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert "healthy" in child.stdout.readline()
        assert len(running_processes()) == 3
        assert len(scratch_directories(temporary)) == 2
        child.send_signal(getattr(signal, name))
        child.communicate(timeout=20)
    assert child.returncode == (-9 if name == "SIGKILL" else 130)
    assert eventually_gone(temporary)


@pytest.mark.slow
def test_a_served_demo_stays_until_ctrl_c(temporary: Path):
    """It prints its URL, answers there, and ends with the exit code of its run."""
    import httpx

    with process(DEMO, "--requests", "10", "--serve") as child:
        assert child.stdout is not None
        url = None
        while url is None:
            url = re.search(r"stays at (http://127\.0\.0\.1:\d+)", child.stdout.readline())
        answer = httpx.post(f"{url[1]}/ask", json={"user_id": "u", "channel_id": "c", "question": "q?"})
        assert answer.status_code == 200
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=20)
    assert child.returncode == 0
    assert eventually_gone(temporary)
