"""Finding, in tests, the statement that runs once for each row of another: the N+1 problem."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from creatormate_resilience.db._callers import calling_places
from creatormate_resilience.db._execution import OWN, Execution
from creatormate_resilience.db._fingerprint import Syntax, fingerprint, syntax_of
from creatormate_resilience.db._repeated_queries import is_transaction_control
from creatormate_resilience.exceptions import ConfigurationError, MissingDependencyError

_INSTALLED = find_spec("sqlalchemy") is not None
if TYPE_CHECKING or _INSTALLED:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from creatormate_resilience.db._statement_tap import tap_of

if TYPE_CHECKING:
    from creatormate_resilience.db._database import Database

__all__ = ("NPlusOneError", "NPlusOneReport", "RepeatedStatement", "detect_n_plus_one")

_MOST_STATEMENTS = 1000
_MOST_PLACES = 100
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class RepeatedStatement:
    """A statement that ran too often.

    Attributes:
        fingerprint: The statement without literals.
        count: How often it ran.
        places: Functions of the application that ran it, as `function (file:line)`, and how often each did; most first.
    """

    fingerprint: str
    count: int
    places: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        shown = ", ".join(f"{place} ({count}x)" for place, count in self.places[:_SHOWN])
        return f"{self.count} times, from {shown or 'outside of the application'}: {self.fingerprint}"


class NPlusOneError(AssertionError):
    """Statements ran more often than a test allows.

    Attributes:
        repeated: Which, most often first.
    """

    def __init__(self, repeated: tuple[RepeatedStatement, ...], threshold: int) -> None:
        lines = "\n".join(f"  {each}" for each in repeated)
        super().__init__(
            f"{len(repeated)} statements ran more than {threshold} times; load their rows at once:\n{lines}"
        )
        self.repeated = repeated


@dataclass(slots=True)
class NPlusOneReport:
    """The statements of a `detect_n_plus_one` block so far.

    Attributes:
        threshold: How often a statement may run.
    """

    threshold: int
    _syntax: Syntax = field(repr=False)
    _places: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]], repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def record(self, run: Execution, _parameters: Any, _connection: Any, /) -> None:
        """Count a statement. Called for each by the engine."""
        if run.batch or run.statement.endswith(OWN):
            return
        name = fingerprint(run.statement, self._syntax)
        place = next(iter(calling_places(1)), "")
        with self._lock:
            if name not in self._places and len(self._places) >= _MOST_STATEMENTS:
                return
            places = self._places.setdefault(name, Counter())
            places[place if place in places or len(places) < _MOST_PLACES else ""] += 1

    @property
    def repeated(self) -> tuple[RepeatedStatement, ...]:
        """The statements that ran more often than allowed, most often first."""
        with self._lock:
            found = [
                RepeatedStatement(name, places.total(), tuple((place, n) for place, n in places.most_common() if place))
                for name, places in self._places.items()
                if places.total() > self.threshold and not is_transaction_control(name)
            ]
        return tuple(sorted(found, key=lambda each: each.count, reverse=True))


@contextmanager
def detect_n_plus_one(
    target: Database | AsyncEngine | Engine, *, threshold: int = 5, raises: bool = True
) -> Generator[NPlusOneReport]:
    """Fail where one statement runs more often in a block than it should; for tests.

    All statements count that the engine runs in the meantime, whichever task or thread they come from.

    Args:
        target: A `Database`, or an engine.
        threshold: How often a statement may run, from 1.
        raises: Whether to raise at the end of the block; else look at `report.repeated`.

    Yields:
        The report.

    Raises:
        NPlusOneError: A statement ran more often. Not where the block itself raised.
        ConfigurationError: The threshold is not a positive number, or the target has no engine.
        MissingDependencyError: SQLAlchemy is not installed.
    """
    if not _INSTALLED:
        raise MissingDependencyError("sqlalchemy[asyncio]", extra="sqlite", needed_by="detect_n_plus_one")
    if isinstance(threshold, bool) or not isinstance(threshold, int) or threshold < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"threshold is {threshold!r}; accepted are whole numbers from 1")
    engine = _engine_of(target)
    report = NPlusOneReport(threshold, syntax_of(engine.dialect.name))
    tap = tap_of(engine)
    tap.attach(report)
    try:
        yield report
    finally:
        tap.detach(report)
    if raises and report.repeated:
        raise NPlusOneError(report.repeated, threshold)


def _engine_of(target: Any) -> Engine:
    engine = getattr(target, "engine", target)
    engine = getattr(engine, "sync_engine", engine)
    if not isinstance(engine, Engine):
        raise ConfigurationError(f"target is {type(target).__name__}; accepted are a Database and an engine")
    return engine
