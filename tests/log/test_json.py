"""JSON output: one physical line an event whatever is in it, valid, complete and without secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creatormate_resilience.log import get_logger
from creatormate_resilience.request_context import RequestContext, request_scope

TRACE = "0af7651916cd43dd8448eb211c80319c"
HOSTILE = [
    "\n2026-01-01 ERROR forged",
    "\r\nforged",
    "\x1b[31mred\x1b[0m",
    "a\u2028b\u2029c",
    "a\x85b",
    "a\u202eb",
    "nul\x00",
    "\x0b\x0c\x1c\x1d\x1e",
    "del\x7f",
    "\x9b31m",
    "lone \ud800 surrogate",
    '"}\n{"level":"error"',
    "\\",
    "%s %d {} {0.__class__}",
    "\ufeff",
]
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"
application = logging.getLogger("application")


class Raising:
    """Cannot be printed."""

    def __str__(self):
        raise RuntimeError("hunter2")

    __repr__ = __str__


def request(**members) -> RequestContext:
    scope = {"type": "http", "headers": [(b"x-request-id", b"request-1"), *members.pop("headers", [])]}
    return RequestContext(scope, lambda peer, _headers: peer)


def assert_one_safe_line(text: str) -> dict[str, object]:
    assert len(text.splitlines()) == 1
    assert text.endswith("\n")
    assert text[:-1].isascii()
    assert text[:-1].isprintable()
    return json.loads(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_stays_in_its_line_wherever_it_stands(printed, text):
    """In the message, its arguments, extras and their names, the logger's name, an exception's text."""
    try:
        raise ValueError(text)
    except ValueError:
        message = f"m{text.replace('%', '%%')}%s"
        logging.getLogger(f"x{text}").exception(message, text, extra={text: text})
    event = assert_one_safe_line(printed.text)
    expected = text.encode("utf-8", "replace").decode()
    assert event["event"] == f"m{expected}{expected}"
    assert event[expected] == expected
    assert expected in event["traceback"]
    assert event["logger"] == f"x{text}"


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=st.text(), argument=st.text() | st.integers() | st.binary(), name=st.text(min_size=1), value=st.text())
def test_any_text_makes_one_line(printed, message, argument, name, value):
    """Whatever it is, also where it does not fit."""
    printed.seek(0)
    printed.truncate()
    for log in (
        lambda: application.info(message, argument, extra={f"x{name}": value}),
        lambda: structlog.get_logger("a").info(message, argument, value=value),
        lambda: get_logger("cache").info(message, value=value),
    ):
        log()
        assert_one_safe_line(printed.text)
        printed.seek(0)
        printed.truncate()


def test_a_line_tells_when_how_bad_who_and_what(printed):
    """With OpenTelemetry's severity and the extras as fields."""
    before = datetime.now(UTC)
    application.warning("paid %d", 3, extra={"order": "o1", "items": [1, {"a": None}]})
    event = printed.event
    assert list(event)[:5] == ["timestamp", "level", "severity", "logger", "event"]
    assert event["logger"] == "application"
    assert event["event"] == "paid 3"
    assert event["order"] == "o1"
    assert event["items"] == [1, {"a": None}]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", event["timestamp"])
    assert abs(datetime.fromisoformat(event["timestamp"]) - before) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("level", "name", "severity"),
    [
        (7, "level 7", 1), (10, "debug", 5), (20, "info", 9), (25, "level 25", 9), (30, "warning", 13),
        (40, "error", 17), (50, "critical", 21),
    ],
)  # fmt: skip
def test_levels_have_opentelemetrys_numbers(printed, level, name, severity):
    """Those in between count as the next lower one."""
    logging.getLogger().setLevel(1)
    application.log(level, "x")
    assert (printed.event["level"], printed.event["severity"]) == (name, severity)


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ("%d", ("x",)),
        ("%s %s", ("one",)), ("none", ("one",)), ("%(a)s", ({"b": 1},)), ("%s", (Raising(),)), ("%", ("x",)),
        ("%r %s", (1, Raising())), (Raising(), ()), (Raising(), (1,)), (None, ()), (b"\xff", ()), (["a"], ("x",)),
        ("%" + "9" * 30 + "d", (1,)), ("%s", ({"password": Raising()},)),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_printed_still_makes_a_line(printed, message, args):
    """And what its arguments raise is not shown."""
    application.error(message, *args)
    assert_one_safe_line(printed.text)
    assert printed.event["event"] != ""
    assert "hunter2" not in printed.text


