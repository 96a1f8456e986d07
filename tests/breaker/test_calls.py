"""Calling through a breaker: every kind of function, every kind of ending, from tasks and from threads."""

from __future__ import annotations

import functools
import inspect
import logging
import threading

import anyio
import pytest

from creatormate_resilience.breaker import (
    BreakerState,
    CircuitBreaker,
    CircuitBreakerConfig,
    CountWindow,
)
from creatormate_resilience.exceptions import (
    CircuitOpenError,
    ConcurrencyLimitError,
    ConfigurationError,
    ExternalAPIRateLimitedError,
    NotFoundError,
    OperationTimeoutError,
)
from creatormate_resilience.outcome import Outcome, OutcomeKind
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio

ONE_FAILURE = CircuitBreakerConfig(failure_threshold=1)


class Client:
    """A client with protected methods of both kinds."""

    breaker = CircuitBreaker("client", ONE_FAILURE)

    def __init__(self, base: int) -> None:
        self.base = base

    @breaker
    def add(self, x: int, *, y: int = 0) -> int:
        """Adds."""
        return self.base + x + y

    @breaker
    async def aadd(self, x: int, *, y: int = 0) -> int:
        """Adds, too."""
        return self.base + x + y


async def test_a_protected_function_works_as_before():
    """Arguments, result, name, documentation, signature and kind are the function's; also as a method."""
    client = Client(1)
    assert client.add(2, y=3) == await client.aadd(2, y=3) == 6
    assert (Client.add.__name__, Client.add.__doc__) == ("add", "Adds.")
    assert str(inspect.signature(Client.aadd)) == "(self, x: 'int', *, y: 'int' = 0) -> 'int'"
    assert inspect.iscoroutinefunction(Client.aadd)
    assert not inspect.iscoroutinefunction(Client.add)
    assert Client.breaker.statistics().successes % 2 == 0


async def test_partials_static_methods_and_callable_objects_are_protected():
    """What is called is what counts."""
    breaker = CircuitBreaker("x")

    class Double:
        async def __call__(self, x: int) -> int:
            return 2 * x

        @breaker
        @staticmethod
        async def triple(x: int) -> int:
            return 3 * x

        @breaker
        @staticmethod
        async def items(x: int):
            yield x

    assert await Double.triple(5) == await Double().triple(5) == 15
    assert [item async for item in Double().items(3)] == [3]
    assert breaker(functools.partial(pow, 2))(5) == 32
    assert await breaker(functools.partial(Double(), 4))() == 8
    assert await breaker(Double())(5) == 10
    assert breaker.statistics().successes == 6


async def test_an_open_circuit_refuses_without_calling():
    """Sync and async, with name, wait and last failure in the error; the function's own error came out before."""
    breaker = CircuitBreaker("openai", ONE_FAILURE)
    calls = []

    async def work() -> None:
        calls.append(1)
        raise ConnectionError("down")

    with pytest.raises(ConnectionError, match="down"):
        await breaker.acall(work)
    with pytest.raises(CircuitOpenError, match=r"openai.*ConnectionError: down"):
        await breaker.acall(work)
    with pytest.raises(CircuitOpenError):
        breaker.call(calls.append, 2)
    assert calls == [1]
    assert breaker.statistics().rejected == 2


@pytest.mark.parametrize("thing", [7, "name", None])
def test_what_is_no_function_cannot_be_protected(thing):
    """The error names the breaker."""
    with pytest.raises(TypeError, match=f"CircuitBreaker 'x' .* decorates functions; got {type(thing).__name__}"):
        CircuitBreaker("x")(thing)


async def test_an_awaitable_from_a_sync_call_is_refused():
    """It is closed, counts as nothing, and the error says what to do."""
    breaker = CircuitBreaker("x")

    async def work() -> None:
        raise AssertionError("never runs")

    for act in (lambda: breaker.call(work), breaker(functools.partial(_give, work))):
        with pytest.raises(TypeError, match="awaitable to a sync call"):
            act()
    assert breaker.statistics().ignored == 2


