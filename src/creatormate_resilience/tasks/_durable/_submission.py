"""Tasks on their way into the table: as one statement, on our own connection or inside the caller's transaction."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from creatormate_resilience.exceptions import ConfigurationError, UnsupportedOptionError
from creatormate_resilience.tasks._carrier import carry_headers
from creatormate_resilience.tasks._declaration import declared_options
from creatormate_resilience.tasks._engine import TaskRequest
from creatormate_resilience.tasks._envelope import Envelope, check_portable, reference_of

__all__ = ("Batch", "Taken", "batch_of", "new_id", "submit_within")

_STATEMENT: Final = (
    "SELECT task::text, joined FROM {}.creatormate_submit({}::text::json, {}::text[]::uuid[], {}::text[]::json[])"
)
_NUMBERED: Final = ("$1", "$2", "$3")
_MOST: Final = 50_000
_UNDEFINED: Final = frozenset({"42883", "3F000", "42P01"})


@dataclass(frozen=True, slots=True)
class Batch:
    """The arguments of `creatormate_submit`.

    Attributes:
        shared: What all tasks of one spec have in common, as JSON.
        ids: Of the tasks.
        calls: Their arguments, as JSON.
    """

    shared: str
    ids: list[str]
    calls: list[str]


@dataclass(frozen=True, slots=True)
class Taken:
    """A task that was taken, or the one that was there already.

    Attributes:
        id: Its id.
        joined: Whether it was there already.
    """

    id: str
    joined: bool


def batch_of(requests: Sequence[TaskRequest], queue: str) -> Batch:
    """Make requests ready to be sent.

    Args:
        requests: Of one spec.
        queue: Where they are to wait.

    Raises:
        TypeError: What is to be run is not portable.
        ValueError: There are too many.
        UnsupportedOptionError: An option cannot be honoured.
    """
    fn, spec = requests[0].fn, requests[0].spec
    options = spec.options
    if len(requests) > _MOST:
        raise ValueError(f"{len(requests)} tasks were submitted at once; accepted are {_MOST}")
    if options.retry is not declared_options(fn).get("retry"):
        raise UnsupportedOptionError(
            "the option 'retry' cannot travel to another machine; declare it with the function: @task(retry=...)"
        )
    if options.key is not None and options.delay:
        raise UnsupportedOptionError("the options 'key' and 'delay' together would hold up the key's other tasks")
    for request in requests:
        check_portable(request)
    envelope = Envelope(
        id="",
        name=spec.name,
        function=reference_of(fn),
        args=(),
        kwargs={},
        options={"timeout": options.timeout, "run_in": spec.kind},
        tags=dict(options.tags),
        headers=carry_headers(),
    ).to_json()
    shared = {
        "queue": queue,
        "name": spec.name,
        "kind": spec.kind,
        "priority": int(options.priority),
        "tags": dict(options.tags),
        "key": options.key,
        "unique_key": options.unique_key,
        "delay": options.delay,
        "expires": options.expires,
        "envelope": {name: value for name, value in envelope.items() if name not in {"id", "args", "kwargs"}},
    }
    calls = [json.dumps({"args": request.args, "kwargs": dict(request.kwargs)}) for request in requests]
    return Batch(json.dumps(shared), [new_id() for _ in requests], calls)


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): it begins with the time, so that the newest stand together in an index."""
    digits = f"{int(time.time() * 1000):012x}{os.urandom(10).hex()}"
    return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


async def submit_within(connection: Any, schema: str, batch: Batch) -> list[Taken]:
    """Take tasks inside the caller's transaction: they are there when it commits, and never where it does not.

    Args:
        connection: SQLAlchemy's `AsyncSession` or `AsyncConnection`, or asyncpg's connection.
        schema: Where our tables are.
        batch: The tasks.

    Raises:
        ConfigurationError: It is none of these, not in a transaction, or of a database without our tables.
    """
    try:
        rows = await _sent(connection, f'"{schema}"', (batch.shared, batch.ids, batch.calls))
    except Exception as error:
        if _UNDEFINED.intersection(_states(error)):
            raise ConfigurationError(
                f"connection leads to a database without the tables of tasks in schema {schema}; the transaction must "
                "be in the engine's database, and `creatormate-resilience tasks migrate` makes the tables"
            ) from error
        raise
    return [Taken(row[0], row[1]) for row in rows]


async def _sent(connection: Any, schema: str, arguments: tuple[str, list[str], list[str]]) -> Sequence[Any]:
    """The rows of the answer, from whichever kind of connection."""
    if hasattr(connection, "get_bind") and hasattr(connection, "connection"):
        connection = await connection.connection()
    if hasattr(connection, "exec_driver_sql"):
        await _check_sqlalchemy(connection)
        numbered = connection.dialect.paramstyle.startswith("numeric")
        statement = _STATEMENT.format(schema, *(_NUMBERED if numbered else ("%s",) * 3))
        rows: Sequence[Any] = (await connection.exec_driver_sql(statement, arguments)).all()
        return rows
    if not hasattr(connection, "fetch") or not hasattr(connection, "is_in_transaction"):
        raise ConfigurationError(
            f"connection is a {type(connection).__name__}; accepted are SQLAlchemy's AsyncSession and "
            "AsyncConnection, and asyncpg's Connection"
        )
    if not connection.is_in_transaction():
        raise ConfigurationError("connection is not in a transaction; begin one: connection.transaction()")
    found: Sequence[Any] = await connection.fetch(_STATEMENT.format(schema, *_NUMBERED), *arguments)
    return found


async def _check_sqlalchemy(connection: Any) -> None:
    if connection.dialect.name != "postgresql":
        raise ConfigurationError(f"connection is to {connection.dialect.name}; accepted is the PostgreSQL of the tasks")
    raw = await connection.get_raw_connection()
    if getattr(raw.dbapi_connection, "autocommit", False):
        raise ConfigurationError("connection is in autocommit; accepted is one in a transaction")


def _states(error: BaseException) -> Iterator[str]:
    """The SQLSTATEs in an error and what it stands for."""
    one: BaseException | None = error
    for _ in range(8):
        if one is None:
            return
        for each in (one, getattr(one, "orig", None)):
            state = getattr(each, "sqlstate", None)
            if isinstance(state, str):
                yield state
        one = one.__cause__
