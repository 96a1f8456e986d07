"""What becomes of each statement that ran: it is counted, and told where it was slow or one too many."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from typing import Any

from creatormate_resilience.db._callers import calling_places
from creatormate_resilience.db._execution import DONE, OWN, SOURCE, Execution
from creatormate_resilience.db._fingerprint import fingerprint, syntax_of
from creatormate_resilience.db._query_statistics import Order, QueryStatistics, QueryTable
from creatormate_resilience.db._repeated_queries import RepeatedQuery, RepeatWatch, is_transaction_control, scope_of
from creatormate_resilience.db._slow_queries import Nulls, RateLimit, SlowQuery, nulls_for, shape_of
from creatormate_resilience.events import Listener, notify

__all__ = ("QueryRecorder", "Reporting")

OnSlow = Callable[[Execution, str, Nulls], object]
_PILE = 64
_LONG = 1000
"""Characters of a statement that is counted at once, so that no pile takes long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """What is told to whom.

    Attributes:
        listeners: Who is told.
        slow_after: Seconds from which a statement is slow; None for never.
        repeats_after: Runs within one request after which a statement is told; None for never.
        on_slow: Called with each slow statement that came to its end and is told, its fingerprint, and its
            parameters without their values.
    """

    listeners: Sequence[Listener] = ()
    slow_after: float | None = None
    repeats_after: int | None = None
    on_slow: OnSlow | None = None


class QueryRecorder:
    """Counts the statements of one engine. Safe for threads.

    What ran is put on a pile, and counted when that is high enough or somebody wants to know: counting many in one go
    costs a fraction of counting each between all that a driver does.

    Args:
        dialect: SQLAlchemy's name of the kind of database.
        reporting: What is told to whom.
        max_rows: Most fingerprints.
    """

    def __init__(self, dialect: str, reporting: Reporting, *, max_rows: int = 500) -> None:
        told = bool(reporting.listeners)
        self._reporting = reporting
        self._table = QueryTable(partial(fingerprint, syntax=syntax_of(dialect)), max_rows=max_rows)
        self._slow_after = reporting.slow_after if told and reporting.slow_after else inf
        self._slow_limit = RateLimit()
        self._watch = RepeatWatch(reporting.repeats_after) if told and reporting.repeats_after else None
        self._repeat_limit = RateLimit(interval=60)
        self._lock = threading.Lock()
        self._pile: deque[Execution] = deque()

    def record(self, run: Execution, parameters: Any, connection: Any, /) -> None:
        """Count a statement, and tell the listeners what is to be told."""
        pile = self._pile
        pile.append(run)
        if len(pile) >= _PILE or len(run.statement) > _LONG:
            with self._lock:
                self._count()
        if self._watch is not None and not run.batch and not run.statement.endswith(OWN):
            self._look_for_repeats(self._watch, run, connection)
        if run.seconds >= self._slow_after and not run.statement.endswith(OWN):
            self._tell_slow(run, parameters)

    def top(self, count: int, by: Order) -> tuple[QueryStatistics, ...]:
        """The first rows in an order."""
        epoch = datetime.now(UTC) - timedelta(seconds=time.perf_counter())
        with self._lock:
            self._count()
            return self._table.top(count, by, epoch)

    def reset(self) -> None:
        """Begin anew."""
        with self._lock:
            self._pile.clear()
            self._table.clear()

    def _count(self) -> None:
        while self._pile:
            run = self._pile.popleft()
            if not run.statement.endswith(OWN):
                self._table.row(run.statement, run.ended).add(run)

    def _look_for_repeats(self, watch: RepeatWatch, run: Execution, connection: Any) -> None:
        with self._lock:
            name = self._table.row(run.statement, run.ended).fingerprint
            many = watch.count(name, scope_of(connection), run.ended)
            if many <= watch.threshold or is_transaction_control(name):
                return
            suppressed = self._repeat_limit.suppressed(name, run.ended)
        if suppressed is not None:
            notify(self._reporting.listeners, RepeatedQuery(SOURCE, name, many, calling_places()))

    def _tell_slow(self, run: Execution, parameters: Any) -> None:
        with self._lock:
            name = self._table.row(run.statement, run.ended).fingerprint
            suppressed = self._slow_limit.suppressed(name, run.ended)
        if suppressed is None:
            return
        shape = shape_of(parameters, run.parameter_sets)
        slow = SlowQuery(SOURCE, name, run.seconds, max(0, run.rows), shape, run.error, calling_places(), suppressed)
        notify(self._reporting.listeners, slow)
        if self._reporting.on_slow is not None and run.fate == DONE:
            self._reporting.on_slow(run, name, nulls_for(parameters))