async def test_a_timeout_is_a_failure():
    """`config.timeout` interrupts an async call and is recorded."""
    breaker = CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=1, timeout=0.01))
    with pytest.raises(OperationTimeoutError, match=r"breaker 'x' took longer than 0\.01 s"):
        await breaker.acall(anyio.sleep, 30)
    assert breaker.state is BreakerState.OPEN
    assert await CircuitBreaker("x", CircuitBreakerConfig(timeout=30.0)).acall(anyio.sleep, 0) is None


def test_a_timeout_of_ones_own_for_a_sync_function_is_refused():
    """Nothing could interrupt it: at decoration, and wherever else sync code would be called."""
    breaker = CircuitBreaker("x", CircuitBreakerConfig(timeout=5.0))

    def generator():
        yield 1

    for act in (lambda: breaker(print), lambda: breaker(generator), lambda: breaker.call(print)):
        with pytest.raises(ConfigurationError, match=r"timeout of breaker 'x' cannot interrupt .*not async"):
            act()
    with pytest.raises(ConfigurationError, match="cannot interrupt a sync block"), breaker.guard():
        pass
    assert breaker.statistics().calls == 0
    assert breaker.async_only
    assert not CircuitBreaker("x").async_only


def test_a_timeout_from_settings_is_left_out_for_a_sync_function(caplog):
    """With one warning at decoration, and the function works."""
    breaker = CircuitBreaker("x", CircuitBreakerConfig(timeout=5.0), lenient_timeout=True)
    with caplog.at_level(logging.WARNING, "creatormate_resilience"):
        protected = breaker(lambda x: x)
        assert [protected(1), protected(2), breaker.call(int, "3")] == [1, 2, 3]
        with breaker.guard():
            pass
    assert len(caplog.records) == 1
    assert "timeout does not apply" in caplog.text
    assert not breaker.async_only


def kind_of(error: BaseException, **config: object) -> str:
    """What one call that raised this was counted as."""
    breaker = CircuitBreaker("x", CircuitBreakerConfig(**config))  # type: ignore[arg-type]
    breaker.acquire().failure(error)
    seen = breaker.statistics()
    return next(name for name in ("successes", "failures", "ignored", "throttled") if getattr(seen, name))


@pytest.mark.parametrize(
    ("error", "config", "kind"),
    [
        (TimeoutError(), {}, "failures"),
        (NotFoundError(), {}, "ignored"),
        (ExternalAPIRateLimitedError("x"), {}, "throttled"),
        (ConcurrencyLimitError(), {}, "ignored"),
        (TimeoutError(), {"ignore": (TimeoutError,)}, "ignored"),
        (ValueError(), {"record": (TimeoutError,)}, "successes"),
        (TimeoutError(), {"record": (OSError,)}, "failures"),
        (NotFoundError(), {"record": (NotFoundError,)}, "failures"),
        (NotFoundError(), {"record": (NotFoundError,), "ignore": (NotFoundError,)}, "ignored"),
        (ConcurrencyLimitError(), {"record": (TimeoutError,)}, "ignored"),
        (CircuitOpenError("other"), {"record": (TimeoutError,)}, "ignored"),
        (ExternalAPIRateLimitedError("x"), {"record": (TimeoutError,)}, "throttled"),
        (KeyboardInterrupt(), {}, "ignored"),
        (SystemExit(), {"record": (Exception,)}, "ignored"),
        (TimeoutError(), {"classify": lambda outcome: OutcomeKind.THROTTLED}, "throttled"),
        (KeyError(), {"classify": lambda outcome: 1 / 0}, "failures"),
        (NotFoundError(), {"classify": lambda outcome: True}, "ignored"),
    ],
    ids=lambda value: (
        value
        if isinstance(value, str)
        else type(value).__name__
        if isinstance(value, BaseException)
        else "-".join(value)
    ),
)
def test_how_an_exception_counts(error, config, kind):
    """`ignore` first, then `record`, then the classifier; our own refusals never count for or against a dependency."""
    assert kind_of(error, **config) == kind


