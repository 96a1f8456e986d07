"""Where a read goes: the decision. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ("PRIMARY", "Candidate", "route")

PRIMARY = -1


class Candidate(NamedTuple):
    """A replica that might take a read.

    Attributes:
        serving: Whether it answered lately and is not behind.
        load: How many use it or wait for it.
    """

    serving: bool
    load: int


def route(replicas: Sequence[Candidate], turn: int, *, pinned: bool) -> tuple[int, ...]:
    """Which servers to ask for a connection, one after the other until one gives it.

    The replica with the fewest in use comes first, because one that has become slow, or hangs, collects them; those
    with equally many take turns, because on a quiet service none has any. Replicas that are left out come after the
    primary: to read from them is better than nothing.

    Args:
        replicas: The replicas.
        turn: Counts reads.
        pinned: Whether only the primary will do.

    Returns:
        Indices of `replicas`, and `PRIMARY`.
    """
    if pinned:
        return (PRIMARY,)
    order = sorted(range(len(replicas)), key=lambda index: (replicas[index].load, (index - turn) % len(replicas)))
    serving = [index for index in order if replicas[index].serving]
    return (*serving, PRIMARY, *(index for index in order if not replicas[index].serving))
