"""A worker's signs of life, and when it may judge others by theirs."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from creatormate_resilience.tasks._durable._lifeline import Lifeline

from .conftest import until

pytestmark = pytest.mark.anyio


class Heart:
    """A database that can be away: it keeps who asks waiting, or refuses."""

    def __init__(self) -> None:
        self.there = threading.Event()
        self.there.set()
        self.refuses = False
        self.beats = 0
        self.closed = False

    def beat(self, worker: int) -> None:
        assert worker == 7
        self.there.wait(10)
        if self.refuses:
            raise ConnectionError("refused")
        self.beats += 1

    def close(self) -> None:
        self.closed = True


async def test_who_was_cut_off_is_not_steady(anyio_backend):
    """Not while it waits for the database, and not at once when that is back: the others need time for theirs."""
    heart = Heart()
    lifeline = Lifeline("test", heart, 0.05, 60.0)
    lifeline.start(asyncio.get_running_loop(), 7)
    try:
        await until(lambda: lifeline.steady() > 0.2)
        heart.there.clear()
        await until(lambda: lifeline.steady() == 0.0)
        assert lifeline.vitals().silent > 0.05
        await asyncio.sleep(1.1)
        assert lifeline.vitals().frozen == 0.0  # it is the thread that waits, not the event loop
        heart.there.set()
        began = time.monotonic()
        await until(lambda: lifeline.steady() > 0.1)
        assert time.monotonic() - began >= 0.1
        heart.refuses = True
        await until(lambda: lifeline.steady() == 0.0)
        heart.refuses = False
        await until(lambda: lifeline.steady() > 0.0)
    finally:
        lifeline.stop()
        await asyncio.to_thread(lifeline.join)
    assert heart.closed


async def test_a_frozen_loop_gives_no_signs(anyio_backend):
    """After the time that it may stand still; then they come back."""
    heart = Heart()
    lifeline = Lifeline("test", heart, 0.05, 0.2)
    lifeline.start(asyncio.get_running_loop(), 7)
    try:
        await until(lambda: heart.beats > 2)
        time.sleep(0.5)
        while_frozen = heart.beats
        time.sleep(0.3)
        assert heart.beats <= while_frozen + 1
        assert lifeline.steady() == 0.0
        await until(lambda: lifeline.steady() > 0.1)
        assert heart.beats > while_frozen
    finally:
        lifeline.stop()
        await asyncio.to_thread(lifeline.join)
