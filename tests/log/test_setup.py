"""`configure_logging`: what it changes, what it leaves alone, and that all of it can be put back."""

from __future__ import annotations

import io
import json
import logging
import pickle
import subprocess
import sys
from logging.handlers import QueueHandler
from queue import SimpleQueue

import pytest
import structlog

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.log import configure_logging, get_logger

application = logging.getLogger("application")


@pytest.fixture
def uvicorn_loggers(monkeypatch):
    """The loggers as `uvicorn.config.LOGGING_CONFIG` leaves them, and what they print to."""
    stream = io.StringIO()
    for name in ("uvicorn", "uvicorn.access"):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(stream)])
        monkeypatch.setattr(logger, "propagate", False)
        monkeypatch.setattr(logger, "level", logging.INFO)
    return stream


def test_json_where_nobody_watches_and_lines_for_people_at_a_terminal(monkeypatch):
    """Where `format` is left out the stream decides."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    class Closed(io.StringIO):
        def isatty(self):
            raise ValueError("closed")

    for stream, is_json in ((io.StringIO(), True), (Terminal(), False), (Closed(), True)):
        with configure_logging(stream=stream):
            application.warning("x")
        assert stream.getvalue().startswith("{") is is_json


def test_the_default_stream_is_stderr(monkeypatch):
    """Standard output belongs to the program."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with configure_logging():
        application.warning("x")
    assert json.loads(stream.getvalue())["event"] == "x"


def test_the_level_is_the_least_that_is_printed():
    """As a name or a number."""
    for level in ("WARNING", "warning", logging.WARNING):
        stream = io.StringIO()
        with configure_logging(level=level, stream=stream):
            application.info("quiet")
            application.warning("loud")
            get_logger("cache").info("quiet")
            structlog.get_logger("s").info("quiet")
        assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_everything_is_put_back(uvicorn_loggers):
    """Handlers, levels, structlog; twice does no harm."""
    root = logging.getLogger()
    mine = logging.NullHandler()
    root.addHandler(mine)
    handlers, before = list(root.handlers), root.level
    servers = {name: set(logging.getLogger(name).handlers) for name in ("uvicorn", "uvicorn.access")}
    setup = configure_logging(level="DEBUG", stream=io.StringIO())
    assert root.level == logging.DEBUG
    assert mine in root.handlers
    added_later = logging.NullHandler()
    root.addHandler(added_later)
    setup.undo()
    setup.undo()
    assert root.handlers == [*handlers, added_later]
    assert root.level == before
    assert {name: set(logging.getLogger(name).handlers) for name in servers} == servers
    assert not logging.getLogger("uvicorn").propagate
    assert not structlog.is_configured()
    root.removeHandler(mine)
    root.removeHandler(added_later)


def test_a_second_call_takes_over_and_nothing_is_printed_twice():
    """Undone, the first one is there again."""
    first, second = io.StringIO(), io.StringIO()
    outer = configure_logging(stream=first)
    with configure_logging(stream=second):
        application.warning("inner")
        get_logger("cache").warning("inner")
        outer.undo()  # it is not its turn
        application.warning("inner")
    application.warning("outer")
    structlog.get_logger("s").warning("outer")
    outer.undo()
    application.warning("after", extra={"nobody": "hears it"})
    assert [json.loads(line)["event"] for line in first.getvalue().splitlines()] == ["outer", "outer"]
    assert [json.loads(line)["event"] for line in second.getvalue().splitlines()] == ["inner"] * 3


def test_other_handlers_stay_and_hear_what_they_heard():
    """Only its own handler is replaced."""
    heard = []

    class Mine(logging.StreamHandler):
        def emit(self, record):
            heard.append(record.getMessage())

    root = logging.getLogger()
    mine = Mine(io.StringIO())
    root.addHandler(mine)
    count = len(root.handlers)
    setups = [configure_logging(stream=io.StringIO()) for _ in range(3)]
    application.warning("x")
    assert heard == ["x"]
    assert len(root.handlers) == count + 1
    for setup in reversed(setups):
        setup.undo()
    assert len(root.handlers) == count
    root.removeHandler(mine)


def test_uvicorns_loggers_print_here_and_not_themselves(uvicorn_loggers):
    """Also those that the server configured before; a handler of another kind stays."""
    stream = io.StringIO()

    class ToFile(logging.StreamHandler):
        """As `FileHandler` is one."""

    kept = ToFile(io.StringIO())
    logging.getLogger("uvicorn.access").addHandler(kept)
    with configure_logging(stream=stream):
        logging.getLogger("uvicorn.error").info("Started")
        logging.getLogger("uvicorn.access").info("GET /")
    assert uvicorn_loggers.getvalue() == ""
    assert [json.loads(line)["logger"] for line in stream.getvalue().splitlines()] == [
        "uvicorn.error",
        "uvicorn.access",
    ]
    assert kept.stream.getvalue() == "GET /\n"


def test_structlog_that_the_application_configured_is_left_alone():
    """It has its reasons."""
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    try:
        before = structlog.get_config()
        with configure_logging(stream=io.StringIO()):
            assert structlog.get_config() == before
        assert structlog.is_configured()
    finally:
        structlog.reset_defaults()


@pytest.mark.parametrize("format", ["JSON", "text", "", 1, True])
def test_an_unknown_format_is_refused(format):  # noqa: A002
    """Before anything is changed."""
    with pytest.raises(ConfigurationError, match=r"format.*'json', 'terminal' and None"):
        configure_logging(format=format)


@pytest.mark.parametrize("level", ["LOUD", "", -1, True, None, 1.5, "20"])
def test_an_unknown_level_is_refused(level):
    """Before anything is changed."""
    with pytest.raises(ConfigurationError, match=r"level.*accepted are .*WARNING"):
        configure_logging(level=level)


def test_a_program_that_ends_writes_its_last_line():
    """Nothing is buffered, and the end of the process is quiet."""
    program = (
        "import logging\n"
        "from creatormate_resilience.log import configure_logging\n"
        "configure_logging()\n"
        "logging.getLogger('a').warning('bye')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr)["event"] == "bye"
    assert done.stdout == ""


def test_library_records_are_the_same_for_any_other_handler():
    """Without this setup: one line, the fields beside it, no `exc_info`."""
    records = []

    class Mine(logging.Handler):
        def emit(self, record):
            records.append(record)

    logger, mine = logging.getLogger("creatormate_resilience"), Mine()
    logger.addHandler(mine)
    try:
        get_logger("cache").exception("away", exc_info=ValueError("password=hunter2"), retry_in=1)
    finally:
        logger.removeHandler(mine)
    (record,) = records
    assert record.getMessage() == "away retry_in=1 traceback='ValueError: password=[REDACTED]'"
    assert record.exc_info is None
    assert record.resilience == {"retry_in": 1, "frames": [], "traceback": "ValueError: password=[REDACTED]"}


def test_a_record_that_went_through_a_queue_is_whole():
    """As in services that write their log in a thread of its own."""
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    stream = io.StringIO()
    logger, sender = logging.getLogger("creatormate_resilience"), QueueHandler(queue)
    logger.addHandler(sender)
    try:
        get_logger("cache").error("away", url="redis://:hunter2@h/0", retry_in=1)
    finally:
        logger.removeHandler(sender)
    record = pickle.loads(pickle.dumps(queue.get()))
    with configure_logging(stream=stream):
        logging.getLogger("creatormate_resilience.cache").handle(record)
    event = json.loads(stream.getvalue())
    assert event["event"].startswith("away url=")
    assert event["resilience"]["retry_in"] == 1
    assert "hunter2" not in stream.getvalue()
