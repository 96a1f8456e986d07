"""From which number on something is worth a finding."""

from __future__ import annotations

from dataclasses import dataclass

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.options import check_number, check_share, check_text, check_whole

__all__ = ("AdvisorConfig",)

_DAY = 86400.0
_MEBIBYTE = 1 << 20
_SECONDS_ABOVE_ZERO = ("timeout", "statement_timeout", "lock_timeout", "slow_statement")
_SECONDS = ("min_stats_age", "long_query", "idle_in_transaction", "lock_wait", "lock_wait_critical", "min_total_time")
_COUNTS = (
    "large_table_rows",
    "min_seq_scans",
    "min_analyze_rows",
    "min_dead_rows",
    "min_bloat_bytes",
    "min_unused_bytes",
    "min_blocks_read",
    "top_statements",
)
_SHARES = (
    "seq_scan_share",
    "dead_row_share",
    "bloat_share",
    "cache_hit_share",
    "xid_warning",
    "xid_critical",
    "sequence_warning",
    "sequence_critical",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvisorConfig:
    """Limits of the advisor and its thresholds; checked when made.

    Attributes:
        schemas: Look at these only; None for all but the server's own. PostgreSQL only.
        timeout: Longest duration of the whole look, in seconds.
        statement_timeout: Longest duration of one of its statements, in seconds. PostgreSQL only.
        lock_timeout: Longest wait for a lock, in seconds. PostgreSQL only.
        max_findings: Findings of one kind kept, the worst ones; 1 to 10000.
        min_stats_age: Indexes are called unused only where the server has counted for this long, in seconds.
        min_unused_bytes: Smaller indexes are not called unused.
        large_table_rows: From this many rows on a table is large.
        min_seq_scans: Fewer whole scans of a large table are no matter.
        seq_scan_share: Share of the scans of a large table that are whole scans.
        min_analyze_rows: Smaller tables need no statistics for the planner.
        min_dead_rows: Fewer dead rows are no matter.
        dead_row_share: Dead rows, as a share of all rows.
        min_bloat_bytes: Less estimated waste is no matter.
        bloat_share: Estimated waste, as a share of the size.
        min_blocks_read: With fewer blocks read the cache-hit ratio says nothing.
        cache_hit_share: Share of the blocks that should come from the cache.
        long_query: Running statements older than this, in seconds.
        idle_in_transaction: Transactions idle for longer, in seconds; prepared ones that are older, too.
        lock_wait: Waits for a lock longer than this, in seconds.
        lock_wait_critical: From this wait on it is critical, in seconds.
        xid_warning: Transaction ids used up, as a share of the 2^31 there are.
        xid_critical: The same, critical.
        sequence_warning: Values of a sequence used up, as a share.
        sequence_critical: The same, critical.
        top_statements: How many statements to report, those with the largest total time; 0 for none.
        min_total_time: Statements with less total time are not reported, in seconds.
        slow_statement: Mean time from which on such a statement is a warning, in seconds.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    schemas: tuple[str, ...] | None = None
    timeout: float = 60.0
    statement_timeout: float = 5.0
    lock_timeout: float = 0.5
    max_findings: int = 100
    min_stats_age: float = 7 * _DAY
    min_unused_bytes: int = _MEBIBYTE
    large_table_rows: int = 100_000
    min_seq_scans: int = 100
    seq_scan_share: float = 0.5
    min_analyze_rows: int = 1000
    min_dead_rows: int = 10_000
    dead_row_share: float = 0.25
    min_bloat_bytes: int = 100 * _MEBIBYTE
    bloat_share: float = 0.5
    min_blocks_read: int = 1_000_000
    cache_hit_share: float = 0.95
    long_query: float = 60.0
    idle_in_transaction: float = 60.0
    lock_wait: float = 5.0
    lock_wait_critical: float = 60.0
    xid_warning: float = 0.4
    xid_critical: float = 0.75
    sequence_warning: float = 0.75
    sequence_critical: float = 0.9
    top_statements: int = 10
    min_total_time: float = 60.0
    slow_statement: float = 1.0

    def __post_init__(self) -> None:
        self._check_schemas()
        check_whole("max_findings", self.max_findings, 1, 10_000)
        for name in _SECONDS_ABOVE_ZERO:
            # A server takes milliseconds, and 0 of them for no limit at all.
            check_number(name, getattr(self, name), "seconds", least=0.001, most=_DAY)
        for name in _SECONDS:
            check_number(name, getattr(self, name), "seconds", above_zero=False, most=3650 * _DAY)
        for name in _COUNTS:
            check_whole(name, getattr(self, name), 0)
        for name in _SHARES:
            check_share(name, getattr(self, name))

    def _check_schemas(self) -> None:
        if self.schemas is None:
            return
        if not isinstance(self.schemas, tuple) or not self.schemas:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"schemas is {self.schemas!r:.200}; accepted are a tuple of names, and None")
        for name in self.schemas:
            check_text("schemas", name)
