"""How often each statement ran and how long it took: a bounded table by fingerprint, as frozen rows."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, log2
from types import MappingProxyType
from typing import Literal, TypeAlias

from creatormate_resilience.db._execution import CANCELLED, FAILED, Execution
from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("OTHER", "Order", "QueryRow", "QueryStatistics", "QueryTable")

Order: TypeAlias = Literal["total_time", "count", "mean", "p99", "errors"]
OTHER = "(other)"
"""Stands for the fingerprints that were displaced from the table."""


@dataclass(frozen=True, slots=True)
class QueryStatistics:
    """One statement, whatever its literals and parameters, since the statistics began.

    Attributes:
        fingerprint: The statement without literals; `(other)` for all that were displaced by newer ones.
        count: How often it ran. An `executemany` counts once.
        errors: How many of these raised.
        cancelled: How many were cancelled.
        rows: Rows returned or changed, as far as the driver told; those of a stream are not counted.
        parameter_sets: Sets of parameters sent: one each time, many for an `executemany`.
        total_time: Seconds that all took together, failed and cancelled ones too.
        p50: Half of them took no longer, in seconds, within 2.2 %; so do 95 of 100 and 99 of 100 for the next two.
        p95: See `p50`.
        p99: See `p50`.
        max: The slowest, in seconds.
        last_seen: When it ran last.
    """

    fingerprint: str
    count: int
    errors: int
    cancelled: int
    rows: int
    parameter_sets: int
    total_time: float
    p50: float
    p95: float
    p99: float
    max: float
    last_seen: datetime

    @property
    def mean(self) -> float:
        """The average duration, in seconds."""
        return self.total_time / self.count


# Buckets of equal ratio, 16 to each doubling: a quantile is at most 2.2 % off (half a bucket), in 4.5 KB.
_PER_DOUBLING = 16
_SHORTEST = -20  # 2**-20 s is a microsecond
_BUCKETS = 34 * _PER_DOUBLING  # up to 2**14 s, four and a half hours
_EMPTY = array("Q", [0]) * _BUCKETS


class QueryRow:
    """The numbers of one fingerprint. Not safe for threads: its table is."""

    __slots__ = (
        "_buckets",
        "_further_sets",
        "cancelled",
        "count",
        "errors",
        "fingerprint",
        "last_seen",
        "max",
        "rows",
        "total_time",
    )

    def __init__(self, fingerprint: str, now: float) -> None:
        self.fingerprint = fingerprint
        self.count = self.errors = self.cancelled = self.rows = self._further_sets = 0
        self.total_time = self.max = 0.0
        self.last_seen = now
        self._buckets = _EMPTY[:]

    def add(self, run: Execution) -> None:
        """Count one run."""
        _, seconds, ended, rows, sets, fate, _, _ = (
            run  # cheaper than by their names, and this runs for every statement
        )
        self.count += 1
        self.total_time += seconds
        self.last_seen = ended
        if rows > 0:  # drivers say -1 for what they do not know
            self.rows += rows
        if sets != 1:
            self._further_sets += sets - 1
        self.max = max(self.max, seconds)
        if fate == FAILED:
            self.errors += 1
        elif fate == CANCELLED:
            self.cancelled += 1
        # Below a microsecond and above the scale counts as its ends.
        place = int((log2(seconds) - _SHORTEST) * _PER_DOUBLING) if seconds > 1e-6 else 0
        self._buckets[place if place < _BUCKETS else -1] += 1

    def take_in(self, other: QueryRow) -> None:
        """Add the numbers of another row."""
        for name in ("count", "errors", "cancelled", "rows", "_further_sets", "total_time"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.max = max(self.max, other.max)
        self.last_seen = max(self.last_seen, other.last_seen)
        self._buckets = array("Q", map(sum, zip(self._buckets, other._buckets, strict=True)))

    def quantile(self, share: float) -> float:
        """A duration that this share of the runs did not exceed, in seconds."""
        wanted, seen = ceil(self.count * share), 0
        for index, count in enumerate(self._buckets):
            seen += count
            if seen >= wanted > 0:
                return min(self.max, 2 ** ((index + 0.5) / _PER_DOUBLING + _SHORTEST))
        return self.max

    def picture(self, epoch: datetime) -> QueryStatistics:
        """The numbers at this moment.

        Args:
            epoch: The wall time at zero of the table's clock.
        """
        return QueryStatistics(
            self.fingerprint,
            self.count,
            self.errors,
            self.cancelled,
            self.rows,
            self.count + self._further_sets,
            self.total_time,
            self.quantile(0.5),
            self.quantile(0.95),
            self.quantile(0.99),
            self.max,
            epoch + timedelta(seconds=self.last_seen),
        )


_KEYS: MappingProxyType[str, Callable[[QueryRow], float]] = MappingProxyType(
    {
        "total_time": lambda row: row.total_time,
        "count": lambda row: row.count,
        "mean": lambda row: row.total_time / row.count,
        "p99": lambda row: row.quantile(0.99),
        "errors": lambda row: row.errors,
    }
)


class QueryTable:
    """Rows by fingerprint, and which text has which, both bounded.

    Texts are remembered by their hash, so that no text is kept; the less recently used half is dropped when there are
    too many. Of the fingerprints the tenth that was not seen for longest goes into one row `(other)`.

    Args:
        to_fingerprint: Gives the fingerprint of a text.
        max_rows: Most fingerprints.
        max_texts: Most texts whose fingerprint is remembered.
    """

    def __init__(self, to_fingerprint: Callable[[str], str], *, max_rows: int = 500, max_texts: int = 4000) -> None:
        self._to_fingerprint = to_fingerprint
        self._max_rows, self._max_young = max_rows, max_texts // 2
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._rows: dict[str, QueryRow] = {}
        self._other: QueryRow | None = None
        self._forget_texts()

    def _forget_texts(self) -> None:
        self._young: dict[int, QueryRow] = {}
        self._old: dict[int, QueryRow] = {}

    def row(self, statement: str, now: float) -> QueryRow:
        """The row that a statement belongs to."""
        key = hash(statement)
        try:
            return self._young[key]
        except KeyError:
            return self._admit(key, statement, now)

    def _admit(self, key: int, statement: str, now: float) -> QueryRow:
        row = self._old.pop(key) if key in self._old else self._find(statement, now)
        if len(self._young) >= self._max_young:
            self._old, self._young = self._young, {}
        self._young[key] = row
        return row

    def _find(self, statement: str, now: float) -> QueryRow:
        fingerprint = self._to_fingerprint(statement)
        row = self._rows.get(fingerprint)
        if row is None:
            if len(self._rows) >= self._max_rows:
                self._displace(now)
            row = self._rows[fingerprint] = QueryRow(fingerprint, now)
        return row

    def _displace(self, now: float) -> None:
        other = self._other or QueryRow(OTHER, now)
        oldest = sorted(self._rows.values(), key=lambda row: row.last_seen)
        for row in oldest[: max(1, self._max_rows // 10)]:
            other.take_in(self._rows.pop(row.fingerprint))
        self._other = other
        self._forget_texts()  # they may lead to rows that are gone

    def top(self, count: int, by: str, epoch: datetime) -> tuple[QueryStatistics, ...]:
        """The first rows in an order, and `(other)` after them where there is one.

        Raises:
            ConfigurationError: The order is unknown, or the count is not positive.
        """
        if by not in tuple(_KEYS):  # not by its hash, which what somebody gives may not have
            raise ConfigurationError(f"by is {by!r}; accepted are {', '.join(_KEYS)}")
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"top is {count!r}; accepted are whole numbers from 1")
        rows = [row for row in self._rows.values() if row.count]
        first = sorted(rows, key=_KEYS[by], reverse=True)[:count]
        shown = [*first, self._other] if self._other is not None else first
        return tuple(row.picture(epoch) for row in shown)