@pytest.mark.parametrize(
    "secret",
    ["postgresql://app:hunter2@db/x", f"token {JWT}", "password=hunter2", "Authorization: Bearer abcdef.123-456"],
)
def test_secrets_are_printed_nowhere(printed, secret):
    """Not from messages, arguments, extras, exceptions, their notes, causes and groups, and lines of source."""

    def fail():
        error = ValueError(secret)
        error.add_note(f"note {secret}")
        raise error

    def group():
        try:
            fail()
        except ValueError as error:
            raise ExceptionGroup("several", [error, KeyError(secret)]) from error

    for log in (application, structlog.get_logger("s"), get_logger("cache")):
        log.info(secret)
        log.info("at %s", secret)
        try:
            group()
        except ExceptionGroup:
            log.exception("failed")
    application.info("x", extra={"where": secret, "nested": {"a": [secret]}, "password": "hunter2"})
    get_logger("cache").bind(where=secret).info("x", password="hunter2")
    structlog.get_logger("s").info("x", where=secret, api_key="hunter2")
    assert len(printed.events) == 12
    assert printed.text.count("[REDACTED]") >= 12
    for part in ("hunter2", "dozjg", "abcdef.123"):
        assert part not in printed.text


def test_a_password_in_a_line_of_source_is_not_printed(printed):
    """The traceback shows the lines that were called."""
    try:
        sorted([], password="hunter2")
    except TypeError:
        application.exception("failed")
    assert "sorted([], password=" in printed.event["traceback"]
    assert "hunter2" not in printed.text


def test_an_exception_is_told_with_its_cause_and_no_local_variables(printed):
    """Whoever logged it; `exc_info` of every form."""
    innermost_secret = "local " + "S3cr3t"
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise RuntimeError("second") from error
    except RuntimeError as error:
        application.error("a", exc_info=error)
        application.error("b", exc_info=(type(error), error, error.__traceback__))
        application.exception("c")
        structlog.get_logger("s").error("d", exc_info=True)
        structlog.get_logger("s").exception("e")
        get_logger("cache").error("f", exc_info=error)
    assert len(printed.events) == 6
    for event in printed.events:
        assert event["traceback"].index("KeyError: 'first'") < event["traceback"].index("RuntimeError: second")
    assert innermost_secret not in printed.text


@pytest.mark.parametrize("exc_info", [None, False, (), (None, None, None), "x", 0])
def test_no_exception_makes_no_traceback(printed, exc_info):
    """`exc_info` says there is none, or something else altogether."""
    record = {"name": "a", "levelno": 40, "levelname": "ERROR", "msg": "m", "exc_info": exc_info}
    application.handle(logging.makeLogRecord(record))
    application.error("n", exc_info=True)
    assert ["traceback" in event for event in printed.events] == [False, False]


def test_an_extra_cannot_pass_for_what_the_record_says(printed):
    """A name that is taken gets an underscore."""
    application.info(
        "real", extra={"event": "forged", "level": "critical", "timestamp": 0, "severity": 99, "logger": "x"}
    )
    event = printed.event
    assert (event["event"], event["level"], event["severity"], event["logger"]) == ("real", "info", 9, "application")
    assert (event["event_"], event["level_"], event["timestamp_"]) == ("forged", "critical", 0)
    printed.truncate(0)
    printed.seek(0)
    get_logger("cache").info("real", level="critical", logger="x")
    assert (printed.event["level"], printed.event["level_"]) == ("info", "critical")


def test_huge_and_endless_extras_are_cut(printed):
    """A line is bounded."""
    endless: list[object] = []
    endless.append(endless)
    application.info(
        "m" * 1_000_000, extra={"a": "x" * 1_000_000, "b": endless, "c": {str(i): i for i in range(100_000)}}
    )
    assert len(printed.text) < 100_000
    assert "[CYCLE]" in printed.text


def test_numbers_that_json_has_not_are_no_problem(printed):
    """NaN is not JSON."""
    application.info("x", extra={"a": float("nan"), "b": 10**400, "c": object()})
    assert printed.event["a"] is None
    assert printed.event["c"] == "[object]"


