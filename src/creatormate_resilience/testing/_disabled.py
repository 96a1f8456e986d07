"""Breakers out of the way, for the length of a block."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

from creatormate_resilience.breaker import BreakerState, CircuitBreaker, CircuitBreakerRegistry

__all__ = ("disabled",)

_AT_ONCE = 1e-9  # the shortest wait; an open circuit is probed by the next call after it


def disabled(*targets: CircuitBreaker | CircuitBreakerRegistry) -> AbstractContextManager[None]:
    """Let every call through for the length of a `with` block.

    Args:
        *targets: Breakers; or registries, for all the breakers they have and those they make in the block.

    Returns:
        A context manager for one block.

    Raises:
        TypeError: There is no target, or it is neither breaker nor registry.

    Each breaker is DISABLED in the block, for every thread and task, and afterwards in the state it had, whatever was
    done to it meanwhile: one that was open stays so for as long as was left of its time when the block began. One that
    was half open comes back open, and the next call is its probe. As with every change of state the window begins anew.

    Blocks may nest, but not overlap. A registry's `get` is replaced on that object for the block. To have breakers off
    from the start there is `CircuitBreakerRegistry(initial_state=BreakerState.DISABLED)`.
    """
    if not targets:
        raise TypeError("disabled() has no target; accepted are breakers and registries")
    for target in targets:
        if not isinstance(target, CircuitBreaker | CircuitBreakerRegistry):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"target is {target!r}; accepted are a CircuitBreaker and a CircuitBreakerRegistry")
    return _Block(targets)


class _Block:
    """No decorator, as what `contextlib` makes would be: around an async function that would switch off nothing."""

    def __init__(self, targets: tuple[CircuitBreaker | CircuitBreakerRegistry, ...]) -> None:
        self._targets = targets
        self._stack = ExitStack()

    def __enter__(self) -> None:
        with ExitStack() as stack:
            switched = _Switched()
            stack.callback(switched.restore)
            for target in self._targets:
                if isinstance(target, CircuitBreaker):
                    switched.off(target)
                else:
                    stack.callback(switched.off_all(target))
            self._stack = stack.pop_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._stack.close()


class _Switched:
    """Breakers that are off, and what gives each its state back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By identity; what gives a state back holds its breaker, so no identity is used twice.
        self._ways_back: dict[int, Callable[[], None]] | None = {}

    def off(self, breaker: CircuitBreaker) -> CircuitBreaker:
        with self._lock:
            if self._ways_back is None or id(breaker) in self._ways_back:
                return breaker
            self._ways_back[id(breaker)] = _way_back(breaker)
        _disable(breaker)
        return breaker

    def off_all(self, registry: CircuitBreakerRegistry) -> Callable[[], None]:
        """Switch off what a registry has and what it makes; the result ends that."""
        attributes, plain = vars(registry), registry.get
        shadowed = attributes.get("get")

        @functools.wraps(plain)
        def get(name: str, *, key: str | None = None) -> CircuitBreaker:
            return self.off(plain(name, key=key))

        def end() -> None:
            if shadowed is None:
                attributes.pop("get", None)
            else:
                attributes["get"] = shadowed

        attributes["get"] = get
        for breaker in registry:
            self.off(breaker)
        return end

    def restore(self) -> None:
        with self._lock:
            ways_back, self._ways_back = self._ways_back or {}, None
        for way_back in ways_back.values():
            way_back()


def _disable(breaker: CircuitBreaker) -> None:
    if breaker.state is not BreakerState.DISABLED:
        breaker.disable()


def _way_back(breaker: CircuitBreaker) -> Callable[[], None]:
    seen = breaker.statistics()
    if seen.state is BreakerState.OPEN:
        return functools.partial(breaker.trip, max(_AT_ONCE, seen.retry_after or 0.0))
    if seen.state is BreakerState.HALF_OPEN:
        return functools.partial(breaker.trip, _AT_ONCE)
    moves: dict[BreakerState, Callable[[], None]] = {
        BreakerState.CLOSED: breaker.reset,
        BreakerState.FORCED_OPEN: breaker.force_open,
        BreakerState.METRICS_ONLY: breaker.metrics_only,
        BreakerState.DISABLED: functools.partial(_disable, breaker),
    }
    return moves[seen.state]
