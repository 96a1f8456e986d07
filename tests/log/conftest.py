"""What an application prints, line by line."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from creatormate_resilience.log import configure_logging


@pytest.fixture(autouse=True)
def _nothing_stays_behind(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After a test logging is as before. What pytest listens with, which raises on records that do not fit, is deaf."""
    monkeypatch.setattr(type(caplog.handler), "emit", lambda _handler, _record: None)
    root = logging.getLogger()
    level = root.level
    yield
    assert [handler for handler in root.handlers if not type(handler).__module__.startswith("_pytest")] == []
    assert root.level == level
    assert not structlog.is_configured()


class Printed(io.StringIO):
    """What was printed, as text and as the objects that its lines are."""

    @property
    def handler(self) -> logging.Handler:
        """The handler that prints here."""
        found = [handler for handler in logging.getLogger().handlers if getattr(handler, "stream", None) is self]
        return found[0]

    @property
    def text(self) -> str:
        return self.getvalue()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def event(self) -> dict[str, Any]:
        (event,) = self.events
        return event


@pytest.fixture
def printed() -> Iterator[Printed]:
    """JSON of everything from DEBUG on."""
    stream = Printed()
    with configure_logging(format="json", level="DEBUG", stream=stream):
        yield stream


@pytest.fixture
def shown() -> Iterator[Printed]:
    """What a terminal without colours shows of everything from DEBUG on."""
    stream = Printed()
    with configure_logging(format="terminal", level="DEBUG", stream=stream):
        yield stream


@pytest.fixture
def caught() -> Callable[[Callable[[], object]], BaseException]:
    """The exception that a callable raises."""

    def catch(raising: Callable[[], object]) -> BaseException:
        try:
            raising()
        except BaseException as error:
            return error
        raise AssertionError("nothing was raised")

    return catch
