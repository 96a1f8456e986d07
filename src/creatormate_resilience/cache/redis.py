"""The second level: entries in a Redis or Valkey server, or a cluster of them, that many processes share.

Each operation has one deadline for everything, the wait for a connection included, and is never repeated. Whatever goes
wrong comes out as `CacheUnavailableError`. The decisions that must be atomic (is something newer there already?) are
taken in scripts beside the data.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from creatormate_resilience.cache import _scripts as scripts
from creatormate_resilience.cache._batching import Batcher
from creatormate_resilience.cache._scripts import Call
from creatormate_resilience.exceptions import CacheUnavailableError, ConfigurationError, MissingDependencyError
from creatormate_resilience.redaction import redact_text
from creatormate_resilience.redis_client import open_redis

_INSTALLED = find_spec("redis") is not None
if TYPE_CHECKING or _INSTALLED:
    from redis.asyncio import Redis, RedisCluster
    from redis.exceptions import NoScriptError, ResponseError

__all__ = ("RedisClient", "RedisStore", "Reply", "Write")

RedisClient: TypeAlias = "Redis | RedisCluster"


@dataclass(frozen=True, slots=True)
class Write:
    """One write of packed bytes.

    Attributes:
        key: The key in Redis.
        data: The packed entry, a tombstone included.
        ttl: Seconds until Redis forgets it.
        ceiling: A stored version from this one on is no honest one and is overwritten.
        mode: "add" writes only where nothing fresh is stored; "mark" lets a mark that is there live as long as this
            one would, and else writes it.
        floor: For "add" and numbers: what is stored with an older version counts as nothing.
    """

    key: str
    data: bytes
    ttl: float
    ceiling: bytes
    mode: Literal["set", "add", "mark"] = "set"
    floor: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a write.

    Attributes:
        outcome: "refused": something newer is stored. "exists": something fresh was there and only absence was wanted,
            or there was a mark.
        version: The version stored, where the write was not done.
        replaced: A fresh value was there before.
    """

    outcome: Literal["written", "refused", "exists"]
    version: bytes
    replaced: bool


