"""`creatormate-resilience tasks`: what operators see and change."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fleet_tasks as fleet
from creatormate_resilience.cli import main
from creatormate_resilience.exceptions import TaskError
from creatormate_resilience.tasks import TaskExecutor, TaskStatus
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine

MODULE = """
import os
from creatormate_resilience.tasks import TaskExecutor
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine
executor = TaskExecutor(engine=ProcrastinateEngine({url!r}))
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command on a module in the working directory; gives back its exit code and what it printed."""
    (tmp_path / "service_of_test.py").write_text(MODULE.format(url=postgres_url))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def command(action: str, *arguments: str) -> tuple[int, str, str]:
        sys.modules.pop("service_of_test", None)  # each command is a process of its own
        code = main(["tasks", action, "service_of_test:executor", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def prepare(url: str) -> tuple[str, str, str]:
    """One task that succeeded, one that failed, one that waits; their ids."""

    async def work() -> tuple[str, str, str]:
        engine = ProcrastinateEngine(url)
        async with TaskExecutor(engine=engine) as executor:
            worker = asyncio.create_task(engine.work())
            good = await executor.options(tags={"user": "u1", "size": 3}).submit(fleet.add, 1)
            bad = await executor.submit(fleet.fail, "postgresql://u:geheim@h/d is away")
            await good.result(30)
            with pytest.raises(TaskError):
                await bad.result(30)
            await executor.drain(5)
            await worker
        async with TaskExecutor(engine=ProcrastinateEngine(url)) as executor:
            waiting = await executor.options(delay=600).submit(fleet.add, 2)
        return good.id, bad.id, waiting.id

    return asyncio.run(work())


def test_an_operator_sees_and_changes_tasks(run, postgres_url):
    """From an empty database to a dead letter that is queued again."""
    code, _, err = run("stats")
    assert (code, "tasks migrate" in err) == (3, True)
    assert run("migrate")[0] == run("migrate")[0] == 0
    assert run("list") == (0, "none\n", "")
    good, bad, waiting = prepare(postgres_url)

    out = run("list")[1]
    assert [line.split()[0] for line in out.splitlines()] == ["id", waiting, bad, good]
    assert "geheim" not in out
    assert [each["id"] for each in json.loads(run("list", "--status", "failed", "--json")[1])] == [bad]
    assert [each["id"] for each in json.loads(run("list", "--dead", "--json")[1])] == [bad]
    assert [each["id"] for each in json.loads(run("list", "--tag", "user=u1", "--tag", "size=3", "--json")[1])] == [
        good
    ]
    assert run("list", "--tag", "size=4")[1] == "none\n"

    shown = json.loads(run("show", bad, "--json")[1])
    assert (shown["status"], shown["attempts"], shown["run_in"]) == ("failed", 1, "async")
    assert "ValueError" in shown["error"]
    assert ["status", "succeeded"] in [line.split() for line in run("show", good)[1].splitlines()]

    document = json.loads(run("stats", "--json")[1])
    assert document["queues"] == {"creatormate": {"succeeded": 1, "failed": 1, "scheduled": 1}}
    assert "oldest wait: 0.0 s" in run("stats")[1]

    assert run("retry", bad)[0] == 0
    assert json.loads(run("show", bad, "--json")[1])["status"] == TaskStatus.QUEUED.value
    code, _, err = run("retry", good)
    assert (code, "not queued" in err) == (3, True)

    assert run("cancel", waiting)[0] == 0
    assert run("cancel", waiting)[0] == 1
    code, _, err = run("show", "01a21867-b145-7c9c-a05a-50022efdca4d")
    assert (code, "not in the table" in err) == (3, True)


def test_what_is_not_accepted_ends_with_two(run):
    """As every wrong command line."""
    with pytest.raises(SystemExit) as ended:
        run("list", "--status", "nonsense")
    assert ended.value.code == 2
