"""What a `Database` has to do with its statements: a recorder on its engine, and an explainer beside it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from creatormate_resilience.db._access import access_modes_of
from creatormate_resilience.db._config import DatabaseConfig
from creatormate_resilience.db._engine import make_spare_engine
from creatormate_resilience.db._explain import Explainer
from creatormate_resilience.db._query_recorder import QueryRecorder, Reporting
from creatormate_resilience.db._statement_tap import tap_of
from creatormate_resilience.db._url import is_in_memory
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import ConfigurationError

__all__ = ("QueryWatch",)


class QueryWatch:
    """Counts the statements of an engine from now on, until it is itself forgotten.

    Args:
        engine: Whose.
        url: Where that leads, for an engine of this library.
        config: What is counted and told.
        listeners: Who is told.
    """

    def __init__(
        self, engine: AsyncEngine, url: URL | None, config: DatabaseConfig, listeners: Sequence[Listener]
    ) -> None:
        self._explainer = None if url is None else _make_explainer(url, config, listeners)
        self._recorder: QueryRecorder | None = None
        if config.query_statistics:
            reporting = Reporting(
                listeners=listeners,
                slow_after=config.slow_query_threshold,
                repeats_after=config.repeated_query_threshold,
                on_slow=None if self._explainer is None else self._explainer.submit,
            )
            self._recorder = QueryRecorder(engine.dialect.name, reporting)
            tap = tap_of(engine.sync_engine)
            tap.attach(self._recorder)
            # An engine of the application lives on.
            weakref.finalize(self, tap.detach, self._recorder).atexit = False

    @property
    def recorder(self) -> QueryRecorder:
        """What was counted.

        Raises:
            ConfigurationError: Nothing is.
        """
        if self._recorder is None:
            raise ConfigurationError("query_statistics is False, so that no statement is counted; accepted is True")
        return self._recorder

    async def aclose(self) -> None:
        """End what goes on in the background. Counting goes on."""
        if self._explainer is not None:
            await self._explainer.aclose()


def _make_explainer(url: URL, config: DatabaseConfig, listeners: Sequence[Listener]) -> Explainer | None:
    if not config.explain_slow_queries:
        return None
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite and is_in_memory(url):
        raise ConfigurationError("explain_slow_queries=True needs a second connection, which SQLite in memory has not")
    modes = access_modes_of(url.get_backend_name(), ours=True, pgbouncer=config.pgbouncer)
    return Explainer(make_spare_engine(url, config), listeners, (modes.reader if sqlite else modes.read_only) or {})
