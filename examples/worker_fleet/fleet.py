"""The executor that the service submits to, and that `worker examples.worker_fleet.fleet:executor` works for."""

from __future__ import annotations

import os

from creatormate_resilience.tasks import TaskExecutor
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine
from examples.worker_fleet import analyses  # noqa: F401 - a worker runs only what was imported

__all__ = ("create_executor",)


def create_executor(database_url: str, lease: float = 30.0) -> TaskExecutor:
    """An executor whose tasks stand in this database; analyses wait in a queue of their own.

    Args:
        database_url: `postgresql://...`.
        lease: Seconds without a sign of life after which a worker's tasks go to the other.
    """
    engine = ProcrastinateEngine(database_url, name="creator", lease=lease, routes={"analyse_channel": "analyses"})
    return TaskExecutor(name="creator", engine=engine)


if "DATABASE_URL" in os.environ:
    executor = create_executor(os.environ["DATABASE_URL"], float(os.environ.get("TASK_LEASE", "30")))
