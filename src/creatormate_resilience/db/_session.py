"""A session that knows whether COMMIT was sent and whether it holds changes that nobody committed."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, UpdateBase, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from creatormate_resilience.db._errors import commit_outcome
from creatormate_resilience.exceptions import DatabaseUnavailableError
from creatormate_resilience.time_limit import time_limit

__all__ = ("RoutedSession", "TrackedSession", "committed_session", "make_routed_session", "make_session")

_WRITES = re.compile(r"\s*(insert|update|delete|merge|replace|create|alter|drop|truncate)\b", re.IGNORECASE)


class TrackedSession(Session):
    """The synchronous session beneath an `AsyncSession` of ours.

    Attributes:
        commit_sent: COMMIT was sent and its answer has not arrived.
        has_written: Something was written since the last commit or rollback.
        note_commit: Called when COMMIT is sent, and when it was answered.
    """

    commit_sent: bool = False
    has_written: bool = False
    note_commit: Callable[[], None] | None = None

    @property
    def has_uncommitted_changes(self) -> bool:
        """Whether closing now would lose something."""
        pending = bool(self.new or self.deleted) or any(self.is_modified(each) for each in self.dirty)
        return self.has_written or pending


class RoutedSession(TrackedSession):
    """A session for reading that chooses a server anew for each transaction.

    Attributes:
        choose: Finds one that gives connections.
        chosen: The one of this transaction.
    """

    choose: Callable[[], Awaitable[Engine]]
    chosen: Engine | None = None

    def get_bind(self, mapper: Any = None, **given: Any) -> Engine | Connection:
        """Where a statement runs. Outside of a statement there is no choice yet, and it is the primary."""
        if given.get("bind") is not None or not in_greenlet():
            return self.chosen or super().get_bind(mapper, **given)
        if self.chosen is None:
            self.chosen = await_only(self.choose())
        return self.chosen


def make_session(
    bind: AsyncEngine | AsyncConnection, note_commit: Callable[[], None] | None = None, kind: Any = TrackedSession
) -> AsyncSession:
    """A new session; loaded objects stay readable after the commit.

    Args:
        bind: Where it works.
        note_commit: Called when COMMIT is sent, and when it was answered.
        kind: What `AsyncSession` is made of.
    """
    session = AsyncSession(bind, sync_session_class=kind, expire_on_commit=False)
    session.sync_session.note_commit = note_commit  # type: ignore[attr-defined]
    return session


def make_routed_session(primary: AsyncEngine, choose: Callable[[], Awaitable[Engine]]) -> AsyncSession:
    """A new session for reading that asks `choose` where, for each of its transactions."""
    session = make_session(primary, kind=RoutedSession)
    assert isinstance(session.sync_session, RoutedSession)  # noqa: S101 - just made
    session.sync_session.choose = choose
    return session


@asynccontextmanager
async def committed_session(
    plain: AsyncConnection, options: dict[str, Any], timeout: float | None, note_commit: Callable[[], None] | None
) -> AsyncGenerator[AsyncSession]:
    """A session on a connection: committed when the block ends, rolled back when it raises.

    Args:
        plain: The connection, of this session alone.
        options: Execution options of the connection.
        timeout: Longest duration of the block, in seconds. COMMIT is not part of it: it cannot be taken back.
        note_commit: As for `make_session`.

    Yields:
        The session.
    """
    async with make_session(await plain.execution_options(**options), note_commit) as session:
        _ = await session.connection()  # begins, so that what hinders it is raised before the block
        with commit_outcome(session.sync_session):
            if timeout is None:
                yield session
            else:
                async with time_limit(timeout, what="the transaction"):
                    yield session
                    await session.flush()
            await session.commit()


def _before_commit(session: TrackedSession) -> None:
    if session.in_nested_transaction():
        return
    session.flush()  # so that what fails from here on is COMMIT itself
    if isinstance(session.bind, Connection) and _is_lost(session.bind):
        raise DatabaseUnavailableError("the connection was lost before COMMIT was sent")
    session.commit_sent = True
    _note_commit(session)  # now already: the answer may be lost


def _is_lost(connection: Connection) -> bool:
    if connection.invalidated:
        return True
    is_closed = getattr(connection.connection.driver_connection, "is_closed", None)
    return callable(is_closed) and bool(is_closed())


def _note_commit(session: TrackedSession) -> None:
    if session.note_commit is not None:
        session.note_commit()


def _committed(session: TrackedSession) -> None:
    if not session.in_nested_transaction():
        session.commit_sent = session.has_written = False
        _note_commit(session)


def _rolled_back(session: TrackedSession) -> None:
    if not session.in_nested_transaction():
        session.has_written = False  # but a failed COMMIT stays in question until the next transaction


def _created(session: TrackedSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.commit_sent = False


def _ended(session: RoutedSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.chosen = None


def _after_flush(session: TrackedSession, _context: object) -> None:
    session.has_written = True


def _on_execute(state: ORMExecuteState) -> None:
    statement = state.statement
    if isinstance(statement, UpdateBase) or (isinstance(statement, TextClause) and _WRITES.match(statement.text)):
        assert isinstance(state.session, TrackedSession)  # noqa: S101 - the listener is on that class
        state.session.has_written = True


event.listen(TrackedSession, "before_commit", _before_commit)
event.listen(TrackedSession, "after_commit", _committed)
event.listen(TrackedSession, "after_rollback", _rolled_back)
event.listen(TrackedSession, "after_transaction_create", _created)
event.listen(TrackedSession, "after_flush", _after_flush)
event.listen(TrackedSession, "do_orm_execute", _on_execute)
event.listen(RoutedSession, "after_transaction_end", _ended)
