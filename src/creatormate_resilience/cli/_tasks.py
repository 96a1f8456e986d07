"""`tasks`: what operators ask about durable tasks, and what they do to them."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from creatormate_resilience.cli._output import guarded, print_text
from creatormate_resilience.cli._target import HELP, load
from creatormate_resilience.tasks import TaskExecutor, TaskRecord, TaskStatus
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine, QueueStatistics

__all__ = ("add_tasks",)

_UNCHANGED = 1
_Command: TypeAlias = Callable[[TaskExecutor, ProcrastinateEngine, argparse.Namespace], Awaitable[int]]


def add_tasks(commands: Any) -> None:
    """Add the command to a parser's commands."""
    tasks = commands.add_parser("tasks", help="look at durable tasks, and change them")
    actions = tasks.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = _action(actions, "list", "the newest tasks, or those that ended badly", _list)
    listing.add_argument("--status", choices=[status.value for status in TaskStatus], help="only those in this status")
    listing.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE", help="only those with this tag")
    listing.add_argument("--dead", action="store_true", help="only those that ended badly, the last one first")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="most of them (50)")
    for name, help_text, command in (
        ("show", "all that is known of one", _show),
        ("retry", "queue one that ended badly or was cancelled once more", _retry),
        ("cancel", "cancel one; exits with 1 where it had ended", _cancel),
    ):
        _action(actions, name, help_text, command).add_argument("id", metavar="ID", help="the task's")
    _action(actions, "stats", "the queues and the workers", _stats)
    _action(actions, "migrate", "make or update the tables; may run twice, and in two places at once", None)


def _action(actions: Any, name: str, help_text: str, command: _Command | None) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=help_text)
    parser.add_argument("target", metavar="MODULE:EXECUTOR", help=HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run, command=command)
    return parser


def _run(options: argparse.Namespace) -> int:
    return guarded(lambda: asyncio.run(_perform(options.command, options)))


async def _perform(command: _Command | None, options: argparse.Namespace) -> int:
    executor, engine = load(options.target)
    if command is None:
        await engine.migrate()
        return 0
    async with executor:
        return await command(executor, engine, options)


async def _list(executor: TaskExecutor, engine: ProcrastinateEngine, options: argparse.Namespace) -> int:
    if options.dead:
        records = await engine.dead_letters(options.limit)
    else:
        status = None if options.status is None else TaskStatus(options.status)
        records = await executor.list(status, _tags(options.tag), options.limit)
    rows = [_summary(record) for record in records]
    print_text(json.dumps(rows, indent=2) if options.json else _table(rows))
    return 0


async def _show(executor: TaskExecutor, _engine: ProcrastinateEngine, options: argparse.Namespace) -> int:
    record = await executor.get(options.id)
    whole = _summary(record) | {
        "run_in": record.run_in,
        "tags": dict(record.tags),
        "key": record.key,
        "wait_time": record.wait_time,
        "run_time": record.run_time,
        "progress": None if record.progress is None else record.progress.fraction,
        "message": None if record.progress is None else record.progress.message,
    }
    print_text(json.dumps(whole, indent=2) if options.json else _pairs(whole))
    return 0


async def _retry(_executor: TaskExecutor, engine: ProcrastinateEngine, options: argparse.Namespace) -> int:
    await engine.requeue(options.id)
    return 0


async def _cancel(executor: TaskExecutor, _engine: ProcrastinateEngine, options: argparse.Namespace) -> int:
    return 0 if await executor.cancel(options.id) else _UNCHANGED


async def _stats(_executor: TaskExecutor, engine: ProcrastinateEngine, options: argparse.Namespace) -> int:
    seen = await engine.queue_statistics()
    print_text(json.dumps(_document(seen), indent=2) if options.json else _report(seen))
    return 0


def _document(seen: QueueStatistics) -> dict[str, Any]:
    queues = {name: {status.value: count for status, count in each.items()} for name, each in seen.queues.items()}
    workers = [
        {"id": each.id, "alive": each.alive, "silent": round(each.silent, 1), "running": each.running}
        for each in seen.workers
    ]
    return {"queues": queues, "oldest_wait": round(seen.oldest_wait, 1), "workers": workers}


def _report(seen: QueueStatistics) -> str:
    document = _document(seen)
    queues = [
        {"queue": name, "status": status, "tasks": count}
        for name, each in document["queues"].items()
        for status, count in each.items()
    ]
    tables = [_table(rows) for rows in (queues, document["workers"]) if rows]
    return "\n\n".join([*tables, f"oldest wait: {document['oldest_wait']} s"])


def _summary(record: TaskRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "status": record.status.value,
        "priority": record.priority.name.lower(),
        "attempts": record.attempts,
        "submitted": record.submitted_at.isoformat(timespec="seconds"),
        "error": record.error,
    }


def _tags(given: Sequence[str]) -> Mapping[str, str | int | float | bool]:
    """Tags as they were submitted: a value that is JSON is that, any other a text."""
    tags: dict[str, str | int | float | bool] = {}
    for each in given:
        name, _, text = each.partition("=")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        tags[name] = value if isinstance(value, str | int | float) else text
    return tags


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "none"
    columns = list(rows[0])
    cells = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def _pairs(values: Mapping[str, Any]) -> str:
    width = max(map(len, values))
    return "\n".join(f"{name:{width}}  {_cell(value)}" for name, value in values.items())


def _cell(value: object) -> str:
    return "" if value is None else " ".join(str(value).split())[:100]
