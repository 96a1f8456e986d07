"""Terminal output: for people, and no text inside a line can pass for another one."""

from __future__ import annotations

import io
import logging
import re

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creatormate_resilience.log import configure_logging, get_logger
from creatormate_resilience.request_context import RequestContext, request_scope

BEGIN = re.compile(r"\d\d:\d\d:\d\d\.\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
application = logging.getLogger("application")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_a_line_is_readable(shown):
    """Time, level, event, fields, who."""
    application.warning("paid %s", "Zoë", extra={"order": "o1", "text": "a b", "items": [1, "x"]})
    line = shown.text.removesuffix("\n")
    assert BEGIN.match(line)
    assert line[13:] == 'WARNING  paid Zoë order=o1 text="a b" items=[1, "x"] application'


def test_a_traceback_stands_behind_a_bar(shown):
    """So that nothing in it begins a line of its own."""
    try:
        raise ValueError("bad\n12:00:00.000 ERROR    forged application\r\x1b[2K\u202e")
    except ValueError:
        application.exception("failed")
    first, *rest = shown.text.splitlines()
    assert first.endswith("ERROR    failed application")
    assert rest[0] == "    | Traceback (most recent call last):"
    assert all(line.startswith("    | ") for line in rest)
    assert "    | 12:00:00.000 ERROR    forged application" in rest
    assert "\x1b" not in shown.text
    assert "\u202e" not in shown.text


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text()
    | st.sampled_from(["\n12:00:00.000 ERROR    x", "\r", "\x1b[2J", "\u2028", "\u202e", "\x00", "\ud800"])
)
def test_no_text_begins_a_line_or_commands_the_terminal(shown, text):
    """In the message, a field, its name, the logger's name and an exception's text."""
    shown.seek(0)
    shown.truncate()
    logging.getLogger(f"n{text}").error("%s", text, extra={f"x{text}": text}, exc_info=ValueError(text))
    get_logger("cache").info(text, value=text)
    lines = shown.text.split("\n")
    assert all(line.isprintable() for line in lines)
    assert len([line for line in lines if BEGIN.match(line)]) == 2
    assert all(line == "" or BEGIN.match(line) or line.startswith("    | ") for line in lines)


def test_colours_are_for_terminals_only_and_can_be_turned_off(monkeypatch):
    """https://no-color.org; a file gets none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, file, asked_not = Terminal(), io.StringIO(), Terminal()
    with configure_logging(stream=terminal):
        application.error("x\x1b[0m")
    with configure_logging(stream=file, format="terminal"):
        application.error("x")
    monkeypatch.setenv("NO_COLOR", "1")
    with configure_logging(stream=asked_not):
        application.error("x")
    assert terminal.getvalue().startswith("\x1b[31m")
    assert "x\\x1b[0m" in terminal.getvalue()
    assert "\x1b" not in file.getvalue() + asked_not.getvalue()
    assert "ERROR" in asked_not.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_that_lacks_a_sign_shows_its_escape(encoding):
    """Rather than losing the line."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    with configure_logging(format="terminal", stream=stream):
        application.error("snow \u2603")
    assert b"snow \\u2603" in raw.getvalue()


def test_secrets_and_ids_are_as_in_json(shown):
    """The same record, the same redaction."""
    with request_scope(RequestContext({"type": "http", "headers": [(b"x-request-id", b"request-1")]}, lambda *_: None)):
        structlog.get_logger("s").info("at redis://:hunter2@h/0", password="hunter2")
    assert "request_id=request-1" in shown.text
    assert "hunter2" not in shown.text


def test_a_broken_record_still_makes_a_line(shown):
    """Nothing raises, nothing is lost."""
    shown.handler.handle(logging.makeLogRecord({"name": "a\n", "levelno": None, "levelname": "\x1b"}))
    assert "cannot be told" in shown.text
    assert shown.text.count("\n") == 1
    assert "\x1b" not in shown.text
