"""What one log line costs, beside the standard library's JSON of the same fields; and what telling an exception costs.

Run with `nox -s benchmarks -- -s` to see the tables. Figures are ratios within one run; nothing here asserts a time.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import structlog
from tests.benchmarks.interleaved import measure, table

from creatormate_resilience.log import configure_logging, frames, get_logger, traceback_text
from creatormate_resilience.request_context import RequestContext, request_scope

FIELDS = {"order": "o-1234", "attempt": 3, "elapsed": 0.125, "upstream": "billing", "cached": False, "user": 42}
SCOPE = {"type": "http", "method": "GET", "headers": [(b"traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")]}


class PlainJSON(logging.Formatter):
    """The standard library's JSON of the same fields, unsafe and unredacted."""

    def format(self, record: logging.LogRecord) -> str:
        head = {
            "timestamp": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        return json.dumps(head | {key: getattr(record, key) for key in FIELDS})


def loop(fn: Callable[[], object]) -> Callable[[int], None]:
    def run(calls: int) -> None:
        for _ in range(calls):
            fn()

    return run


def raised(depth: int) -> Exception:
    def call(left: int) -> None:
        if left:
            call(left - 1)
        else:
            raise ValueError("postgresql://app:hunter2@db/x refused")

    try:
        try:
            call(depth)
        except ValueError as error:
            raise RuntimeError("the order failed") from error
    except RuntimeError as error:
        return error


def test_one_line(monkeypatch):
    """JSON with six fields, from an application's stdlib logger, its structlog and this library."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest keeps every record with its own
    with Path(os.devnull).open("w", encoding="utf-8") as devnull:
        plain = logging.getLogger("bench.plain")
        plain.propagate = False
        plain.setLevel("INFO")
        handler = logging.StreamHandler(devnull)
        handler.setFormatter(PlainJSON())
        plain.addHandler(handler)
        with configure_logging(format="json", stream=devnull):
            ours = get_logger("bench")
            application = logging.getLogger("bench.application")
            app_structlog = structlog.get_logger("bench.structlog")
            with request_scope(RequestContext(SCOPE, lambda peer, _headers: peer)):
                in_request = measure(
                    {"stdlib record, in a request": loop(lambda: application.info("done", extra=FIELDS))}
                )
            costs = measure(
                {
                    "stdlib JSON, unredacted": loop(lambda: plain.info("done", extra=FIELDS)),
                    "stdlib record, ours to print": loop(lambda: application.info("done", extra=FIELDS)),
                    "structlog of the application": loop(lambda: app_structlog.info("done", **FIELDS)),
                    "this library's line": loop(lambda: ours.info("done", **FIELDS)),
                    "this library's line, not printed": loop(lambda: ours.debug("done", **FIELDS)),
                },
                calls=1_000,
            )
        plain.removeHandler(handler)
    print("\n" + table(costs | in_request, to="stdlib JSON, unredacted"))


def test_one_exception():
    """Twenty frames and a cause: the walk, our text, Python's text."""
    exc = raised(20)
    costs = measure(
        {
            "traceback.format_exception": loop(lambda: traceback.format_exception(exc)),
            "frames": loop(lambda: frames(exc)),
            "frames of the cause": loop(lambda: frames(exc.__cause__ or exc)),
            "traceback_text": loop(lambda: traceback_text(exc)),
        },
        calls=100,
    )
    print("\n" + table(costs, to="traceback.format_exception"))