def test_the_stack_is_told_when_asked(printed):
    """Of the place that logs."""
    application.info("x", stack_info=True)
    assert "test_the_stack_is_told_when_asked" in printed.event["stack"]


def test_an_exception_that_was_rendered_elsewhere_is_redacted(printed):
    """A record from another process has text only."""
    record = {"name": "a", "levelno": 40, "levelname": "ERROR", "msg": "m", "exc_text": "ValueError: password=hunter2"}
    application.handle(logging.makeLogRecord(record))
    assert printed.event["traceback"] == "ValueError: password=[REDACTED]"


def test_records_as_uvicorn_makes_them_are_told_alike(printed):
    """Its access line without the token in the query, its colours left out."""
    access = logging.getLogger("uvicorn.access")
    access.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", "/x?token=hunter2&page=1", "1.1", 200)
    logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[36mStarted\x1b[0m"})
    first, second = printed.events
    assert first["event"] == '127.0.0.1:1 - "GET /x?token=[REDACTED]&page=1 HTTP/1.1" 200'
    assert list(second) == ["timestamp", "level", "severity", "logger", "event"]


def test_lines_of_a_request_carry_its_ids(printed):
    """From the application, its structlog and this library; given ones win."""
    with request_scope(request(headers=[(b"traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())])):
        application.info("a")
        structlog.get_logger("s").info("b")
        get_logger("cache").info("c")
        application.info("d", extra={"request_id": "given"})
        get_logger("cache").info("e", request_id="given")
    application.info("f")
    with request_scope(request()):
        application.info("g")
    events = printed.events
    assert [event.get("request_id") for event in events] == ["request-1"] * 3 + ["given"] * 2 + [None, "request-1"]
    assert [event.get("trace_id") for event in events] == [TRACE] * 5 + [None, None]


def test_structlog_of_the_application_keeps_its_own_ways(printed):
    """Bound fields, context variables, positional arguments, levels."""
    log = structlog.get_logger("shop").bind(shop=1)
    with structlog.contextvars.bound_contextvars(tenant="t"):
        log.info("sold %s to %s", "a", "b", price=2)
    event = printed.event
    assert (event["event"], event["shop"], event["tenant"], event["price"]) == ("sold a to b", 1, "t", 2)
    assert event["logger"] == "shop"
    logging.getLogger("shop").setLevel("ERROR")
    log.info("not heard")
    logging.getLogger("shop").setLevel("NOTSET")
    assert len(printed.events) == 1


def test_structlog_arguments_that_do_not_fit_do_not_raise(printed):
    """Logging an error must not make another one."""
    structlog.get_logger("s").info("%d", "x")
    structlog.get_logger("s").info("%s", Raising())
    get_logger("cache").info("%d of %d", "x")
    assert len(printed.events) == 3
    assert "hunter2" not in printed.text


def test_lines_of_many_threads_do_not_mix(printed):
    """Each is written at once."""

    def talk(number):
        for index in range(200):
            application.info("line %d of %d", index, number, extra={"filler": "x" * 300})

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = {event["event"] for event in printed.events}
    assert told == {f"line {index} of {number}" for index in range(200) for number in range(8)}


@pytest.mark.parametrize(
    "broken",
    [
        {"created": float("nan")}, {"created": "x"}, {"created": 1e30}, {"levelname": None}, {"levelno": "x"},
        {"levelno": None, "levelname": 3},
    ],
)  # fmt: skip
def test_a_record_that_is_broken_still_makes_a_line(printed, broken):
    """Somebody's record factory, or one unpickled from elsewhere."""
    record = logging.makeLogRecord({"name": "a\n", "levelno": 40, "levelname": "ERROR", "msg": "m"} | broken)
    printed.handler.handle(record)
    event = assert_one_safe_line(printed.text)
    assert "cannot be told" in event["event"]
    assert event["logger"] == "a\n"


def test_a_failure_to_write_shows_no_record_and_does_not_raise(printed, monkeypatch, capsys):
    """The stdlib prints the record's arguments then."""
    monkeypatch.setattr(printed, "write", lambda _text: 1 / 0)
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    application.error("at %s", "hunter2")
    shown = capsys.readouterr().err
    assert shown == "creatormate_resilience: the log could not be written (ZeroDivisionError)\n"
