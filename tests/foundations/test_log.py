"""The library's own log: silent by default, redacted, and readable by whoever turns it on."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from creatormate_resilience.log import get_logger


class Raising(dict[str, object]):
    """Fails whoever looks into it."""

    def items(self):
        raise RuntimeError("no")


def test_nothing_is_printed_until_the_application_configures_logging():
    """Not even warnings, and nothing on stdout."""
    program = (
        "from creatormate_resilience.log import get_logger\n"
        "get_logger('cache').error('redis is away', retry_in=1)\n"
        "get_logger('cache').critical('gone')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_line_tells_the_event_and_its_fields(caplog):
    """In the text for people, on the record for machines, under one logger per unit."""
    with caplog.at_level(logging.INFO, "creatormate_resilience"):
        get_logger("cache").warning("redis is away", retry_in=0.5, host="h\nx")
    (record,) = caplog.records
    assert record.name == "creatormate_resilience.cache"
    assert record.getMessage() == "redis is away retry_in=0.5 host='h\\nx'"
    assert record.resilience == {"retry_in": 0.5, "host": "h\nx"}


def test_secrets_are_not_logged(caplog):
    """Neither in fields nor in the text."""
    with caplog.at_level(logging.INFO, "creatormate_resilience"):
        get_logger("cache").info("at redis://:hunter2@h/0", password="hunter2", url="redis://:hunter2@h/0")
    assert "hunter2" not in caplog.text
    assert "hunter2" not in str(caplog.records[0].__dict__)


def test_a_hostile_field_does_not_break_the_line(caplog):
    """A log call in an error path never raises."""
    with caplog.at_level(logging.INFO, "creatormate_resilience"):
        get_logger("cache").info("odd", bad=Raising(a=1), percent="100 %s", good=1)
    assert "good=1" in caplog.text


def test_an_exception_is_logged_with_its_traceback_and_without_its_secrets(caplog):
    """As text of this library's making: `exc_info` would be printed as it is by whatever handler comes."""
    with caplog.at_level(logging.INFO, "creatormate_resilience"):
        try:
            raise KeyError("redis://:hunter2@h/0")
        except KeyError:
            get_logger("cache").exception("failed", key="k")
    (record,) = caplog.records
    assert record.exc_info is None
    assert "KeyError" in record.resilience["traceback"]
    assert record.resilience["frames"][-1].startswith(f"{__name__}:")
    assert "KeyError" in caplog.text
    assert "hunter2" not in caplog.text + str(record.__dict__)


def test_a_bound_logger_keeps_its_fields(caplog):
    """A unit binds what all its lines share."""
    with caplog.at_level(logging.INFO, "creatormate_resilience"):
        get_logger("cache").bind(node="a").info("up")
    assert caplog.records[0].getMessage() == "up node='a'"


@pytest.mark.parametrize("level", ["debug", "info"])
def test_what_is_below_the_level_is_not_rendered(caplog, level):
    """A quiet log costs next to nothing."""
    with caplog.at_level(logging.WARNING, "creatormate_resilience"):
        getattr(get_logger("cache"), level)("quiet", value=Raising())
    assert caplog.records == []
