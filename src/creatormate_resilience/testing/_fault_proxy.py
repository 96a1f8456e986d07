"""A TCP proxy that misbehaves on request."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from creatormate_resilience.testing._relay import Direction, Line, Relay

__all__ = ("FaultProxy",)


class FaultProxy:
    """Stands between a client and a server, and does to their connections what networks do.

    It listens on a port of 127.0.0.1 and runs in a thread of its own, so it serves clients under asyncio, uvloop, trio
    and plain threads alike. Its methods block for well under a millisecond and have taken effect when they return.
    Faults add up and last until `heal`; `reset`, `cut_after` and `lose_reply` strike once.

    A direction is "request" (client to server), "reply" (server to client) or "both".

    What it cannot imitate: connecting through a black hole succeeds, as the proxy accepts; and where the server itself
    refuses a connection, the client sees it accepted and then reset.

    Args:
        host: Host of the server behind it.
        port: Port of that server, 1 to 65535.
        listen_port: The port to listen on; 0 takes a free one, which stays the same through `refuse` and `heal`.
        max_connections: More connections at a time than this are reset; at least 1.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        ::

            with FaultProxy("127.0.0.1", 6379) as proxy:
                client = redis.asyncio.from_url(proxy.url_for("redis://127.0.0.1:6379/0"))
                proxy.lose_reply()
                ...
    """

    def __init__(self, host: str, port: int, *, listen_port: int = 0, max_connections: int = 1000) -> None:
        if not host:
            raise ValueError("host must be the name or address of the server behind the proxy, not empty")
        _check_range("port", port, 1, 65535, int)
        _check_range("listen_port", listen_port, 0, 65535, int)
        _check_range("max_connections", max_connections, 1, 100_000, int)
        self._upstream = (host, port)
        self._listen_port = listen_port
        self._max_connections = max_connections
        self._relay: Relay | None = None

    # Life -----------------------------------------------------------------------------------------------------------
    def start(self) -> Self:
        """Begin to listen.

        Returns:
            The proxy itself.

        Raises:
            RuntimeError: It is running already.
            OSError: `listen_port` is not free.
        """
        if self._relay is not None:
            raise RuntimeError(f"{self} is already running")
        relay = Relay(*self._upstream, self._max_connections)
        relay.start(self._listen_port)
        self._relay = relay
        return self

    def close(self) -> None:
        """Stop listening, reset all connections and end the thread. Does nothing where it is not running."""
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        relay: Relay | None = getattr(self, "_relay", None)  # the constructor may have refused its arguments
        if relay is not None:
            relay.stop(wait=False)
            warnings.warn(f"{self} was not closed", ResourceWarning, source=self, stacklevel=2)

    # Where it is ----------------------------------------------------------------------------------------------------
    @property
    def host(self) -> str:
        """Where clients connect; always 127.0.0.1."""
        return "127.0.0.1"

    @property
    def port(self) -> int:
        """The port clients connect to.

        Raises:
            RuntimeError: It is not running.
        """
        return self._running().address[1]

    @property
    def connections(self) -> int:
        """How many client connections are open now."""
        return 0 if self._relay is None else len(self._relay.connections)

    def url_for(self, url: str) -> str:
        """The same URL, leading through the proxy.

        Args:
            url: A URL of the server behind the proxy, of any scheme.

        Returns:
            The URL with host and port replaced; user, password, path and query stay.

        Raises:
            RuntimeError: It is not running.
            ValueError: `url` has no host to replace.
        """
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError("url must have a host, as in 'redis://127.0.0.1:6379/0'")
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}{self.host}:{self.port}").geturl()

    # Faults that last until `heal` ----------------------------------------------------------------------------------
    def latency(self, seconds: float, *, direction: Direction | Literal["both"] = "both") -> None:
        """Deliver everything later. Throughput stays the same.

        Args:
            seconds: How much later, in seconds, in each direction, 0 to 3600.
            direction: "request", "reply" or "both". With "both" a round trip takes twice `seconds` longer.

        Raises:
            ValueError: An argument is out of its range.
            RuntimeError: It is not running.
        """
        _check_range("seconds", seconds, 0, 3600)

        def change(line: Line) -> None:
            line.latency = float(seconds)

        self._change_lines(direction, change)

    def bandwidth(self, bytes_per_second: float, *, direction: Direction | Literal["both"] = "both") -> None:
        """Deliver slowly.

        Args:
            bytes_per_second: The limit of each connection in each direction; at least 1.
            direction: "request", "reply" or "both".

        Raises:
            ValueError: An argument is out of its range.
            RuntimeError: It is not running.
        """
        _check_range("bytes_per_second", bytes_per_second, 1, 1e12)

        def change(line: Line) -> None:
            line.bandwidth = float(bytes_per_second)

        self._change_lines(direction, change)

    def blackhole(self, *, direction: Direction | Literal["both"] = "both") -> None:
        """Deliver nothing while connections stay open. `heal` delivers what was held back.

        Args:
            direction: "request", "reply" or "both".

        Raises:
            ValueError: `direction` is none of the three.
            RuntimeError: It is not running.
        """
        self._change_lines(direction, lambda line: line.passable.clear())

    def refuse(self) -> None:
        """Be a server that is down: reset all connections and refuse new ones, until `heal`, which takes the same port.

        Raises:
            RuntimeError: It is not running.
        """
        relay = self._running()
        relay.run(relay.refuse)

    def heal(self) -> None:
        """End every fault. Connections that survived go on where they were.

        Raises:
            RuntimeError: It is not running.
        """
        relay = self._running()

        async def heal() -> None:
            for line in relay.lines.values():
                line.heal()
            await relay.listen()

        relay.run(heal)

    # Faults that strike once ----------------------------------------------------------------------------------------
    def reset(self) -> None:
        """Reset (RST) all connections there are now. New ones are accepted.

        Raises:
            RuntimeError: It is not running.
        """
        relay = self._running()
        relay.run(relay.reset)

    def cut_after(self, count: int, *, direction: Direction = "reply") -> None:
        """Cut a connection in the middle of a message: once, as soon as `count` more bytes have passed in a direction.

        Bytes are counted over all connections; the one that carries the last of them is cut. The receiving side gets
        those bytes and then the end of the stream, the sending side is reset.

        Args:
            count: How many bytes may still pass; with 0 the next ones to come are lost and their connection is cut.
            direction: "request" or "reply".

        Raises:
            ValueError: An argument is out of its range.
            RuntimeError: It is not running.
        """
        _check_range("count", count, 0, 2**63, int)
        _check_direction(direction, "request", "reply")

        def change(line: Line) -> None:
            line.cut_in = count

        self._change_lines(direction, change)

    def lose_reply(self) -> None:
        """Lose the next reply, once: the server has received the request and answered it, the client never learns.

        Raises:
            RuntimeError: It is not running.
        """
        self.cut_after(0, direction="reply")

    # Inside ---------------------------------------------------------------------------------------------------------
    def _running(self) -> Relay:
        if self._relay is None:
            raise RuntimeError(f"{self} is not running: use it in a `with` block, or call start()")
        return self._relay

    def _change_lines(self, direction: Direction | Literal["both"], change: Callable[[Line], object]) -> None:
        _check_direction(direction, "request", "reply", "both")
        relay = self._running()

        async def apply() -> None:
            for name, line in relay.lines.items():
                if direction in (name, "both"):
                    change(line)

        relay.run(apply)

    def __repr__(self) -> str:
        upstream = "{}:{}".format(*self._upstream)
        relay = self._relay
        if relay is None:
            return f"<FaultProxy to {upstream}, not running>"
        faults = [f"{name} {line}" for name, line in relay.lines.items() if str(line)]
        faults += ["refusing"] if relay.listener is None else []
        state = ", ".join([*faults, f"connections={len(relay.connections)}"])
        return f"<FaultProxy 127.0.0.1:{relay.address[1]} to {upstream}, {state}>"


def _check_range(name: str, value: Any, low: float, high: float, kind: Any = (int, float)) -> None:
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}")


def _check_direction(direction: str, *allowed: str) -> None:
    if direction not in allowed:
        raise ValueError(f"direction must be one of {', '.join(allowed)}, not {direction!r}")