def test_a_refusal_of_ours_does_not_close_the_circuit():
    """A full bulkhead inside the breaker says nothing of the dependency, also where only some errors are recorded."""
    clock = FakeClock()
    config = CircuitBreakerConfig(failure_threshold=1, record=(TimeoutError,), half_open_max_calls=1)
    breaker = CircuitBreaker("x", config, clock=clock)
    breaker.trip()
    clock.advance(60)
    breaker.acquire().failure(ConcurrencyLimitError())
    assert breaker.state is BreakerState.HALF_OPEN


async def test_a_classifier_may_judge_results():
    """A 500 that was returned, not raised, is a failure where the classifier says so."""

    def by_status(outcome: Outcome) -> OutcomeKind:
        assert outcome.elapsed is not None
        return OutcomeKind.FAILURE if outcome.result == 500 else OutcomeKind.SUCCESS

    breaker = CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=1, classify=by_status))
    assert breaker.call(lambda: 200) == 200
    assert breaker.call(lambda: 500) == 500
    assert breaker.state is BreakerState.OPEN
    assert breaker.statistics().last_failure == "a result that counts as a failure"


@pytest.mark.parametrize("answer", [None, True, "failure", ZeroDivisionError])
async def test_a_classifier_that_is_broken_harms_no_call(answer, caplog):
    """The result or the error reaches the caller, the default classifier decides, the log tells, no probe leaks."""

    def broken(outcome: Outcome) -> OutcomeKind:
        if answer is ZeroDivisionError:
            raise ZeroDivisionError("boom")
        return answer

    clock = FakeClock()
    breaker = CircuitBreaker("x", CircuitBreakerConfig(classify=broken, half_open_max_calls=2), clock=clock)
    with caplog.at_level(logging.ERROR, "creatormate_resilience"):
        assert breaker.call(lambda: 7) == 7
        with pytest.raises(KeyError):
            breaker.call(lambda: {}["k"])
    assert "classify" in caplog.text
    assert (breaker.statistics().successes, breaker.statistics().failures) == (1, 1)
    breaker.trip()
    clock.advance(60)
    for _ in range(2):
        breaker.call(int)
    assert breaker.state is BreakerState.CLOSED


async def test_nothing_is_locked_while_a_call_runs():
    """Two threads overlap inside one breaker, and a call may call through the same breaker."""
    breaker = CircuitBreaker("x")
    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=breaker.call, args=(barrier.wait, 30)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not barrier.broken
    assert breaker.call(lambda: breaker.call(lambda: breaker.statistics().calls)) == 2


def test_threads_lose_no_call():
    """Eight threads, each call counted once."""
    breaker = CircuitBreaker("x", CircuitBreakerConfig(failure_threshold=10**6, window=CountWindow(100)))

    def work() -> None:
        for number in range(500):
            breaker.call(int)
            if number % 10 == 0:
                with pytest.raises(TimeoutError):
                    breaker.call(_time_out)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = breaker.statistics()
    assert (seen.successes, seen.failures, seen.calls) == (4000, 400, 4400)


def _give(fn):
    return fn()


def _time_out() -> None:
    raise TimeoutError


async def test_wrong_arguments_leak_no_probe():
    """A call that could not even begin has ended."""
    clock = FakeClock()
    breaker = CircuitBreaker("x", CircuitBreakerConfig(half_open_max_calls=1), clock=clock)

    async def stream(x: int):
        yield x

    protected = breaker(stream)
    breaker.trip()
    clock.advance(60)
    with pytest.raises(TypeError):
        async for _ in protected():  # type: ignore[call-arg]
            pass
    assert breaker._machine.era.probes == {}
