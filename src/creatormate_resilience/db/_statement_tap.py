"""Where statements are timed: at the dialect, so that those that fail or are cancelled are timed too.

`before_cursor_execute` and `after_cursor_execute` miss those, and cost several times as much for each connection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from sqlalchemy import Dialect, Engine
from sqlalchemy.engine.interfaces import ExecuteStyle

from creatormate_resilience.db._execution import CANCELLED, DONE, FAILED, Execution, Recorder

__all__ = ("StatementTap", "tap_of")

_BATCHES = ExecuteStyle.INSERTMANYVALUES
_execution: Callable[[tuple[Any, ...]], Execution] = partial(tuple.__new__, Execution)  # pyright: ignore[reportUnknownMemberType]
"""A named tuple without the cost of its constructor, a sixth of it."""


def tap_of(engine: Engine) -> StatementTap:
    """The tap of an engine; put there if it has none. It stays, and costs next to nothing while nobody listens."""
    owner = getattr(engine.dialect.do_execute, "__self__", None)
    if isinstance(owner, StatementTap):  # several databases may share an engine of the application
        return owner
    tap = StatementTap(engine.dialect)
    # Not as listeners of the dialect's events: of these only one can run a statement, and those after it are not asked.
    vars(engine.dialect).update(
        do_execute=tap.execute, do_executemany=tap.execute_many, do_execute_no_params=tap.execute_bare
    )
    return tap


class StatementTap:
    """Runs the statements of an engine in its dialect's place, and tells recorders how that went.

    Listeners of `do_execute` are asked before; what one of them runs itself does not come here.

    Args:
        dialect: What really runs them.
    """

    __slots__ = ("_execute", "_execute_bare", "_execute_many", "_lock", "_recorders")

    def __init__(self, dialect: Dialect) -> None:
        self._execute = dialect.do_execute
        self._execute_many = dialect.do_executemany
        self._execute_bare = dialect.do_execute_no_params
        self._lock = threading.Lock()
        self._recorders: tuple[Recorder, ...] = ()

    def attach(self, recorder: Recorder) -> None:
        """Tell this one as well, from now on."""
        with self._lock:
            self._recorders = (*self._recorders, recorder)

    def detach(self, recorder: Recorder) -> None:
        """Tell this one no longer."""
        with self._lock:
            self._recorders = tuple(each for each in self._recorders if each is not recorder)

    # As a dialect has them. Without a context nobody knows whose statement it is. -------------------------------------
    def execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """One statement with one set of parameters."""
        if not self._recorders or context is None:
            return self._execute(cursor, statement, parameters, context)
        started = perf_counter()
        try:
            self._execute(cursor, statement, parameters, context)
        except BaseException as error:
            self._tell_failed(error, started, (statement, parameters, context), 1)
            raise
        ended = perf_counter()
        # What the cursor of an asyncio driver has fetched is the cheapest to ask, and SQLite tells no other number.
        fetched = getattr(cursor, "_rows", None)
        rows = len(fetched) if fetched else cursor.rowcount
        batch = context.execute_style is _BATCHES
        run = _execution((statement, ended - started, ended, rows, 1, DONE, None, batch))
        # SQLAlchemy asks a server for its version and the like on a connection that may not begin by itself.
        if context.root_connection._allow_autobegin:
            for recorder in self._recorders:
                recorder.record(run, parameters, context.root_connection)
        return None

    def execute_many(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """One statement with many sets of parameters."""
        self._timed(self._execute_many, (cursor, statement, parameters, context), len(parameters))

    def execute_bare(self, cursor: Any, statement: str, context: Any = None) -> None:
        """One statement without parameters, for drivers that make a difference."""
        self._timed(self._execute_bare, (cursor, statement, context), 1)

    def _timed(self, execute: Callable[..., object], given: tuple[Any, ...], sets: int) -> None:
        """As `execute`, for what is rare."""
        cursor, statement, context = given[0], given[1], given[-1]
        if not self._recorders or context is None:
            execute(*given)
            return
        parameters = given[2] if len(given) > 3 else ()
        started = perf_counter()
        try:
            execute(*given)
        except BaseException as error:
            self._tell_failed(error, started, (statement, parameters, context), sets)
            raise
        ended = perf_counter()
        run = Execution(statement, ended - started, ended, cursor.rowcount, sets)
        for recorder in self._recorders:
            recorder.record(run, parameters, context.root_connection)

    def _tell_failed(self, error: BaseException, started: float, given: tuple[str, Any, Any], sets: int) -> None:
        ended = perf_counter()
        statement, parameters, context = given
        if not context.root_connection._allow_autobegin:
            return
        fate = FAILED if isinstance(error, Exception) else CANCELLED
        run = Execution(statement, ended - started, ended, 0, sets, fate, type(error).__name__)
        for recorder in self._recorders:
            recorder.record(run, parameters, context.root_connection)
