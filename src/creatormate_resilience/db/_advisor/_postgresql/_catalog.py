"""All checks of PostgreSQL, and what has to be known before them."""

from __future__ import annotations

from collections.abc import Iterator

from creatormate_resilience.db._advisor._check import Context, Row
from creatormate_resilience.db._advisor._config import AdvisorConfig
from creatormate_resilience.db._advisor._finding import Note
from creatormate_resilience.db._advisor._postgresql import (
    _activity,
    _bloat,
    _indexes,
    _keys,
    _sequences,
    _server,
    _settings,
    _tables,
)

__all__ = ("CHECKS", "FACTS", "LIMITS", "context_of", "limits", "notes_of")

# With a search path of its own the advisor calls no function that a user has put in the way of the server's. Large
# catalogs would make the server compile its plans, which takes longer than running them.
LIMITS = """
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
       pg_catalog.set_config('statement_timeout', CAST(:statement_timeout AS pg_catalog.text), true),
       pg_catalog.set_config('lock_timeout', CAST(:lock_timeout AS pg_catalog.text), true),
       pg_catalog.set_config('jit', 'off', true)
"""

# Where the statistics of a database were never reset, as after a crash, those of the server tell the time.
FACTS = """
SELECT CAST(current_setting('server_version_num') AS int) AS version,
       current_setting('server_version') AS shown_version,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all,
       pg_is_in_recovery() AS is_replica,
       (SELECT count(DISTINCT c.oid) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        WHERE c.relkind IN ('r', 'p', 'm') AND l.mode = 'AccessExclusiveLock' AND l.granted
          AND l.database = d.datid) AS locked_tables,
       extract(epoch FROM clock_timestamp() - coalesce(d.stats_reset, b.stats_reset))::float8 AS stats_age,
       ARRAY(SELECT nspname::text FROM pg_namespace) AS schemas,
       ARRAY(SELECT e.extname::text FROM pg_extension e ORDER BY e.oid) AS extensions,
       ARRAY(SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
             ORDER BY e.oid) AS extension_schemas
FROM pg_stat_database d, pg_stat_bgwriter b WHERE d.datname = current_database()
"""

CHECKS = (
    *_indexes.CHECKS,
    *_keys.CHECKS,
    *_tables.CHECKS,
    *_bloat.CHECKS,
    *_sequences.CHECKS,
    *_activity.CHECKS,
    *_server.CHECKS,
    *_settings.CHECKS,
)


def limits(config: AdvisorConfig) -> dict[str, str]:
    """Parameters of `LIMITS`, in milliseconds."""
    seconds = {"statement_timeout": config.statement_timeout, "lock_timeout": config.lock_timeout}
    return {name: str(max(1, round(value * 1000))) for name, value in seconds.items()}


def context_of(facts: Row, config: AdvisorConfig) -> Context:
    """What the checks need to know, from the row of `FACTS`."""
    return Context(
        config=config,
        version=facts["version"],
        stats_age=facts["stats_age"],
        sees_all=facts["sees_all"],
        extensions=dict(zip(facts["extensions"], facts["extension_schemas"], strict=True)),
    )


def notes_of(facts: Row, config: AdvisorConfig) -> Iterator[Note]:
    """What the report should say beforehand."""
    if missing := sorted(set(config.schemas or ()).difference(facts["schemas"])):
        yield Note("schemas", f"not in this database: {', '.join(missing)}")
    if facts["is_replica"]:
        yield Note("statistics", "this is a replica: what its primary reads and writes is not counted here")
    if facts["locked_tables"]:
        reason = f"{facts['locked_tables']} tables are locked exclusively right now: their indexes are not compared"
        yield Note("superfluous_index", reason)
    if facts["version"] < 130000:
        yield Note("version", "PostgreSQL before 13 was not tried")
