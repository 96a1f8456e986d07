"""`Chaos`: as much trouble as was ordered, the same each time."""

from __future__ import annotations

import math
import threading

import anyio
import pytest

from creatormate_resilience.breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig
from creatormate_resilience.exceptions import ConfigurationError, ExternalAPIError
from creatormate_resilience.policies import Pipeline, Retry, constant
from creatormate_resilience.testing import Chaos, ChaosStatistics, FakeClock, flaky

pytestmark = pytest.mark.anyio


def works(chaos: Chaos, calls: int) -> list[bool]:
    """Which calls came through."""
    came = []
    for _ in range(calls):
        try:
            came.append(chaos.call(lambda: True))
        except ConnectionError:
            came.append(False)
    return came


def test_without_rates_it_only_calls():
    """Chaos() is the policy that does nothing."""
    chaos = Chaos()
    assert works(chaos, 100) == [True] * 100
    assert chaos.statistics() == ChaosStatistics(calls=100)


def test_the_share_of_errors_is_the_one_ordered():
    """Within five standard deviations of 30 %, and what fails was never made."""
    chaos, made = Chaos(error_rate=0.3, seed=1), flaky(then=True)
    for _ in range(10_000):
        try:
            chaos.call(made)
        except ConnectionError:
            continue
    seen = chaos.statistics()
    assert abs(seen.errors - 3000) < 5 * math.sqrt(10_000 * 0.3 * 0.7)
    assert made.calls == 10_000 - seen.errors


def test_certainty_is_certain():
    """A rate of 1 spares no call."""
    assert works(Chaos(error_rate=1), 1000) == [False] * 1000


def test_the_same_seed_makes_the_same_trouble():
    """Another one makes other trouble, and one that was picked can be read and used again."""
    first = works(Chaos(error_rate=0.5, seed=7), 200)
    assert works(Chaos(error_rate=0.5, seed=7), 200) == first
    assert works(Chaos(error_rate=0.5, seed=8), 200) != first
    picked = Chaos(error_rate=0.5)
    assert works(Chaos(error_rate=0.5, seed=picked.seed), 200) == works(picked, 200)
    assert f"seed={picked.seed}" in repr(picked)


def test_latency_does_not_change_which_calls_fail():
    """The two are drawn apart, so that a test can add one without losing the other."""
    plain = works(Chaos(error_rate=0.5, seed=7), 200)
    assert works(Chaos(error_rate=0.5, latency=1, latency_rate=0.5, seed=7, clock=FakeClock()), 200) == plain


def test_latency_is_waited_before_the_call_and_before_the_error():
    """On the clock that was given; a share of calls only, where a rate says so."""
    clock = FakeClock()
    assert Chaos(latency=5, clock=clock).call(clock.monotonic) == 5
    with pytest.raises(ConnectionError):
        Chaos(latency=5, error_rate=1, clock=clock).call(clock.monotonic)
    assert clock.monotonic() == 10
    some = Chaos(latency=1, latency_rate=0.25, seed=3, clock=clock)
    works(some, 1000)
    assert clock.monotonic() == 10 + some.statistics().delayed
    assert 180 < some.statistics().delayed < 320


async def test_async_calls_get_the_same():
    """On asyncio and on trio, decorated or not."""
    clock = FakeClock()
    chaos = Chaos(error_rate=0.5, latency=2, seed=7, clock=clock)

    @chaos
    async def fetch(x: int) -> int:
        return x

    came = []
    for number in range(200):
        try:
            came.append(await fetch(number) == number)
        except ConnectionError:
            came.append(False)
    assert came == works(Chaos(error_rate=0.5, seed=7), 200)
    assert clock.monotonic() == 400


async def test_latency_can_be_cancelled():
    """A timeout around it strikes."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await Chaos(latency=3600).acall(pytest.fail, "was called")
    assert scope.cancelled_caught


def test_the_error_is_the_one_ordered_and_a_new_one_each_time():
    """A type, or a function that makes one."""
    chaos = Chaos(error_rate=1, error=lambda: ExternalAPIError("OpenAI", retry_after=3))
    raised = []
    for _ in range(2):
        with pytest.raises(ExternalAPIError) as caught:
            chaos.call(pytest.fail)
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert raised[0].retry_after == 3


def test_it_is_a_policy_among_policies():
    """Innermost it plays the dependency: the retry meets it and the breaker opens on it."""
    clock = FakeClock()
    breaker = CircuitBreaker("shop", CircuitBreakerConfig(failure_threshold=3), clock=clock)
    chaos = Chaos(error_rate=1)
    pipeline = Pipeline("shop", Retry(3, constant(1), clock=clock), breaker, chaos)
    with pytest.raises(Exception, match="gave up after 3 attempts"):
        pipeline.call(pytest.fail)
    assert (chaos.statistics().calls, breaker.state) == (3, BreakerState.OPEN)


def test_threads_are_all_counted():
    """Eight threads, and the trouble is that of the seed in number."""
    chaos = Chaos(error_rate=0.5, seed=7)
    threads = [threading.Thread(target=works, args=(chaos, 250)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = Chaos(error_rate=0.5, seed=7)
    works(alone, 2000)
    assert chaos.statistics() == alone.statistics()


async def _async() -> None: ...


def test_an_async_function_in_a_sync_call_is_refused():
    """Its coroutine is closed, as by every policy."""
    with pytest.raises(TypeError, match="returned an awaitable to a sync call"):
        Chaos().call(_async)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"error_rate": 1.1}, "error_rate is 1.1; accepted are a share from 0 to 1"),
        ({"error_rate": -0.1}, "error_rate is -0.1"),
        ({"error_rate": math.nan}, "error_rate is nan"),
        ({"error_rate": True}, "error_rate is True"),
        ({"error_rate": "0.1"}, "error_rate is '0.1'"),
        ({"latency_rate": 2}, "latency_rate is 2"),
        ({"latency": -1}, "latency is -1; accepted are seconds from 0 to 86400"),
        ({"latency": math.inf}, "latency is inf"),
        ({"latency": 10**400}, "latency is 1000"),
        ({"error": "ConnectionError"}, "error is 'ConnectionError'; accepted is an exception type"),
        ({"error": ValueError("one")}, "error is ValueError"),
        ({"error": KeyboardInterrupt}, "error is <class 'KeyboardInterrupt'>"),
        ({"error": int}, "error is <class 'int'>"),
        ({"seed": 1.5}, "seed is 1.5; accepted is a whole number, or None"),
        ({"clock": 5}, "clock is 5; accepted is a Clock"),
    ],
)
def test_bad_arguments_are_refused_by_name(options, message):
    """At the call, with what is accepted."""
    with pytest.raises(ConfigurationError) as caught:
        Chaos(**options)
    assert message in str(caught.value)


def test_a_maker_that_makes_no_exception_is_named():
    """It can be seen only when it is asked."""
    with pytest.raises(ConfigurationError, match="error gave 'oops'"):
        Chaos(error_rate=1, error=lambda: "oops").call(pytest.fail)  # type: ignore[arg-type, return-value]
