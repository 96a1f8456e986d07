"""Several Redis or Valkey servers that belong together: a cluster, and a master with its replica and a sentinel."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from redis.crc import key_slot

from servers._process import HOST, ServerError, reserve_port
from servers.redis import RedisServer

__all__ = ("ClusterServer", "RedisCluster", "RedisSentinel", "SentinelServer")

_SERVICE = "mymaster"


class _Together:
    """Servers that are started and stopped together; a context manager."""

    _servers: Iterable[RedisServer]

    def _join(self, stack: contextlib.ExitStack) -> None:
        """Make them one."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for server in self._servers:
                stack.enter_context(server)
            self._join(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()


class ClusterServer(RedisServer):
    """One primary of a cluster."""

    def __init__(self) -> None:
        self._bus = reserve_port(0)
        bus = str(self._bus.getsockname()[1])
        super().__init__("--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-require-full-coverage", "no")

    def cluster(self, command: str) -> str:
        """The answer to a CLUSTER command; an error begins with "-"."""
        with socket.create_connection((HOST, self.port), timeout=5) as connection:
            connection.sendall(f"CLUSTER {command}\r\nQUIT\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    @property
    def node_id(self) -> str:
        """Its name in the cluster."""
        return self.cluster("MYID").split()[1]

    def serves(self, slot: int) -> bool:
        """Whether a slot is its own, as it says itself."""
        [mine] = [line for line in self.cluster("NODES").splitlines() if "myself" in line]
        ranges = [part.partition("-") for part in mine.split()[8:]]
        return any(int(low) <= slot <= int(high or low) for low, _, high in ranges if low.isdecimal())

    def join(self, other: ClusterServer) -> None:
        """Make the acquaintance of another one."""
        self.cluster(f"MEET {HOST} {other.port} {other._bus.getsockname()[1]}")

    def stop(self) -> None:
        """Stop it and let go of both ports."""
        super().stop()
        self._bus.close()


class RedisCluster(_Together):
    """Three primaries with all slots between them. Takes two seconds: so long a new primary refuses commands.

    Attributes:
        nodes: The servers.
    """

    def __init__(self) -> None:
        self.nodes = [ClusterServer() for _ in range(3)]
        self._servers = self.nodes

    @property
    def url(self) -> str:
        """All three of them."""
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.nodes)

    def restore(self) -> None:
        """Make all serve again, and empty."""
        for node in self.nodes:
            node.restore()
            node.flush()

    def node_of(self, key: str) -> ClusterServer:
        """Who serves this key."""
        return next(node for node in self.nodes if node.serves(key_slot(key.encode())))

    def move(self, key: str, to: ClusterServer, told: Sequence[ClusterServer] = ()) -> None:
        """Give the slot of a key to another node; what is stored in it is lost.

        Args:
            key: Whose slot.
            to: The new owner.
            told: Who learns it at once; all where left out.

        Raises:
            ServerError: A node refused.
        """
        slot, node_id = key_slot(key.encode()), to.node_id
        for node in sorted(told or self.nodes, key=lambda node: node is not to):  # the new owner first
            if node is not to and node.serves(slot):
                node.flush()  # else it refuses
            answer = node.cluster(f"SETSLOT {slot} NODE {node_id}")
            if not answer.startswith("+OK"):
                raise ServerError(f"{node} answered {answer!r}")

    def _join(self, stack: contextlib.ExitStack) -> None:
        for epoch, (node, slots) in enumerate(zip(self.nodes, ("0 5460", "5461 10922", "10923 16383"), strict=True), 1):
            node.cluster(f"ADDSLOTSRANGE {slots}")
            node.cluster(f"SET-CONFIG-EPOCH {epoch}")
            node.join(self.nodes[0])
        _wait(lambda: all(_is_whole(node.cluster("INFO")) for node in self.nodes))


class SentinelServer(RedisServer):
    """A sentinel that decides alone and soon."""

    def __init__(self, master: RedisServer) -> None:
        super().__init__()
        self._master = master

    def _command(self, directory: Path) -> list[str]:
        settings = directory / "sentinel.conf"
        settings.write_text(
            f"bind {HOST}\nport {self.port}\ndir {directory}\n"
            f"sentinel monitor {_SERVICE} {HOST} {self._master.port} 1\n"
            f"sentinel down-after-milliseconds {_SERVICE} 100\n"
            f"sentinel failover-timeout {_SERVICE} 1000\n"
        )
        return [str(self.binary.path), str(settings), "--sentinel"]

    def knows_replica(self) -> bool:
        """Whether it has found the replica, and could make it the master."""
        return self._ask(f"SENTINEL SLAVES {_SERVICE}\r\n".encode()).startswith(b"*1")


class RedisSentinel(_Together):
    """A master, a replica, and a sentinel that makes the replica the master when the master is gone.

    Attributes:
        master: The first master.
        replica: Takes over.
        sentinel: Watches both.
    """

    def __init__(self) -> None:
        self.master = RedisServer("--repl-diskless-sync-delay", "0")
        self.replica = RedisServer("--repl-diskless-sync-delay", "0")
        self.sentinel = SentinelServer(self.master)
        self._servers = (self.master, self.replica)

    @property
    def url(self) -> str:
        """The master, whoever that is."""
        return f"redis+sentinel://{HOST}:{self.sentinel.port}/{_SERVICE}/0"

    def _join(self, stack: contextlib.ExitStack) -> None:
        self.replica._ask(f"REPLICAOF {HOST} {self.master.port}\r\n".encode())
        _wait(lambda: b"master_link_status:up" in self.replica._ask(b"INFO replication\r\n"))
        stack.enter_context(self.sentinel)  # it looks for replicas now, and then in ten seconds
        _wait(self.sentinel.knows_replica)


def _is_whole(info: str) -> bool:
    return "cluster_state:ok" in info and "cluster_slots_assigned:16384" in info


def _wait(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise ServerError("the servers did not come together")
        time.sleep(0.01)
