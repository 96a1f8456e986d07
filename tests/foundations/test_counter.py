"""Counting from many threads: without a lock where the interpreter has one, with a lock where it has none."""

from __future__ import annotations

import sys
import threading

import pytest

from creatormate_resilience.breaker import CircuitBreaker
from creatormate_resilience.counter import FreeCounter, LockedCounter, make_counter


@pytest.mark.parametrize(("gil", "kind"), [(True, FreeCounter), (False, LockedCounter)])
def test_a_free_threaded_build_takes_the_locked_counter(gil, kind, monkeypatch):
    """One step of a C counter is atomic only under the interpreter's lock; a breaker takes what the build allows."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: gil, raising=False)
    assert type(make_counter()) is kind
    breaker = CircuitBreaker("x")
    assert breaker.call(lambda: 1) == 1
    assert type(breaker._machine.era.counter) is kind
    assert breaker.statistics().successes == 1


def test_builds_that_do_not_tell_have_a_lock(monkeypatch):
    """Before Python 3.13 nobody could ask."""
    monkeypatch.delattr(sys, "_is_gil_enabled", raising=False)
    assert type(make_counter()) is FreeCounter


@pytest.mark.parametrize("kind", [FreeCounter, LockedCounter])
def test_no_call_is_lost_or_counted_twice(kind):
    """Eight threads, 20,000 calls each; reading counts nothing."""
    counter = kind()
    numbers: list[set[int]] = []

    def count() -> None:
        tick = counter.tick
        numbers.append({tick() for _ in range(20_000)})

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.value == counter.value == 160_000
    assert set().union(*numbers) == set(range(1, 160_001))
    assert counter.tick() == 160_001
