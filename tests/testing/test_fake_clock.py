"""`FakeClock`: time passes when a test says so, and at no other time."""

from __future__ import annotations

import threading

import anyio
import pytest

from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both families of event loops."""
    return request.param


def test_time_stands_still_until_advanced():
    """Readings change by exactly what was advanced."""
    clock = FakeClock(100.0)
    assert clock.monotonic() == clock.monotonic() == 100.0
    clock.advance(2.5)
    assert clock.monotonic() == 102.5


@pytest.mark.parametrize("seconds", [-1, -0.001, float("inf"), float("nan"), "x", None])
def test_time_never_goes_backwards_or_to_infinity(seconds):
    """A clock that could would test something that cannot happen."""
    with pytest.raises(ValueError, match="accepted are finite seconds from 0"):
        FakeClock().advance(seconds)


def test_sleeping_returns_at_once_and_later():
    """A sleep of an hour takes no time and an hour."""
    clock = FakeClock()
    clock.sleep(3600)
    clock.sleep(-5)
    assert clock.monotonic() == 3600


async def test_sleeping_in_a_task_gives_others_a_turn():
    """As a real sleep does, so that a loop of sleeps cannot starve the rest."""
    clock = FakeClock()
    turns: list[str] = []

    async def sleeper(name: str) -> None:
        for _ in range(3):
            turns.append(name)
            await clock.asleep(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleeper, "a")
        tasks.start_soon(sleeper, "b")
    assert clock.monotonic() == 6
    assert sorted(turns[:2]) == ["a", "b"]


async def test_a_sleep_can_be_cancelled():
    """A cancelled task does not get past its sleep."""
    clock = FakeClock()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.asleep(1)
        pytest.fail("slept through a cancellation")
    assert scope.cancelled_caught


def test_threads_lose_no_time():
    """Eight threads advance the clock together; every second counts."""
    clock = FakeClock()
    threads = [threading.Thread(target=lambda: [clock.advance(1) for _ in range(1000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.monotonic() == 8000


def test_the_repr_tells_the_time():
    """A failing assertion shows when it failed."""
    assert repr(FakeClock(12.5)) == "FakeClock(12.5)"


@pytest.mark.parametrize(
    "start", ["5", None, float("nan"), float("inf"), 10**400, True, [], b"1"], ids=lambda each: str(each)[:5]
)
def test_a_clock_begins_at_a_finite_time(start):
    """The error says what is accepted."""
    with pytest.raises(ValueError, match=r"start is .*; accepted are finite seconds"):
        FakeClock(start)
    assert FakeClock(-5).monotonic() == -5


@pytest.mark.parametrize("seconds", [10**400, True])
def test_only_finite_times_pass(seconds):
    """With the ordinary error."""
    with pytest.raises(ValueError, match="accepted are finite seconds from 0"):
        FakeClock().advance(seconds)
