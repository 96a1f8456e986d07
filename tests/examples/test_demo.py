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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from examples.creator_service.__main__ import main as service_main
from examples.creator_service.demo import claims
from examples.creator_service.load import Crowd, Question, Sent, percentile
from examples.creator_service.report import Measured
from examples.creator_service.upstreams import main as upstreams_main

ROOT = Path(__file__).resolve().parents[2]
SERVICE = ("-m", "examples.creator_service", "--scratch", "--upstream-url", "http://127.0.0.1:9")
UPSTREAMS = ("-m", "examples.creator_service.upstreams")


# Judging --------------------------------------------------------------------------------------------------------------
def sent(
    number: int, *, status: int = 200, seconds: float = 0.01, degraded: bool = False, new: bool = False
) -> list[Sent]:
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
    # A shell starts background jobs with SIGINT ignored; a child would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    child = subprocess.Popen(
        [sys.executable, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=Path.cwd(), env=environment
    )
    signal.signal(signal.SIGINT, before)
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
@pytest.mark.parametrize(
    ("arguments", "end"),
    [(SERVICE, "SIGTERM"), (UPSTREAMS, "SIGTERM"), (UPSTREAMS, "SIGINT"), (UPSTREAMS, "the end of its standard input")],
    ids=["service", "SIGTERM", "SIGINT", "stdin"],
)
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


def refusal(main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What a program says when it cannot start: its exit code is 1 and this one line goes to standard error."""
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, str)
    assert "\n" not in caught.value.code
    return caught.value.code


@pytest.mark.parametrize(
    ("main", "arguments"),
    [(service_main, ("--scratch", "--upstream-url", "http://127.0.0.1:9")), (upstreams_main, ())],
    ids=["service", "upstreams"],
)
def test_a_busy_port_gives_one_clear_line(
    main: Callable[[], None], arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, temporary: Path
):
    """It names the port and what to change, and leaves nothing behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(main, monkeypatch, *arguments, "--port", str(port))
    assert re.fullmatch(rf"cannot listen on 127\.0\.0\.1:{port} \(.*\); choose another with --port, or .*", said)
    assert scratch_directories(temporary) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("DATABASE_URL", "mysql://u:hunter2@h/d"),
        ("REDIS_URL", "http://u:hunter2@h"),
        ("AGENT_TOKEN_SECRET", "hunter2"),
        ("ANSWER_BUDGET", "never"),
    ],
)
def test_a_wrong_setting_gives_one_clear_line(setting: str, value: str, monkeypatch: pytest.MonkeyPatch):
    """It names the setting and never shows a secret."""
    monkeypatch.setenv(setting, value)
    said = refusal(service_main, monkeypatch, "--port", "0", "--upstream-url", "http://127.0.0.1:9")
    assert said.startswith(f"creator_service: {setting}")
    assert "hunter2" not in said


def test_a_missing_upstream_gives_one_clear_line(monkeypatch: pytest.MonkeyPatch):
    """It says how to start one."""
    assert "python -m examples.creator_service.upstreams" in refusal(service_main, monkeypatch)


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
QUESTION = {"user_id": "u", "channel_id": "c", "question": "q?"}


@pytest.mark.slow
def test_a_short_demo_runs_through_and_stays_until_ctrl_c(temporary: Path):
    """All phases and both services are in its table; then it serves until it is told to end, with exit code 0."""
    with process(DEMO, "--requests", "60", "--serve") as child:
        assert child.stdout is not None
        out = ""
        while (stays := re.search(r"stays at (http://127\.0\.0\.1:\d+)", out)) is None:
            line = child.stdout.readline()
            assert line, out
            out += line
        until = time.monotonic() + 20  # its answer budget is 0.15 s, and a machine may stall
        while httpx.post(f"{stays[1]}/ask", json=QUESTION).json()["degraded"]:
            assert time.monotonic() < until
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (0, "")
    for phase in ("healthy", "failing", "hanging", "recovery"):
        assert re.search(rf"{phase} +│ on ", out), out
        assert re.search(rf"{phase} +│ off ", out), out
    assert out.count("the library serves 100.00% of requests") == 2
    assert eventually_gone(temporary)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_an_interrupted_demo_leaves_nothing_behind(name: str, temporary: Path):
    """However it ends, its processes and their temporary directories go with it."""
    with process(DEMO) as child:
        assert child.stdout is not None
        assert "2200 requests" in child.stdout.readline()
        assert len(running_processes()) == 3
        assert len(scratch_directories(temporary)) == 2
        child.send_signal(getattr(signal, name))
        child.communicate(timeout=20)
    assert child.returncode == (-9 if name == "SIGKILL" else 130)
    assert eventually_gone(temporary)
