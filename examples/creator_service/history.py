"""What users asked and were answered, in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Index, String, Text, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from creatormate_resilience.db import Database

__all__ = ("Exchange", "History")


class _Tables(DeclarativeBase):
    pass


class Exchange(_Tables):
    """One question and what the agents answered. Times are UTC, without a zone, which SQLite cannot keep."""

    __tablename__ = "exchanges"
    __table_args__ = (Index("exchanges_of_user", "user_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(64))
    channel_id: Mapped[str] = mapped_column(String(64))
    question: Mapped[str] = mapped_column(Text)
    answers: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    asked_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC).replace(tzinfo=None))


class History:
    """The exchanges of each user.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_tables(self) -> None:
        """Create what is missing."""
        async with self._database.begin() as session:
            connection = await session.connection()
            await connection.run_sync(_Tables.metadata.create_all)

    async def add(self, exchange: Exchange) -> None:
        """Keep an exchange."""
        async with self._database.begin() as session:
            session.add(exchange)

    async def latest(self, user_id: str, limit: int) -> Sequence[Exchange]:
        """The latest exchanges of a user, newest first."""
        wanted = select(Exchange).where(Exchange.user_id == user_id).order_by(Exchange.id.desc()).limit(limit)
        async with self._database.begin(read_only=True) as session:
            return (await session.scalars(wanted)).all()
