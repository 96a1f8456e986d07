"""Which event loop a cache belongs to."""

from __future__ import annotations

import asyncio

from creatormate_resilience.exceptions import ConfigurationError, ShuttingDownError

__all__ = ("HomeLoop",)


class HomeLoop:
    """The one event loop of an object: the first that uses it, until it is closed."""

    __slots__ = ("_closed", "_loop")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def in_use(self) -> bool:
        """Whether a loop was bound and not left."""
        return self._loop is not None

    def check(self) -> None:
        """Bind to the running loop, or see that it is the one.

        Raises:
            ConfigurationError: It is another one.
            ShuttingDownError: Closed already.
        """
        if self._loop is not asyncio.get_running_loop():
            self._bind()

    def leave(self) -> None:
        """Close; from the loop it belongs to, or from any where it was never used.

        Raises:
            ConfigurationError: The running loop is another one.
        """
        if self._loop is not None:
            self.check()
        self._loop, self._closed = None, True

    def _bind(self) -> None:
        if self._closed:
            raise ShuttingDownError("the cache is closed; make a new one")
        if self._loop is not None:
            raise ConfigurationError("this cache belongs to another event loop; make one for each loop")
        self._loop = asyncio.get_running_loop()
