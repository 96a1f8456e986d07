"""A session that knows whether COMMIT was sent and whether it holds changes that nobody committed."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, TextClause, UpdateBase, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction

from creatormate_resilience.db._errors import commit_outcome
from creatormate_resilience.exceptions import DatabaseUnavailableError
from creatormate_resilience.time_limit import time_limit

__all__ = ("TrackedSession", "committed_session", "make_session")

_WRITES = re.compile(r"\s*(insert|update|delete|merge|replace|create|alter|drop|truncate)\b", re.IGNORECASE)


class TrackedSession(Session):
    """The synchronous session beneath an `AsyncSession` of ours.

    Attributes:
        commit_sent: COMMIT was sent and its answer has not arrived.
        has_written: Something was written since the last commit or rollback.
    """

    commit_sent: bool = False
    has_written: bool = False

    @property
    def has_uncommitted_changes(self) -> bool:
        """Whether closing now would lose something."""
        pending = bool(self.new or self.deleted) or any(self.is_modified(each) for each in self.dirty)
        return self.has_written or pending


def make_session(bind: AsyncEngine | AsyncConnection) -> AsyncSession:
    """A new session; loaded objects stay readable after the commit."""
    return AsyncSession(bind, sync_session_class=TrackedSession, expire_on_commit=False)


@asynccontextmanager
async def committed_session(
    engine: AsyncEngine, options: dict[str, Any], timeout: float | None
) -> AsyncGenerator[AsyncSession]:
    """A session on a connection of its own: committed when the block ends, rolled back when it raises.

    Args:
        engine: Where to get the connection.
        options: Execution options of the connection.
        timeout: Longest duration of the block, in seconds. COMMIT is not part of it: it cannot be taken back.

    Yields:
        The session.
    """
    async with engine.connect() as plain, make_session(await plain.execution_options(**options)) as session:
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


def _is_lost(connection: Connection) -> bool:
    if connection.invalidated:
        return True
    is_closed = getattr(connection.connection.driver_connection, "is_closed", None)
    return callable(is_closed) and bool(is_closed())


def _committed(session: TrackedSession) -> None:
    if not session.in_nested_transaction():
        session.commit_sent = session.has_written = False


def _rolled_back(session: TrackedSession) -> None:
    if not session.in_nested_transaction():
        session.has_written = False  # but a failed COMMIT stays in question until the next transaction


def _created(session: TrackedSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.commit_sent = False


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
