"""Five things that breakers get wrong, on asyncio, uvloop, trio and threads.

The herd after the open wait, the cancelled probe, cancellations while closed, the success admitted before the trip, and
the probe that hangs.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

import anyio
import pytest

from creatormate_resilience.breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.exceptions import CircuitOpenError
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio

CONFIG = CircuitBreakerConfig(failure_threshold=3, recovery_timeout=10.0, recovery_jitter=0.0)
CALLERS = 50


def make(state: BreakerState = BreakerState.CLOSED) -> tuple[CircuitBreaker, FakeClock]:
    """A breaker in that state; HALF_OPEN is reached the way it is in life."""
    clock = FakeClock()
    breaker = CircuitBreaker("openai", CONFIG, clock=clock)
    if state is not BreakerState.CLOSED:
        breaker.trip()
    if state is BreakerState.HALF_OPEN:
        clock.advance(10)
        breaker.acquire().release()
    return breaker, clock


async def cancelled_call(breaker: CircuitBreaker) -> None:
    """A call that is cancelled while it waits for the dependency."""
    reached = anyio.Event()

    async def hang() -> None:
        reached.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(breaker.acall, hang)
        await reached.wait()
        tasks.cancel_scope.cancel()


async def together(call: Callable[[], Awaitable[None]], times: int) -> None:
    """So many calls at once."""
    async with anyio.create_task_group() as tasks:
        for _ in range(times):
            tasks.start_soon(call)


async def test_of_a_herd_only_the_probes_reach_the_dependency():
    """Fifty callers at the end of the wait: three get through, the others are refused."""
    breaker, clock = make(BreakerState.OPEN)
    clock.advance(10)
    reached = refused = 0
    release = anyio.Event()

    async def work() -> None:
        nonlocal reached
        reached += 1
        await release.wait()

    async def caller() -> None:
        nonlocal refused
        try:
            await breaker.acall(work)
        except CircuitOpenError:
            refused += 1
            if refused == CALLERS - 3:
                release.set()

    await together(caller, CALLERS)
    assert (reached, refused) == (3, CALLERS - 3)
    assert breaker.state is BreakerState.CLOSED


def test_of_a_herd_of_threads_only_the_probes_reach_the_dependency():
    """The same with threads that start at one instant."""
    breaker, clock = make(BreakerState.OPEN)
    clock.advance(10)
    barrier, release, lock = threading.Barrier(CALLERS), threading.Event(), threading.Lock()
    reached: list[int] = []
    refused: list[int] = []

    def work() -> None:
        reached.append(1)
        release.wait(30)

    def caller() -> None:
        barrier.wait(30)
        try:
            breaker.call(work)
        except CircuitOpenError:
            with lock:
                refused.append(1)
                if len(refused) == CALLERS - 3:
                    release.set()

    threads = [threading.Thread(target=caller) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(reached), len(refused)) == (3, CALLERS - 3)
    assert breaker.state is BreakerState.CLOSED


async def test_a_cancelled_probe_gives_its_place_back():
    """Ten cancelled probes later it is still half open, and admits as many probes as before."""
    breaker, _ = make(BreakerState.HALF_OPEN)
    for _ in range(10):
        await cancelled_call(breaker)
    assert breaker.state is BreakerState.HALF_OPEN
    permits = [breaker.acquire() for _ in range(3)]
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    for permit in permits:
        permit.success()
    assert breaker.state is BreakerState.CLOSED


async def test_cancellations_while_closed_count_as_nothing():
    """A hundred cancelled calls change no counter but their own."""
    breaker, _ = make()
    for _ in range(100):
        await cancelled_call(breaker)
    seen = breaker.statistics()
    assert (seen.state, seen.window_calls, seen.consecutive_failures) == (BreakerState.CLOSED, 0, 0)
    assert (seen.ignored, seen.failures, seen.successes) == (100, 0, 0)


async def test_a_success_admitted_before_the_trip_does_not_close_it():
    """It is of another era: late, and without effect."""
    breaker, _ = make()
    release = anyio.Event()
    started = anyio.Event()

    async def slow() -> str:
        started.set()
        await release.wait()
        return "late"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(breaker.acall, slow)
        await started.wait()
        for _ in range(3):
            breaker.acquire().failure(TimeoutError())
        assert breaker.state is BreakerState.OPEN
        release.set()
    assert breaker.state is BreakerState.OPEN
    assert breaker.statistics().late == 1


async def test_a_hung_probe_does_not_wedge_it():
    """After the longest wait the recovery counts as failed, and the next one begins; the hung probe's end is late."""
    breaker, clock = make(BreakerState.HALF_OPEN)
    release = anyio.Event()
    started = anyio.Event()

    async def hang() -> None:
        started.set()
        await release.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(breaker.acall, hang)
        await started.wait()
        clock.advance(10)
        with pytest.raises(CircuitOpenError) as caught:
            breaker.acquire()
        assert caught.value.retry_after == 20.0
        clock.advance(20)
        for _ in range(3):
            await breaker.acall(anyio.sleep, 0)
        assert breaker.state is BreakerState.CLOSED
        release.set()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.statistics().late == 1


def test_a_hung_thread_does_not_wedge_it():
    """The same where the probe is a thread that nothing can interrupt."""
    breaker, clock = make(BreakerState.HALF_OPEN)
    started, release = threading.Event(), threading.Event()

    def hang() -> None:
        started.set()
        release.wait(30)

    thread = threading.Thread(target=breaker.call, args=(hang,))
    thread.start()
    assert started.wait(30)
    clock.advance(10)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    clock.advance(20)
    for _ in range(3):
        breaker.call(int)
    release.set()
    thread.join()
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("admitted_in", [BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.METRICS_ONLY])
@pytest.mark.parametrize("settled_in", list(BreakerState))
@pytest.mark.parametrize("outcome", ["success", "failure", "release"])
def test_an_outcome_of_another_era_changes_nothing(admitted_in, settled_in, outcome):
    """Whatever the state was then and is now: only `late` and the totals move."""
    clock = FakeClock()
    breaker = CircuitBreaker("x", CONFIG, clock=clock, initial_state=admitted_in)
    permits = [breaker.acquire() for _ in range(3)]
    if settled_in is BreakerState.HALF_OPEN:
        breaker.trip()
        clock.advance(10)
        breaker.acquire().release()
    elif settled_in is BreakerState.OPEN:
        breaker.trip()
    else:
        breaker._move(settled_in)
    before = breaker.statistics()
    for permit in permits:
        permit.failure(TimeoutError()) if outcome == "failure" else getattr(permit, outcome)()
    after = breaker.statistics()
    assert (after.state, after.transitions, after.window_calls) == (settled_in, before.transitions, 0)
    assert after.consecutive_failures == 0
    assert after.late == before.late + 3
