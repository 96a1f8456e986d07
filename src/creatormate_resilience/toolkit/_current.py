"""Which object is the current one of an event loop: the only thing here that a running program changes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

from anyio.lowlevel import RunVar

__all__ = ("Current",)

T = TypeVar("T")


class Current(Generic[T]):
    """Keeps what was started per event loop, because a ContextVar set in an ASGI lifespan is not seen by handlers.

    Args:
        name: Of the variables.
        build: Makes a default where nothing was started.
    """

    def __init__(self, name: str, build: Callable[[], T]) -> None:
        self._build = build
        self._override: ContextVar[T | None] = ContextVar(f"{name}_current", default=None)
        self._of_loop: RunVar[tuple[T, ...]] = RunVar(f"{name}_started", ())
        self._of_process: tuple[T, ...] = ()
        self._default: RunVar[T | None] = RunVar(f"{name}_default", None)

    def get(self) -> T:
        """The override of this context; else what was started last here; else a new default."""
        override = self._override.get()
        if override is not None:
            return override
        started = self._started_here()
        return started[-1] if started else self._make_default()

    def push(self, one: T) -> None:
        """It was started on this event loop."""
        self._of_loop.set((*_without(self._of_loop.get(), one), one))
        self._of_process = (*_without(self._of_process, one), one)

    def remove(self, one: T) -> None:
        """It was closed."""
        self._of_loop.set(_without(self._of_loop.get(), one))
        self._of_process = _without(self._of_process, one)

    def take_default(self) -> T | None:
        """The default that was built on this event loop, which is then no more current."""
        default = self._default.get()
        self._default.set(None)
        if default is not None:
            self._of_loop.set(_without(self._of_loop.get(), default))
        return default

    @contextmanager
    def overridden(self, one: T) -> Generator[None]:
        """Make it current in the calling context only."""
        token = self._override.set(one)
        try:
            yield
        finally:
            self._override.reset(token)

    def _started_here(self) -> tuple[T, ...]:
        try:
            return self._of_loop.get()
        except RuntimeError:  # no event loop runs here
            return self._of_process

    def _make_default(self) -> T:
        default = self._build()
        try:
            self._of_loop.set((default,))
            self._default.set(default)
        except RuntimeError:  # no event loop runs here
            self._of_process = (default,)
        return default


def _without(those: tuple[T, ...], one: T) -> tuple[T, ...]:
    return tuple(other for other in those if other is not one)
