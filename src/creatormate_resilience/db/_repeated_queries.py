"""Noticing, in production, that one request or transaction runs the same statement again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

from creatormate_resilience.events import Event
from creatormate_resilience.request_context import get_request_context

__all__ = ("RepeatWatch", "RepeatedQuery", "Scope", "is_transaction_control", "scope_of")

Scope = str | ReferenceType[Any]
"""What belongs together: a request, by its id, else one use of a connection."""

_PAUSE = 0.1
"""Seconds without a statement after which another scope may be watched."""
_END = 1.0
"""Seconds without a statement after which the same scope counts from one."""
_MOST = 500


@dataclass(frozen=True, slots=True)
class RepeatedQuery(Event):
    """One statement ran more often than `repeated_query_threshold` within one request, or one use of a connection.

    Attributes:
        fingerprint: The statement without literals.
        count: How often it had run when this was told.
        where: The innermost frames of the application, outermost first, as `function (file:line)`.
    """

    fingerprint: str
    count: int
    where: tuple[str, ...]


def scope_of(connection: object) -> Scope:
    """The request that is being served, or else this use of a connection."""
    request = get_request_context()
    if request is not None:
        return request.request_id
    return "" if connection is None else ref(connection)


def is_transaction_control(fingerprint: str) -> bool:
    """Whether a statement is a savepoint's: as many as somebody wants, and nothing to load at once."""
    return fingerprint.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK"))


@dataclass(slots=True)
class _Watched:
    scope: Scope
    count: int
    last: float


class RepeatWatch:
    """Counts, for each fingerprint, how often it runs in one scope after another: a sample of all scopes. Pure.

    Whoever runs a statement first is watched, until it pauses: so this takes no memory for the others, and the
    requests that run at the same time do not hide it.

    Attributes:
        threshold: How often a statement may run within a scope.
    """

    __slots__ = ("_watched", "threshold")

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold
        self._watched: dict[str, _Watched] = {}

    def count(self, fingerprint: str, scope: Scope, now: float) -> int:
        """Count one run.

        Returns:
            The how manyth it is in its scope; 0 where another scope is watched.
        """
        watched = self._watched.get(fingerprint)
        if watched is None:
            self._make_room(now)
            self._watched[fingerprint] = _Watched(scope, 1, now)
            return 1
        pause = now - watched.last
        if watched.scope == scope and pause < _END:
            watched.count += 1
        elif pause >= _PAUSE:
            watched.scope, watched.count = scope, 1
        else:
            return 0
        watched.last = now
        return watched.count

    def _make_room(self, now: float) -> None:
        if len(self._watched) >= _MOST:
            self._watched = {name: each for name, each in self._watched.items() if now - each.last < _PAUSE}
        if len(self._watched) >= _MOST:
            self._watched.clear()
