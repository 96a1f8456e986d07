"""`worker`: runs tasks until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from typing import Any

from creatormate_resilience.cli._health import HealthServer, verdict
from creatormate_resilience.cli._output import guarded
from creatormate_resilience.cli._target import HELP, load
from creatormate_resilience.log import configure_logging, get_logger
from creatormate_resilience.tasks import ShutdownReport, TaskExecutor
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine

__all__ = ("add_worker",)

_log = get_logger("tasks")
_LEFT = 1
_CODES = (
    "exit codes: 0 stopped, 1 stopped while something ran that cannot be, 2 wrong command line, 3 it could not work"
)


def add_worker(commands: Any) -> None:
    """Add the command to a parser's commands."""
    worker = commands.add_parser(
        "worker",
        help="run durable tasks",
        description="Runs the tasks of an executor with a ProcrastinateEngine. SIGTERM and SIGINT let what runs finish"
        " for --drain seconds and give the rest back to other workers; a second SIGINT kills.",
        epilog=_CODES,
    )
    worker.add_argument("target", metavar="MODULE:EXECUTOR", help=HELP)
    worker.add_argument("--concurrency", type=int, default=10, metavar="N", help="most tasks at once (10)")
    worker.add_argument("--queues", metavar="A,B", help="take tasks from these queues only")
    worker.add_argument("--drain", type=float, default=30.0, metavar="S", help="seconds for what runs to finish (30)")
    worker.add_argument("--grace", type=float, default=5.0, metavar="S", help="seconds for the cancelled to stop (5)")
    worker.add_argument("--health-port", type=int, metavar="PORT", help="answer probes here; 0 takes a free port")
    worker.add_argument("--health-host", default="127.0.0.1", metavar="HOST", help="where probes come to (127.0.0.1)")
    worker.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if not logging.getLogger().handlers:  # else the application has a mind of its own
        configure_logging()
    return guarded(lambda: _work(options))


def _work(options: argparse.Namespace) -> int:
    executor, engine = load(options.target)
    if options.health_port is not None:
        server = HealthServer(options.health_host, options.health_port, lambda: verdict(engine.vitals(), engine.lease))
        server.start()
        _log.info("a worker answers probes", host=options.health_host, port=server.port)
    report = asyncio.run(_serve(executor, engine, options))
    if not report.left:
        return 0
    logging.shutdown()
    os._exit(_LEFT)  # threads that nothing can stop would keep the process; others wait for its end


async def _serve(executor: TaskExecutor, engine: ProcrastinateEngine, options: argparse.Namespace) -> ShutdownReport:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, loop, stop, number)
    await executor.start()
    queues = None if options.queues is None else [queue for queue in options.queues.split(",") if queue]
    report = ShutdownReport()
    try:
        work = asyncio.create_task(
            engine.work(concurrency=options.concurrency, queues=queues, drain=options.drain, grace=options.grace)
        )
        asked = asyncio.create_task(stop.wait())
        _log.info("a worker begins", executor=executor.name, concurrency=options.concurrency, queues=queues)
        await asyncio.wait((work, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not work.done():
            report = await executor.shutdown(drain=options.drain, grace=options.grace)
            _log.info("a worker ends", executor=executor.name, tasks=str(report))
        if not report.left:
            await work
    finally:
        await executor.aclose()
    return report


def _stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, number: int) -> None:
    stop.set()
    if number == signal.SIGINT:  # the next one ends the process, whatever it is doing
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        sys.stderr.write("creatormate-resilience: stopping; once more kills\n")
