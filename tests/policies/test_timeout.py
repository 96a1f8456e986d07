"""`Timeout`: async work is interrupted, sync work is refused."""

from __future__ import annotations

import anyio
import pytest
import trio
import trio.testing

from creatormate_resilience.deadline import remaining_time
from creatormate_resilience.exceptions import ConfigurationError, OperationTimeoutError
from creatormate_resilience.policies import Timeout

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
