"""`Timeout`: async work is interrupted, sync work is refused."""

from __future__ import annotations

import anyio
import pytest
import trio
import trio.testing

from creatormate_resilience.deadline import remaining_time
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import ConfigurationError, OperationTimeoutError
from creatormate_resilience.policies import TimedOut, Timeout, TimeoutStatistics

pytestmark = pytest.mark.anyio


async def test_work_that_takes_longer_is_interrupted_in_every_form():
    """Called, decorated and as a block; the error is a builtin TimeoutError too and names the work."""

    @Timeout(0.01)
    async def report() -> None:
        await anyio.sleep(30)

    for form in (report, lambda: Timeout(0.01).acall(anyio.sleep, 30)):
        with pytest.raises(TimeoutError, match=r"(report|sleep) took longer than 0\.01 s"):
            await form()
    with pytest.raises(OperationTimeoutError, match="the block"):
        async with Timeout(0.01).guard():
            await anyio.sleep(30)


async def test_work_in_time_is_left_alone():
    """It sees its deadline."""

    @Timeout(30)
    async def work(x: int, *, y: int) -> tuple[int, float | None]:
        return x + y, remaining_time()

    total, left = await work(1, y=2)
    assert total == 3
    assert left is not None
    assert 29 < left <= 30
    assert remaining_time() is None


@pytest.mark.parametrize("anyio_backend", [("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})])
async def test_the_time_is_kept_exactly(anyio_backend):
    """On trio's mock clock: not at 59.999 seconds, but at 60."""
    await Timeout(60).acall(trio.sleep, 59.999)
    began = trio.current_time()
    with pytest.raises(OperationTimeoutError):
        await Timeout(60).acall(trio.sleep, 3600)
    assert trio.current_time() - began == pytest.approx(60)


def test_sync_functions_are_refused():
    """At decoration, and where a pipeline would call one."""
    with pytest.raises(ConfigurationError, match=r"Timeout\(5\) cannot interrupt .*which is not async"):
        Timeout(5)(lambda: None)
    with pytest.raises(ConfigurationError, match=r"Timeout\(5\) cannot interrupt print"):
        Timeout(5).call(print)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", None, True])
def test_a_time_that_is_none_is_refused(seconds):
    """The error names the parameter and the range."""
    with pytest.raises(ConfigurationError, match=r"seconds is .*accepted are finite seconds above 0"):
        Timeout(seconds)


async def test_a_guard_is_for_one_block():
    """A second use is an error that says so, not a limit that is half old; the timeout itself serves many."""
    timeout = Timeout(30)
    guard = timeout.guard()
    async with guard:
        with pytest.raises(RuntimeError, match="a TimeLimit is for one block; make another"):
            await guard.__aenter__()
    with pytest.raises(RuntimeError, match="for one block"):
        async with guard:
            pass
    assert remaining_time() is None
    async with timeout.guard(), timeout.guard():
        pass


async def test_strikes_are_told_and_counted():
    """In every form, once each, by the one that struck."""
    seen: list[Event] = []
    inner = Timeout(0.01, name="attempt", listeners=[seen.append])
    outer = Timeout(30, name="total", listeners=[seen.append])
    decorated = outer(inner(anyio.sleep))
    for call in (lambda: decorated(60), lambda: outer.acall(inner.acall, anyio.sleep, 60)):
        with pytest.raises(OperationTimeoutError):
            await call()
    with pytest.raises(OperationTimeoutError):
        async with outer.guard(), inner.guard():
            await anyio.sleep(60)
    assert seen == [TimedOut("attempt", 0.01)] * 3
    assert (inner.statistics(), outer.statistics()) == (TimeoutStatistics(3), TimeoutStatistics(0))


async def test_an_error_in_time_is_no_strike():
    """Not even a TimeoutError of the work's own."""
    timeout = Timeout(30)
    for error in (TimeoutError("of its own"), OperationTimeoutError("of somebody else's")):
        with pytest.raises(TimeoutError) as caught:
            async with timeout.guard():
                raise error
        assert caught.value is error
    assert timeout.statistics() == TimeoutStatistics(0)
