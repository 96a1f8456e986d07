"""Which orders of policies cannot work, and which are seldom meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.log import get_logger
from creatormate_resilience.policies._bulkhead import Bulkhead
from creatormate_resilience.policies._fallback import Fallback
from creatormate_resilience.policies._hedge import Hedge
from creatormate_resilience.policies._retry import Retry
from creatormate_resilience.policies._timeout import Timeout

__all__ = ("check_order",)

_log = get_logger("policies")


def check_order(name: str, policies: Sequence[Any]) -> None:
    """Refuse what cannot work; warn of what is seldom meant.

    Args:
        name: Of the pipeline.
        policies: Outermost first. Pipelines among them count as what they hold.

    Raises:
        ConfigurationError: The order cannot work.
    """
    flat = list(_flattened(policies))
    pairs = list(combinations(flat, 2))
    for outer, inner in pairs:
        if (wrong := _wrong(outer, inner, flat)) is not None:
            raise ConfigurationError(f"pipeline {name!r}: {wrong}")
    seldom = [advice for outer, inner in pairs if (advice := _seldom_meant(outer, inner)) is not None]
    if seldom:
        _log.warning("the order of a pipeline is seldom meant", pipeline=name, advice="; ".join(dict.fromkeys(seldom)))


def _flattened(policies: Sequence[Any]) -> Iterator[Any]:
    for policy in policies:
        inner = getattr(policy, "policies", None)
        if isinstance(inner, tuple):
            yield from _flattened(inner)  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield policy


def _wrong(outer: Any, inner: Any, flat: Sequence[Any]) -> str | None:
    if outer is inner:
        return f"{outer!r} stands in it twice; make another, or leave one out"
    if isinstance(outer, Timeout) and isinstance(inner, Timeout) and outer.seconds < inner.seconds:
        return (
            f"the outer timeout of {outer.seconds:g} s strikes before the inner one of {inner.seconds:g} s can; "
            "give the outer the larger number"
        )
    if _is_breaker(outer) and isinstance(inner, Retry) and not any(map(_is_breaker, flat[flat.index(inner) :])):
        return f"a retry inside of {outer!r} hides its attempts from the breaker; put the breaker inside of the retry"
    if isinstance(outer, Hedge) and isinstance(inner, Retry):
        return "a hedge around a retry multiplies the attempts of both; put the hedge inside of the retry"
    if _watches_failures(outer) and isinstance(inner, Fallback) and inner.on is None:
        hidden = f"{inner!r} hides every failure from {outer!r} around it"
        return f"{hidden}; put the fallback outermost, or say `on=` what it is for"
    return None


def _seldom_meant(outer: Any, inner: Any) -> str | None:
    if isinstance(outer, Bulkhead) and isinstance(inner, Retry):
        return "a bulkhead around a retry keeps its place occupied while the retry waits"
    if isinstance(outer, Retry) and isinstance(inner, Retry):
        return "a retry inside of a retry multiplies the attempts"
    if isinstance(outer, Timeout) and isinstance(inner, Fallback):
        return "a fallback inside of a timeout has no answer when that timeout strikes"
    return None


def _watches_failures(policy: Any) -> bool:
    return isinstance(policy, Retry | Hedge) or _is_breaker(policy)


def _is_breaker(policy: Any) -> bool:
    """By what only a breaker has; `breaker` is a sibling of `policies` and neither imports the other."""
    return callable(getattr(policy, "trip", None)) and callable(getattr(policy, "acquire", None))
