"""Who has just written, and so must read from the primary: "read your own writes"."""

from __future__ import annotations

from collections import OrderedDict
from contextvars import ContextVar

from creatormate_resilience.clock import Clock
from creatormate_resilience.request_context import get_request_context

__all__ = ("RecentWrites",)

_Written = tuple[tuple[object, float], ...]

# By database, because a process may have several. A value is never changed, only replaced: what one context writes is
# seen by those that are copied from it later, and by no others.
_written: ContextVar[_Written] = ContextVar("creatormate_resilience_written", default=())


class RecentWrites:
    """The commits of the last seconds: by request, and by context where there is none.

    Within a request (one that the library's middleware knows) all tasks count as one, whichever of them committed.
    Elsewhere a commit counts for the task that made it, and for those that it starts from then on.

    Args:
        seconds: How long a commit counts; 0 for never.
        clock: Measures that.
    """

    __slots__ = ("_by_request", "_clock", "_seconds")

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._by_request: OrderedDict[str, float] = OrderedDict()  # the oldest first

    def note(self) -> None:
        """The current context commits now."""
        if not self._seconds:
            return
        now = self._clock.monotonic()
        request = get_request_context()
        if request is not None:
            self._by_request[request.request_id] = now
            self._by_request.move_to_end(request.request_id)
            self._forget(now)
        others = [each for each in _written.get() if each[0] is not self and now - each[1] < self._seconds]
        _written.set((*others, (self, now)))

    def made_here(self) -> bool:
        """Whether the current context has written lately."""
        if not self._seconds:
            return False
        return self._clock.monotonic() - self._last() < self._seconds

    def _last(self) -> float:
        last = max((time for owner, time in _written.get() if owner is self), default=float("-inf"))
        request = get_request_context()
        return last if request is None else max(last, self._by_request.get(request.request_id, last))

    def _forget(self, now: float) -> None:
        while now - next(iter(self._by_request.values())) >= self._seconds:
            self._by_request.popitem(last=False)
