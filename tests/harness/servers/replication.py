"""A PostgreSQL primary and its replicas, which follow it by streaming."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from servers._process import HOST, ServerError
from servers.postgres import PostgresServer

__all__ = ("PostgresReplica", "ReplicatedPostgres")


class PostgresReplica(PostgresServer):
    """A hot standby.

    Its data directory is a copy of the same initdb as the primary's, which was shut down in order: so they are one
    cluster, and no `pg_basebackup` is needed as long as the primary still has its first WAL segment.

    Args:
        primary: Whom to follow. Started before this one, for the first time, with the same binary.
        **settings: Server settings, for example `max_connections="20"`.
    """

    def __init__(self, primary: PostgresServer, **settings: str) -> None:
        super().__init__(binary=primary.binary, wal_retrieve_retry_interval="100ms", **settings)
        self._primary = primary

    def pause(self) -> None:
        """Go on receiving, but apply nothing: it lags."""
        self.execute("SELECT pg_wal_replay_pause()")
        _wait(lambda: self.execute("SELECT pg_get_wal_replay_pause_state()") == "paused", "pause")

    def mute(self) -> None:
        """Freeze the process that receives: it hears nothing more of its primary, until `resume`."""
        children = psutil.Process(self.pid).children()
        [receiver] = [child for child in children if "walreceiver" in " ".join(child.cmdline())]
        receiver.suspend()
        self._frozen = [receiver]

    def unpause(self) -> None:
        """Apply what has come meanwhile."""
        self.execute("SELECT pg_wal_replay_resume()")

    def promote(self) -> None:
        """Follow nobody any more, and accept writes."""
        self.execute("SELECT pg_promote()")

    def catch_up(self) -> None:
        """Wait until it has applied all that the primary has written."""
        written = self._primary.execute("SELECT pg_current_wal_flush_lsn()::text")
        _wait(lambda: self.execute(f"SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn"), "catch up")

    def restore(self) -> Self:
        """Make it serve and follow again, whatever a test did to it."""
        self.resume()
        if not self.running:
            self.start()
        if not self.execute("SELECT pg_is_in_recovery()"):
            self.stop()
            raise ServerError(f"{self} was promoted; use one of the test's own for that")
        self.unpause()
        return self

    def _prepare(self) -> Path:
        directory = super()._prepare()
        data = directory / "data"
        signal = data / "standby.signal"
        signal.touch()
        shutil.chown(signal, data.stat().st_uid, data.stat().st_gid)
        return directory

    def _command(self, directory: Path) -> list[str]:
        followed = f"host={HOST} port={self._primary.port} user=postgres connect_timeout=2"
        return [*super()._command(directory), "-c", f"primary_conninfo={followed}"]


class ReplicatedPostgres:
    """A primary with two replicas; a context manager.

    Attributes:
        primary: Takes writes.
        replicas: Follow it.
    """

    def __init__(self, replicas: int = 2) -> None:
        self.primary = PostgresServer()
        self._count = replicas
        self.replicas: tuple[PostgresReplica, ...] = ()

    def restore(self) -> Self:
        """Make all serve and follow again."""
        self.primary.restore()
        for replica in self.replicas:
            replica.restore()
        return self

    def catch_up(self) -> None:
        """Wait until all replicas have what the primary has."""
        for replica in self.replicas:
            replica.catch_up()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.primary)
            self.replicas = tuple(PostgresReplica(self.primary) for _ in range(self._count))
            for replica in self.replicas:
                stack.enter_context(replica)
            self.primary.create_database("test")
            self.catch_up()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()


def _wait(condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise ServerError(f"the replica did not {what}")
        time.sleep(0.005)
