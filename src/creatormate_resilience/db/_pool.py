"""A pool that serves in order, knows who holds its connections, and says no where waiting is of no use."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, Pool, QueuePool
from sqlalchemy.util.queue import Empty

from creatormate_resilience.clock import Clock
from creatormate_resilience.db._fair_queue import FairQueue
from creatormate_resilience.db._holders import Holders
from creatormate_resilience.db._statistics import PoolStatistics
from creatormate_resilience.exceptions import PoolExhaustedError
from creatormate_resilience.latencies import Latencies

__all__ = ("FairPool", "PoolCounters", "exhausted", "read_pool")

_SHOWN = 5


@dataclass(slots=True)
class PoolCounters:
    """What a pool counts."""

    created: int = 0
    closed: int = 0
    timeouts: int = 0
    wait_time: Latencies = field(default_factory=Latencies)


class FairPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's queue pool with a fair queue, a bound on those who wait, and a book of those who hold.

    Args:
        creator: As for `QueuePool`.
        holders: Keeps the book.
        counters: What is counted.
        clock: Measures waits.
        max_waiting: Most tasks that may wait for a connection; None for no bound.
        **options: As for `QueuePool`.
    """

    _queue_class = FairQueue[ConnectionPoolEntry]

    def __init__(
        self,
        creator: Any,
        holders: Holders,  # no keyword-only ones: SQLAlchemy passes on by name what it finds among the positional
        counters: PoolCounters,
        clock: Clock,
        max_waiting: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(creator, **options)
        self.holders = holders
        self.counters = counters
        self.clock = clock
        self.max_waiting = max_waiting
        self._disposed = False
        self.queue.before_wait = self._before_wait

    @property
    def queue(self) -> FairQueue[ConnectionPoolEntry]:
        """The idle connections, and who waits."""
        assert isinstance(self._pool, FairQueue)  # noqa: S101 - `_queue_class` says so
        return self._pool

    def _do_get(self) -> ConnectionPoolEntry:
        began = self.clock.monotonic()
        try:
            while (record := self._idle_or_new(began)) is None:
                pass  # woken because there was room, and somebody else was faster
        finally:
            self.holders.waits_no_more()
        self.counters.wait_time.add(self.clock.monotonic() - began)
        self.holders.took(record)
        return record

    def _idle_or_new(self, began: float) -> ConnectionPoolEntry | None:
        """A connection that is idle, or opened now, or returned while we wait; None where it is worth another try."""
        if self.queue.empty() and self._inc_overflow():
            try:
                return self._create_connection()
            except BaseException:
                self._dec_overflow()
                raise
        left = began + self.timeout() - self.clock.monotonic()
        try:
            return self.queue.get(block=True, timeout=left)
        except Empty:
            if self.clock.monotonic() < began + self.timeout():
                return None
        self.counters.timeouts += 1
        raise exhausted(self, f"none came free within pool_timeout={self.timeout():g} s")

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self.holders.returned(record)
        if self._disposed:  # SQLAlchemy would leave it to the garbage collector
            record.close()
        else:
            super()._do_return_conn(record)

    def dispose(self) -> None:
        """Close what is idle, and what is in use when it comes back."""
        self._disposed = True
        super().dispose()

    def _dec_overflow(self) -> Any:
        answer = super()._dec_overflow()
        self.queue.wake()
        return answer

    def _before_wait(self) -> None:
        if self.max_waiting is not None and self.queue.waiting >= self.max_waiting:
            raise exhausted(self, f"max_waiting={self.max_waiting} tasks wait for one already")
        self.holders.begins_to_wait()
        if len(self.holders) >= self.size() + max(0, self._max_overflow) and self.holders.wait_for_each_other:
            raise exhausted(
                self, "everybody who holds one waits for another: take one connection in a task, not a second inside"
            )

    def recreate(self) -> FairPool:
        """A pool like this one, without connections; the figures go on."""
        return type(self)(
            self._creator,
            holders=self.holders,
            counters=self.counters,
            clock=self.clock,
            max_waiting=self.max_waiting,
            pool_size=self.size(),
            max_overflow=self._max_overflow,
            pre_ping=self._pre_ping,
            use_lifo=self._pool.use_lifo,
            timeout=self._timeout,
            recycle=self._recycle,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )


def exhausted(pool: QueuePool, why: str) -> PoolExhaustedError:
    """The error for who gets no connection.

    Args:
        pool: Which has none.
        why: What happened.
    """
    size, overflow = pool.size(), pool.overflow()
    held = f"all {size + overflow} connections (pool_size={size}, max_overflow={max(0, overflow)}) are in use and {why}"
    if not isinstance(pool, FairPool):
        return PoolExhaustedError(f"{held}: hold connections shorter, or raise pool_size")
    holders = pool.holders.snapshot()
    shown = "; ".join(map(str, holders[:_SHOWN]))
    more = f"; and {len(holders) - _SHOWN} more" if len(holders) > _SHOWN else ""
    return PoolExhaustedError(f"{held}: hold connections shorter, or raise pool_size. Held by {shown}{more}")


def read_pool(pool: Pool) -> PoolStatistics | None:
    """The pool's numbers, or None for a kind of pool that has none (`NullPool`, `StaticPool`)."""
    if not isinstance(pool, QueuePool):
        return None
    max_overflow: int = pool._max_overflow  # pyright: ignore[reportPrivateUsage] - there is no other way to know
    numbers = PoolStatistics(
        size=pool.size(),
        max_overflow=max_overflow,
        in_use=pool.checkedout(),
        idle=pool.checkedin(),
        overflow=max(0, pool.overflow()),
    )
    if not isinstance(pool, FairPool):
        return numbers
    return replace(
        numbers,
        waiting=pool.queue.waiting,
        timeouts=pool.counters.timeouts,
        created=pool.counters.created,
        closed=pool.counters.closed,
        wait_time=pool.counters.wait_time.quantiles(),
        use_time=pool.holders.use_time.quantiles(),
    )