class RedisStore:
    """The cache's view of Redis: bytes in, bytes out.

    What many tasks ask at the same time goes in few trips: reads as one MGET, writes as one pipeline. A lone call goes
    directly. So a handful of connections serves any number of callers, and they never queue for one.

    Args:
        url: Where it is, as `open_redis` takes it; or
        client: An asyncio client that answers in bytes, kept open at the end.
        timeout: Longest duration of one operation, in seconds, from the call to the answer.
        connect_timeout: Longest wait for a new connection, in seconds.

    Raises:
        ConfigurationError: The URL is malformed, or the client decodes its answers or is not an asyncio client.
        MissingDependencyError: `redis` is not installed.

    Every operation raises `ConfigurationError` in a process that was forked after the first use: two processes on one
    connection would read each other's answers. One that was not used before works in either.
    """

    def __init__(
        self, url: str | None, *, client: RedisClient | None = None, timeout: float = 0.25, connect_timeout: float = 0.5
    ) -> None:
        if not _INSTALLED:
            raise MissingDependencyError("redis", extra="redis", needed_by="a cache in Redis")
        if (url is None) == (client is None):
            raise ConfigurationError("give either url or client, not both")
        self._own = client is None
        self._client: Any = client  # any: the stubs give every command two return types
        if url is not None:
            # No timeout of its own: each trip has a deadline here, and there are few, so none waits for a connection.
            self._client = open_redis(url, timeout=None, connect_timeout=connect_timeout, needed_by="the cache")
        elif not _answers_in_bytes(client):
            raise ConfigurationError("client: accepted is a redis.asyncio client made without decode_responses")
        self._cluster = isinstance(self._client, RedisCluster)
        self._reads: Batcher[str, Any] = Batcher(self._read, seconds=timeout)
        self._calls: Batcher[Call, Any] = Batcher(self._run, seconds=timeout)
        self._pings: Batcher[None, None] = Batcher(self._greet, seconds=max(timeout, connect_timeout), trips=1)
        self._process: int | None = None
        self._offset = 0.0
        self._met = False

    def wall(self) -> float:
        """Seconds since the epoch by the server's clock, as far as it is known: what all processes share."""
        return time.time() + self._offset

    # Entries ----------------------------------------------------------------------------------------------------------
    async def get(self, key: str) -> bytes | None:
        """The bytes stored, or None."""
        return (await self.get_many((key,)))[0]

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes stored under each key, in this order.

        Something that is not a string comes out as bytes that are no entry where Redis says that it is there: to a GET
        and in a cluster. MGET passes over it, so read together with others it is None.
        """
        return [None if data is None else bytes(data) for data in await self._ask(self._reads, keys)]

    async def write(self, writes: Sequence[Write]) -> list[Reply]:
        """Do each write unless something newer is stored; nothing spans two keys."""
        return [_reply(answer) for answer in await self._ask(self._calls, [_write_call(write) for write in writes])]

    async def add_number(self, write: Write, delta: int) -> int | Literal["no integer", "out of range"]:
        """Add to the integer stored, or begin with `delta`.

        Args:
            write: The entry to begin with, an INTEGER with an empty body.
            delta: What to add.

        Returns:
            The sum, or why there is none.
        """
        arguments = (write.data, _px(write.ttl), delta, write.ceiling, write.floor)
        status, total = await self._call(Call(scripts.ADD_NUMBER, write.key, arguments))
        return int(total) if status == 0 else "no integer" if status == 1 else "out of range"

    async def touch(self, key: str, version: bytes, moments: bytes, ttl: float) -> bool:
        """Give a fresh entry a new life; False where there is none."""
        return bool(await self._call(Call(scripts.TOUCH, key, (version, moments, _px(ttl)))))

    # Locks ------------------------------------------------------------------------------------------------------------
    async def acquire_lock(self, key: str, token: bytes, lease: float) -> bool:
        """Take a lock. With the token that holds it already this renews it, so it may be repeated after an error.

        Args:
            key: The key in Redis; nothing else is stored under it.
            token: Random bytes that nobody else has.
            lease: Seconds until it is free again by itself.

        Returns:
            Whether it is this token's now.
        """
        return bool(await self._call(Call(scripts.ACQUIRE, key, (token, _px(lease)))))

    async def renew_lock(self, key: str, token: bytes, lease: float) -> bool:
        """Hold a lock for `lease` seconds from now on; False where it is not this token's any more."""
        return bool(await self._call(Call(scripts.RENEW, key, (token, _px(lease)))))

    async def release_lock(self, key: str, token: bytes) -> bool:
        """Free a lock; False where it was not this token's any more."""
        return bool(await self._call(Call(scripts.RELEASE, key, (token,))))

    # Life -------------------------------------------------------------------------------------------------------------
    async def ping(self) -> float:
        """Seconds the server took to answer. Waits for a connection as long as `connect_timeout`."""
        started = time.monotonic()
        await self._ask(self._pings, (None,))
        return time.monotonic() - started

    async def aclose(self) -> None:
        """End what is under way and close the client, unless it was given. In a forked process nothing is closed."""
        if self._process is not None and self._process != os.getpid():
            return
        for batcher in (self._reads, self._calls, self._pings):
            await batcher.aclose()
        if self._own:
            await self._client.aclose()

    # Asking -----------------------------------------------------------------------------------------------------------
    async def _call(self, call: Call) -> Any:
        return (await self._ask(self._calls, (call,)))[0]

    async def _ask(self, batcher: Batcher[Any, Any], items: Sequence[Any]) -> Sequence[Any]:
        if self._process != os.getpid():
            self._enter_process()
        if not items:
            return ()
        answers = await batcher.ask(items)
        for answer in answers:
            if isinstance(answer, Exception):
                raise self._unavailable(answer, batcher.seconds) from answer
        return answers

    def _enter_process(self) -> None:
        if self._process is not None:
            raise ConfigurationError("this cache was used before the process was forked; make one in each process")
        self._process = os.getpid()

    def _unavailable(self, error: Exception, seconds: float) -> CacheUnavailableError:
        self._met = False
        if isinstance(error, TimeoutError):
            return CacheUnavailableError(f"Redis: no answer within {seconds:g} s")
        return CacheUnavailableError(f"Redis: {type(error).__name__}: {redact_text(str(error), 200)}")

    # Trips ------------------------------------------------------------------------------------------------------------
    async def _read(self, keys: Sequence[str]) -> Sequence[Any]:
        if not self._met:
            await self._meet()
        if len(keys) > 1 and not self._cluster:
            values: Sequence[Any] = await self._client.mget(keys)
            return values
        answers = await self._pipeline([("GET", key) for key in keys])
        return [b"" if _is_wrong_type(answer) else answer for answer in answers]

    async def _run(self, calls: Sequence[Call]) -> Sequence[Any]:
        if not self._met:
            await self._meet()
        answers = await self._pipeline([("EVALSHA", call.script.sha, 1, call.key, *call.arguments) for call in calls])
        unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:  # what was not known was not done
            texts = [("EVAL", calls[at].script.text, 1, calls[at].key, *calls[at].arguments) for at in unknown]
            for index, answer in zip(unknown, await self._pipeline(texts), strict=True):
                answers[index] = answer
        return answers

    async def _pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The outcome of each command. Errors of the server stay as it said them: redis-py would add the arguments."""
        if len(commands) == 1 and not self._cluster:  # there a lone command closes connections of others when it fails
            return [await _or_error(self._client.execute_command(*commands[0]))]
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return list(await pipe.execute(raise_on_error=False))

    async def _greet(self, pings: Sequence[None]) -> Sequence[None]:
        await self._meet()
        return pings

    async def _meet(self) -> None:
        """Learn the server's clock, and who is in the cluster; anew after each failure: others may be in charge now."""
        options: dict[str, Any] = {}
        if self._cluster:
            known = self._client.get_default_node() is not None
            await self._client.initialize()
            if known:
                await self._client.nodes_manager.initialize()
            options["target_nodes"] = self._client.get_default_node()
        before = time.time()
        seconds, microseconds = await self._client.time(**options)
        after, server = time.time(), seconds + microseconds / 1e6
        # Where both clocks may well be one, as on one host, a correction would only put processes at odds.
        self._offset = 0.0 if before <= server <= after else server - (before + after) / 2
        self._met = True


def _answers_in_bytes(client: Any) -> bool:
    encoder: Any = getattr(client, "get_encoder", lambda: None)()
    is_async = inspect.iscoroutinefunction(getattr(client, "execute_command", None))
    return is_async and not getattr(encoder, "decode_responses", False)


async def _or_error(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except ResponseError as error:
        return error


def _is_wrong_type(answer: Any) -> bool:
    return isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE")


def _write_call(write: Write) -> Call:
    arguments = (write.data, _px(write.ttl), write.ceiling, write.mode, write.floor)
    return Call(scripts.WRITE, write.key, arguments)


def _reply(answer: tuple[int, bytes]) -> Reply:
    code, version = answer
    return Reply("refused" if code == 0 else "exists" if code == 3 else "written", version, code == 2)


def _px(seconds: float) -> int:
    return max(1, round(seconds * 1000))
