"""Looking at replicas, once a second each, beside what anybody reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from creatormate_resilience.clock import Clock
from creatormate_resilience.db._config import DatabaseConfig
from creatormate_resilience.db._engine import make_engine
from creatormate_resilience.db._errors import database_errors
from creatormate_resilience.db._execution import OWN
from creatormate_resilience.db._replicas import Follower
from creatormate_resilience.db._replication import PrimaryLog
from creatormate_resilience.db._server import Server
from creatormate_resilience.db._statistics import ReplicaState
from creatormate_resilience.db._upkeep import dispose
from creatormate_resilience.log import get_logger
from creatormate_resilience.redaction import redact_text
from creatormate_resilience.time_limit import time_limit

__all__ = ("ReplicaWatch", "reason_of")

_EVERY = 1.0
_PATIENCE = 1.0
_POSITION = f"""
SELECT pg_is_in_recovery(), coalesce(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0', 0
)::bigint {OWN}
"""
_ANSWERS = f"SELECT 1 {OWN}"
_log = get_logger("db")


class _Seen(NamedTuple):
    follows: bool
    position: int


class _Lookout:
    """Looks at one server over a connection of its own, so that a full pool is no reason to call it away.

    Attributes:
        asks_position: Whether it asks how far the server is, or just for an answer.
    """

    def __init__(self, server: Server, config: DatabaseConfig, clock: Clock) -> None:
        one = replace(config, pool_size=1, max_overflow=0, max_waiting=None, leak_threshold=None, pool_pre_ping=False)
        self._options = server.modes.reader
        self._own = server.url is not None
        self._engine = server.engine if server.url is None else make_engine(server.url, one, clock, _nobody)
        self.asks_position = config.max_replica_lag is not None and server.engine.dialect.name == "postgresql"

    async def ask(self) -> _Seen | None:
        """How the server is; None where it just answers. Connecting has `connect_timeout`, the rest a second."""
        with database_errors(self._engine.pool):
            async with self._engine.connect() as plain:
                connection = await plain.execution_options(**self._options)
                async with time_limit(_PATIENCE, what="a look at the server"):
                    row: Any = (await connection.exec_driver_sql(_POSITION if self.asks_position else _ANSWERS)).one()
        return _Seen(*row) if self.asks_position else None

    async def aclose(self) -> None:
        """Close its connection."""
        if self._own:
            await dispose(self._engine)


class ReplicaWatch:
    """Knows how replicas are.

    Args:
        primary: Whom they follow.
        followers: The replicas.
        config: How far behind they may be, and how to connect.
        clock: Measures that.
    """

    def __init__(self, primary: Server, followers: Sequence[Follower], config: DatabaseConfig, clock: Clock) -> None:
        self._clock = clock
        self._most = config.max_replica_lag
        self._log = PrimaryLog(self._most or 0.0)
        self._followers = tuple((each, _Lookout(each.server, config, clock)) for each in followers)
        self._primary = _Lookout(primary, config, clock) if followers else None
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def begin(self) -> None:
        """Look from now on, until closed. Needs an event loop."""
        if self._tasks or not self._followers:
            return
        # In a context of their own: the deadline and the request of who reads first are no business of theirs.
        loop = asyncio.get_running_loop()
        self._tasks = tuple(loop.create_task(_again(look), context=Context()) for look in self._looks())

    async def look(self, longest: float) -> None:
        """Look at everything now, for `longest` seconds at most."""
        looks = [asyncio.ensure_future(look()) for look in self._looks()]
        if looks:
            await _finish(looks, longest)

    async def aclose(self) -> None:
        """Look no more."""
        tasks, self._tasks = self._tasks, ()
        if tasks:
            await _finish(tasks, 0)
        if self._primary is not None:
            await asyncio.gather(self._primary.aclose(), *(lookout.aclose() for _, lookout in self._followers))

    def _looks(self) -> list[Callable[[], Awaitable[None]]]:
        looks: list[Callable[[], Awaitable[None]]] = [partial(self._look_at, *each) for each in self._followers]
        if self._primary is not None and self._primary.asks_position:
            looks.append(partial(self._look_at_primary, self._primary))
        return looks

    async def _look_at_primary(self, lookout: _Lookout) -> None:
        try:
            seen = await lookout.ask()
        except Exception as error:  # noqa: BLE001 - who needs the primary will hear of it; no new position is known
            _log.debug("the end of the primary's log is not known", error=reason_of(error))
            return
        if seen is not None and not seen.follows:
            self._log.saw(seen.position, self._clock.monotonic())

    async def _look_at(self, follower: Follower, lookout: _Lookout) -> None:
        asked = asyncio.ensure_future(lookout.ask())
        try:
            done, _ = await asyncio.wait({asked}, timeout=_PATIENCE)
            if not done:  # at once: it may take longer to get rid of a connection that went silent
                follower.judge(ReplicaState.AWAY, f"it did not answer within {_PATIENCE:g} s")
            seen = await asked
        except Exception as error:  # noqa: BLE001 - whatever it is, the replica is not well
            follower.judge(ReplicaState.AWAY, reason_of(error))
        else:
            self._judge(follower, seen)
        finally:
            await _finish([asked], 0)

    def _judge(self, follower: Follower, seen: _Seen | None) -> None:
        if seen is None:
            follower.judge(ReplicaState.SERVING)
            return
        if not seen.follows:
            follower.judge(ReplicaState.PROMOTED, "it follows no primary")
            return
        lag = self._log.lag(seen.position, self._clock.monotonic())
        if self._most is not None and lag > self._most:
            follower.judge(ReplicaState.LAGGING, f"it is more than max_replica_lag={self._most:g} s behind", lag)
        else:
            follower.judge(ReplicaState.SERVING, lag=lag)


def reason_of(error: Exception) -> str:
    """What to tell operators, without secrets."""
    return redact_text(str(error) or type(error).__name__, 300)


async def _again(look: Callable[[], Awaitable[None]]) -> None:
    while True:
        await look()
        await asyncio.sleep(_EVERY)


async def _finish(
    tasks: Sequence[asyncio.Future[None]] | Sequence[asyncio.Future[_Seen | None]], longest: float
) -> None:
    """Wait for so long, then cancel, and wait until they are gone."""
    pending = [task for task in tasks if not task.done()]
    if pending and longest:
        await asyncio.wait(pending, timeout=longest)
    for task in pending:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _nobody(_holder: object) -> None:
    """A look is never held for long."""
