"""Where sync and async forms are mixed up on an event loop: refused where the loop would wait for itself."""

from __future__ import annotations

import anyio
import anyio.to_thread
import pytest

from creatormate_resilience.exceptions import ConcurrencyLimitError, ConfigurationError
from creatormate_resilience.policies import Bulkhead, Retry, constant
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio

REFUSED = r"would block the event loop of this thread, and who holds the place may be a task of it; use `acall`"


@pytest.mark.parametrize("form", ["guard", "call", "enter", "decorated"])
async def test_a_bulkhead_makes_no_event_loop_wait(form):
    """Whoever holds the place may be a task of that loop; nobody is left in the queue."""
    bulkhead = Bulkhead(1, max_queue=3)

    def wait() -> None:
        if form == "guard":
            with bulkhead.guard():
                raise AssertionError("it entered")
        if form == "enter":
            bulkhead.enter()
        bulkhead.call(int) if form == "call" else bulkhead(int_of)()

    async with bulkhead.guard():
        with pytest.raises(ConfigurationError, match=rf"waiting for a place in .* {REFUSED}"):
            wait()
        seen = bulkhead.statistics()
        assert (seen.running, seen.waiting, seen.rejected) == (1, 0, 0)
    assert bulkhead.call(int) == 0  # where there is a place there is no wait


def int_of() -> int:
    """Gives nothing."""
    return 0


async def test_who_need_not_wait_is_told_what_is():
    """A full queue, and a bulkhead in which nobody waits, refuse as ever; a thread of its own may wait."""
    for bulkhead in (Bulkhead(1), Bulkhead(1, max_queue=1, max_wait=0)):
        with bulkhead.guard(), pytest.raises(ConcurrencyLimitError):
            bulkhead.call(int)
    patient = Bulkhead(1, max_queue=1, max_wait=0.001)
    with patient.guard(), pytest.raises(ConcurrencyLimitError, match="gave no place within"):
        await anyio.to_thread.run_sync(patient.call, int)


async def test_an_attempt_of_for_is_not_awaited():
    """Its next wait would block; the error names what to write."""
    clock = FakeClock()
    with pytest.raises(TypeError, match="write `async for attempt in retry:`"):
        for attempt in Retry(2, constant(1), clock=clock):
            async with attempt:
                raise AssertionError("it began")
    made = 0
    async for attempt in Retry(2, constant(1), clock=clock):
        with attempt:  # nothing here waits
            made += 1
            if made == 1:
                raise ConnectionError
    assert made == 2
