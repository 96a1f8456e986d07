"""The service: takes orders for analyses and says how they stand. It runs none itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse
from sqlalchemy import text

from creatormate_resilience.db import Database
from creatormate_resilience.integrations.fastapi import accepted, setup_error_handlers, task_router
from creatormate_resilience.tasks import TaskExecutor
from examples.worker_fleet.analyses import analyse_channel

__all__ = ("create_app",)

_ORDERS = "CREATE TABLE IF NOT EXISTS orders (channel_id text NOT NULL, days int NOT NULL, task_id text NOT NULL)"


def create_app(database_url: str, executor: TaskExecutor) -> FastAPI:
    """Make the service.

    Args:
        database_url: Where the orders stand, and the tasks.
        executor: Where analyses are handed to.
    """
    database = Database(database_url)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with database, executor:
            async with database.begin() as session:
                await session.execute(text(_ORDERS))
            yield

    app = FastAPI(title="Creator analyses", lifespan=lifespan)
    setup_error_handlers(app)
    app.include_router(task_router(executor, prefix="/analyses"))

    @app.post("/channels/{channel_id}/analyses", status_code=202)
    async def order(channel_id: str, request: Request, days: Annotated[int, Query(ge=1, le=3650)] = 30) -> JSONResponse:
        async with database.begin() as session:  # the order and its task: both or neither
            once = executor.options(connection=session, unique_key=f"analysis {channel_id} {days}")
            handle = await once.submit(analyse_channel, channel_id, days)
            await session.execute(
                text("INSERT INTO orders VALUES (:channel_id, :days, :task_id)"),
                {"channel_id": channel_id, "days": days, "task_id": handle.id},
            )
        return accepted(handle, request)

    return app
