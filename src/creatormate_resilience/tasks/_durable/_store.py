"""The statements of a durable engine: what it asks its table, and the changes that it makes there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final, Protocol

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.tasks._durable._config import DurableConfig
from creatormate_resilience.tasks._durable._submission import Batch, Taken
from creatormate_resilience.tasks._options import TagValue
from creatormate_resilience.tasks._record import TaskStatus

__all__ = ("Queries", "Row", "Store")

Row = Mapping[str, Any]

VERSION: Final = 1
"""Of our tables. A process works with tables of its own version and of the next one, so that deploys may roll."""

_HEADS: Final = """SELECT id, name, status, priority, kind, tags, key, attempts, submitted_at, wait_time, run_time,
    progress, progress_message, error FROM creatormate_task_records WHERE"""

_MIGRATE: Final = """
SELECT pg_advisory_xact_lock(hashtext('creatormate_tasks_schema'));
CREATE SCHEMA IF NOT EXISTS "{schema}";
DO $migrate$
BEGIN
    IF to_regclass('procrastinate_jobs') IS NULL THEN
        EXECUTE $procrastinate${procrastinate}$procrastinate$;
    END IF;
    CREATE TABLE IF NOT EXISTS creatormate_tasks_schema (
        version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
    IF NOT EXISTS (SELECT 1 FROM creatormate_tasks_schema WHERE version >= 1) THEN
        EXECUTE $v1${v1}$v1$;
        INSERT INTO creatormate_tasks_schema (version) VALUES (1);
    END IF;
END
$migrate$;
"""
_CHECK: Final = """
SELECT to_regclass('creatormate_tasks_schema') IS NOT NULL AS ours,
       to_regprocedure('procrastinate_fetch_job_v2(character varying[], bigint)') IS NOT NULL
       AND to_regproc('procrastinate_defer_jobs_v1') IS NOT NULL
       AND to_regproc('procrastinate_retry_job_v2') IS NOT NULL AS theirs
"""
_STATISTICS: Final = """
SELECT queue, status, count(*) AS tasks, max(extract(epoch FROM clock_timestamp() - due_at))::float8 AS oldest
  FROM creatormate_task_records GROUP BY queue, status ORDER BY queue, status
"""
_WORKERS: Final = """
SELECT worker.id, extract(epoch FROM clock_timestamp() - worker.last_heartbeat)::float8 AS silent,
       (SELECT count(*) FROM procrastinate_jobs AS job
         WHERE job.worker_id = worker.id AND job.status = 'doing') AS running
  FROM procrastinate_workers AS worker ORDER BY worker.id
"""
_ENDED: Final = """
SELECT wanted.id AS wanted, record.*
  FROM unnest(%(ids)s::text[]::uuid[]) AS wanted (id) LEFT JOIN creatormate_task_records AS record USING (id)
 WHERE record.name IS NULL OR record.final
"""


class Queries(Protocol):
    """A database, as far as it is needed here."""

    async def rows(self, query: str, **arguments: Any) -> Sequence[Row]:
        """Run one statement, in a transaction of its own, with arguments in the form `%(name)s`.

        Where its answer was lost it is sent once more, so it must not matter that it runs twice.

        Raises:
            DatabaseUnavailableError: The database cannot be reached now.
            ConfigurationError: Our tables are not there.
        """
        ...

    async def once(self, query: str, **arguments: Any) -> Sequence[Row]:
        """The same for what must not run twice."""
        ...

    async def script(self, text: str) -> None:
        """Run several statements in one transaction; raises the same."""
        ...


class Store:
    """Our table, and what stands in it.

    Args:
        queries: The database.
        config: The engine's settings.
    """

    def __init__(self, queries: Queries, config: DurableConfig) -> None:
        self._queries = queries
        self._config = config

    async def migrate(self, procrastinate: str) -> None:
        """Make the tables that are missing, ours and, where there are none, Procrastinate's; it may run twice.

        Args:
            procrastinate: SQL that makes Procrastinate's.
        """
        ours = (resources.files(__package__ or "") / "v1.sql").read_text(encoding="utf-8")
        script = _MIGRATE.format(schema=self._config.schema, procrastinate=procrastinate, v1=ours)
        await self._queries.script(script)

    async def check(self) -> None:
        """Refuse to work with tables that are not there, or not those that this process knows.

        Raises:
            ConfigurationError: With the command that mends it.
        """
        (found,) = await self._queries.rows(_CHECK)
        where = f"in schema {self._config.schema}"
        if not found["ours"]:
            raise ConfigurationError(
                f"the tables of tasks are missing {where}; run `creatormate-resilience tasks migrate module:executor`, "
                "or await the engine's migrate()"
            )
        if not found["theirs"]:
            raise ConfigurationError(
                f"the tables of Procrastinate {where} are older than 3.7; run the migrations that come with it"
            )
        (row,) = await self._queries.rows("SELECT max(version) AS version FROM creatormate_tasks_schema")
        if row["version"] < VERSION:
            raise ConfigurationError(
                f"the tables of tasks {where} are of version {row['version']}, and {VERSION} is needed; run "
                "`creatormate-resilience tasks migrate module:executor`"
            )
        if row["version"] > VERSION + 1:
            raise ConfigurationError(
                f"the tables of tasks {where} are of version {row['version']}, newer than this process, which knows "
                f"{VERSION}; update creatormate-resilience here"
            )

    async def submit(self, batch: Batch) -> list[Taken]:
        """Take tasks. Sent again after a lost answer it takes nothing twice, because we make the ids."""
        rows = await self._queries.rows(
            "SELECT task::text, joined FROM creatormate_submit("
            "%(shared)s::text::json, %(ids)s::text[]::uuid[], %(calls)s::text[]::json[])",
            shared=batch.shared, ids=batch.ids, calls=batch.calls,
        )  # fmt: skip
        return [Taken(row["task"], row["joined"]) for row in rows]

    async def get(self, task_id: str) -> Row | None:
        """How one task stands, with its result."""
        query = "SELECT * FROM creatormate_task_records WHERE id = %(id)s::text::uuid"
        rows = await self._queries.rows(query, id=task_id)
        return rows[0] if rows else None

    async def ended(self, ids: Sequence[str]) -> Mapping[str, Row | None]:
        """Those of these tasks that have ended; None stands for one that is not there."""
        rows = await self._queries.rows(_ENDED, ids=[*ids])
        return {str(row["wanted"]): row if row["name"] is not None else None for row in rows}

    async def list(self, status: TaskStatus | None, tags: Mapping[str, TagValue], limit: int) -> Sequence[Row]:
        """The newest tasks of one status, with all of these tags."""
        wanted = [_HEADS, "true"]
        if tags:
            wanted.append("AND tags <> '{}' AND tags @> %(tags)s::text::jsonb")
        if status is not None:
            wanted.append("AND status = %(status)s")
        return await self._queries.rows(
            " ".join((*wanted, "ORDER BY id DESC LIMIT %(limit)s")),
            tags=json.dumps(dict(tags)), status=None if status is None else status.value, limit=limit,
        )  # fmt: skip

    async def dead_letters(self, limit: int) -> Sequence[Row]:
        """The tasks that ended badly, the last one first."""
        return await self._queries.rows(
            f"{_HEADS} failed_at IS NOT NULL ORDER BY failed_at DESC LIMIT %(limit)s", limit=limit
        )

    async def cancel(self, task_id: str) -> str | None:
        """'cancelled', 'ended' where it had, None where it is not there."""
        answer: str | None = await self._value_once("creatormate_cancel(%(id)s::text::uuid)", id=task_id)
        return answer

    async def requeue(self, task_id: str) -> str | None:
        """'queued', 'taken', 'unsuitable', or None where it is not there; see v1.sql."""
        answer: str | None = await self._value_once("creatormate_requeue(%(id)s::text::uuid)", id=task_id)
        return answer

    async def claim(self, name: str, occurrence: str) -> bool:
        """Claim a firing of a schedule; False where another process has it."""
        query = (
            "INSERT INTO creatormate_occurrences VALUES (%(name)s, %(occurrence)s) ON CONFLICT DO NOTHING RETURNING 1"
        )
        return bool(await self._queries.once(query, name=name, occurrence=occurrence))

    async def fetch(self, queues: Sequence[str], worker: int) -> Any:
        """Hand out the next job; None where none is due."""
        return await self._value_once("creatormate_fetch(%(queues)s::text[], %(worker)s)", queues=queues, worker=worker)

    async def finish(self, task_id: str, run: int, job: int, ending: Mapping[str, str | None]) -> bool:
        """Write down what an attempt came to; False where the task was taken away from it.

        Args:
            task_id: The task's.
            run: Which handing-out it was.
            job: Procrastinate's.
            ending: `ending`, `result` and `error`, each as JSON.
        """
        answer: bool = await self._value(
            "creatormate_finish(%(id)s::text::uuid, %(run)s, %(job)s, %(ending)s::text::json, "
            "%(result)s::text::json, %(error)s::text::json)",
            id=task_id, run=run, job=job, **ending,
        )  # fmt: skip
        return answer

    async def report(self, progress: Sequence[tuple[str, int, float, str | None]]) -> None:
        """Write down how far tasks are: id, run, fraction, message."""
        ids, runs, fractions, messages = (list(column) for column in zip(*progress, strict=True))
        await self._queries.rows(
            "UPDATE creatormate_tasks AS task SET progress = new.fraction, progress_message = new.message "
            "FROM unnest(%(ids)s::text[]::uuid[], %(runs)s::int[], %(fractions)s::real[], %(messages)s::text[]) "
            "AS new (id, run, fraction, message) WHERE task.id = new.id AND task.run = new.run "
            "AND task.status = 'running' RETURNING 1",
            ids=ids, runs=runs, fractions=fractions, messages=messages,
        )  # fmt: skip

    async def rescue(self) -> int:
        """Queue the tasks of workers that are silent for longer than the lease; say how many."""
        answer: int = await self._value(
            "creatormate_rescue(%(lease)s, %(most)s, NULL, '{}')",
            lease=self._config.lease, most=self._config.max_rescues,
        )  # fmt: skip
        return answer

    async def reclaim(self, worker: int, held: Sequence[str]) -> int:
        """Queue what a worker was handed out and does not hold, because the answer was lost; say how many."""
        answer: int = await self._value(
            "creatormate_rescue(NULL, %(most)s, %(worker)s, %(held)s::text[]::uuid[])",
            most=self._config.max_rescues, worker=worker, held=held,
        )  # fmt: skip
        return answer

    async def prune(self, most: int) -> int:
        """End what has expired and forget what ended long ago, `most` tasks of each; say how many are forgotten."""
        answer: int = await self._value(
            "creatormate_prune(%(ttl)s, %(failure_ttl)s, %(most)s)",
            ttl=self._config.result_ttl, failure_ttl=self._config.failure_ttl, most=most,
        )  # fmt: skip
        return answer

    async def statistics(self) -> Sequence[Row]:
        """How many tasks are in each status, by queue."""
        return await self._queries.rows(_STATISTICS)

    async def workers(self) -> Sequence[Row]:
        """The workers, with the seconds since their last sign of life."""
        return await self._queries.rows(_WORKERS)

    async def _value(self, call: str, **arguments: Any) -> Any:
        (row,) = await self._queries.rows(f"SELECT {call} AS value", **arguments)
        return row["value"]

    async def _value_once(self, call: str, **arguments: Any) -> Any:
        (row,) = await self._queries.once(f"SELECT {call} AS value", **arguments)
        return row["value"]
