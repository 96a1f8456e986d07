"""Retries that do not wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, cast, overload

from creatormate_resilience.clock import Clock
from creatormate_resilience.policies import Pipeline, Retry
from creatormate_resilience.policy import Composed, compose
from creatormate_resilience.testing._clock import FakeClock

__all__ = ("instant_retries",)

F = TypeVar("F")


@overload
def instant_retries(policy: Retry, *, clock: Clock | None = None) -> Retry: ...
@overload
def instant_retries(policy: Pipeline[F], *, clock: Clock | None = None) -> Pipeline[F]: ...
@overload
def instant_retries(policy: Composed, *, clock: Clock | None = None) -> Composed: ...
def instant_retries(policy: Any, *, clock: Clock | None = None) -> Any:
    """The same retry on a clock that jumps: it makes every attempt and waits for none.

    Args:
        policy: A `Retry`, or a pipeline with retries in it.
        clock: The clock that jumps; None for a `FakeClock` of its own. Read from it how long the waits would have been.

    Returns:
        A retry with the same configuration, budget and listeners; its statistics are its own. Of a pipeline, the same
        pipeline with such retries, where the other policies are the very same objects.

    Raises:
        TypeError: `policy` is neither.
        ValueError: The pipeline has no retry in it.

    Nothing is patched, so what was decorated with the original before keeps that one: give the policy to your code as a
    parameter, or its `clock` from the start.
    """
    jumping = FakeClock() if clock is None else clock
    if isinstance(policy, Retry):
        return _retry(policy, jumping)
    if not isinstance(policy, Pipeline | Composed):
        raise TypeError(f"policy is {policy!r}; accepted is a Retry, or a pipeline with one in it")
    if not _has_retry(policy):
        raise ValueError(f"policy is {policy!r}; accepted is a pipeline with a Retry in it")
    return _pipeline(cast("Any", policy), jumping)


def _retry(retry: Retry, clock: Clock) -> Retry:
    return type(retry)(config=replace(retry.config, clock=clock))


def _pipeline(pipeline: Any, clock: Clock) -> Any:
    policies: list[Any] = [_with_clock(policy, clock) for policy in pipeline.policies]
    return compose(*policies) if isinstance(pipeline, Composed) else Pipeline(pipeline.name, *policies)


def _with_clock(policy: Any, clock: Clock) -> object:
    if isinstance(policy, Retry):
        return _retry(policy, clock)
    if isinstance(policy, Pipeline | Composed) and _has_retry(policy):
        return _pipeline(cast("Any", policy), clock)
    return cast("object", policy)


def _has_retry(policy: Any) -> bool:
    return isinstance(policy, Retry) or any(map(_has_retry, getattr(policy, "policies", ())))
